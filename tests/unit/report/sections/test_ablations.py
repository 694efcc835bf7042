import re

from l2o.report.claims import claim_frame
from l2o.report.sections import ablations
from l2o.report.text import MINUS, TIMES


def test_ablations_are_answered(results):
    groups = {group.title: group for group in ablations.SECTION.claims(results)}
    group = groups["Ablation: inductive bias"]
    points = {point.statement: point for point in group.points}
    first = points["Optim4RL (form B) against L2LGD2:"]
    assert first.status == "better"
    assert re.search(r"better on small_dense_short \(\+2\.00 \[\+1\.[0-9]+,", first.evidence)
    assert len(group.points) == 3
    assert "over 9 pairs of level and task: 9 better." in group.note


def test_ablations_are_tables(text):
    row = f"LinearOptim 0.50 [0.10, 1.50] {MINUS}0.50 [{MINUS}1.75, {MINUS}0.25] 0.12 [0.00, 0.25]"
    assert f"{row} 3 {TIMES} 8 1 min 12 s" in text
    assert f"structure {TIMES} pipeline +0.25 [+0.12, +0.38]" in text


def test_ablations_make_claims(results):
    groups = ablations.SECTION.claims(results)
    table = claim_frame(c for group in groups for c in group.claims).set_index("claim")
    row = table.loc["Optim4RL (form B) is better than LinearOptim (inductive bias)."]
    assert row["verdict"] == "supported" and row["seeds"] == 3
    assert (row["value"], row["low"], row["high"]) == (0.5, 0.25, 1.75)
    row = table.loc[
        "Structure and pipeline raise scores more together than alone (inductive bias)."
    ]
    assert row["verdict"] == "supported" and row["value"] == 0.25
    claim = "Meta-training improves LinearOptim over its untrained initialisation, on catch."
    assert table.loc[claim, "verdict"] == "supported"
