import pytest
from results_written import make_curves

from l2o.report.drawing.curves import band
from l2o.report.drawing.panel import spread


def test_band_needs_three_seeds():
    assert band(make_curves("catch", {"a": 1.0}, seeds=2))["low"].isna().all()
    whole = band(make_curves("catch", {"a": 1.0}, seeds=3))
    assert (whole["low"] <= whole["mean"]).all() and (whole["mean"] <= whole["high"]).all()


def test_labels_are_moved_apart():
    placed = spread([0.5, 0.5, 1.0, 0.99], gap=0.1)
    assert placed == pytest.approx([0.45, 0.55, 1.0, 0.9])
    assert spread([0.2, 0.8], gap=0.1) == pytest.approx([0.2, 0.8])
    assert spread([], gap=0.1) == []
