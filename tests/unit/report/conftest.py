import shutil
from pathlib import Path

import pytest
from results_written import load_results, report_on, text_of, write_results

from l2o.report.results import Results


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Path:
    """Results that no test changes; making them takes longer than copying."""
    return write_results(tmp_path_factory.mktemp("written"))


@pytest.fixture
def root(written, tmp_path) -> Path:
    """Results of a test's own."""
    return Path(shutil.copytree(written, tmp_path / "quick"))


@pytest.fixture(scope="session")
def results(written) -> Results:
    return load_results(written)


@pytest.fixture(scope="session")
def reported(written, tmp_path_factory) -> Path:
    """A folder with a report, but for its figures."""
    folder = tmp_path_factory.mktemp("reported")
    with pytest.MonkeyPatch.context() as patch:
        leave_out_figures(patch)
        report_on(written, folder / "report.html")
    return folder


@pytest.fixture(scope="session")
def text(reported) -> str:
    """What a reader of the report sees."""
    return text_of((reported / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def without_figures(monkeypatch):
    leave_out_figures(monkeypatch)


def leave_out_figures(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        "l2o.report.page.save_drawings",
        lambda results, sections, folder: {name: {} for name in sections},
    )
