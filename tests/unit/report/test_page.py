import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from results_written import report_on, text_of, write_results

from l2o.config import files as config
from l2o.files import write_json
from l2o.report.sections import SECTIONS
from l2o.report.text import TIMES

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def drawn(written, tmp_path_factory) -> Path:
    """Results with their report and its figures."""
    folder = Path(shutil.copytree(written, tmp_path_factory.mktemp("drawn") / "quick"))
    report_on(folder, folder / "report.html")
    return folder


@pytest.fixture(scope="module")
def page(drawn) -> str:
    return (drawn / "report.html").read_text(encoding="utf-8")


class References(HTMLParser):
    """Collects elements, identifiers, and everything that a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.identifiers: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        for name, value in attributes:
            if name == "id":
                self.identifiers.append(value)
            if name in {"src", "href", "xlink:href", "data", "srcset"} and value[:1] != "#":
                (self.links if tag == "a" else self.fetched).append(value)


def test_page_needs_nothing_else(page):
    references = References()
    references.feed(page)
    assert references.fetched == [] and references.links == []
    assert not references.tags & {"script", "link", "iframe", "object", "img"}
    assert "@import" not in page
    assert not re.search(r"url\((?!['\"]?#)", page)
    assert len(references.identifiers) == len(set(references.identifiers))


def test_figures_are_inlined_and_written(page, drawn):
    written = [path.relative_to(drawn / "figures") for path in drawn.rglob("figures/*/*.svg")]
    by_section = {
        section: {p.stem for p in written if p.parts[0] == section} for section in SECTIONS
    }
    assert "toy_catch" in by_section["learning_curves"]
    assert "meta_gradient_norm" in by_section["meta_training"]
    assert by_section["selection"] == {"selection"}
    assert {"transfer_inverted_double_pendulum", "summary_profile"} <= by_section["transfer"]
    assert "ablation_inductive_bias_returns_small_dense_short" in by_section["ablations"]
    assert by_section["gradients"] == set() and (drawn / "figures/gradients").is_dir()
    assert sum(map(len, by_section.values())) == len(written) == page.count("<svg")
    assert all((drawn / "figures" / path).with_suffix(".png").is_file() for path in written)


def test_figures_of_an_earlier_report_are_removed(tmp_path):
    config.write(config.build(config.read_yaml("config/config.yaml")), tmp_path / "config.json")
    for name in ("old.svg", "selection/selection.png", "selection/.snakemake_timestamp"):
        path = tmp_path / "figures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    report_on(tmp_path, tmp_path / "report.html")
    assert {path.name for path in (tmp_path / "figures").iterdir()} == set(SECTIONS)
    left = [path.name for path in (tmp_path / "figures").rglob("*") if path.is_file()]
    assert left == [".snakemake_timestamp"]


def test_jobs_are_linked_to_their_mlflow_runs(root, without_figures):
    started = json.loads((root / "select/run.json").read_text())["started"]
    address = 'https://host/"><b>&/#/experiments/1/runs/2'
    for name, url, at in (
        ("select", address, started),
        ("tune", address, "2025-01-01T00:00:00+00:00"),  # of an earlier execution
        ("transfer_summary", "javascript:alert()", started),
    ):
        note = {"run_id": "2", "run_key": f"quick/{name}@{at}", "url": url}
        write_json(root / name / ".mlflow.json", note)
    (root / "baselines/catch/.mlflow.json").write_text('{"run_id": ')
    report_on(root, root / "report.html")
    page = (root / "report.html").read_text()
    references = References()
    references.feed(page)
    assert references.links == [address] * 2  # of the section, and of the table of costs
    assert references.fetched == [] and '"><b>&' not in page
    assert page.count(">select</a>") == 2 and "In MLflow: select" in text_of(page)
    assert 'make run ARGS="--forcerun track --config scale=quick"' in text_of(page)


def test_tables_hold_the_numbers(text):
    assert "140 ★" in text and "score 0.78" in text
    assert "champion 0.003 8.00 0.12 [7.77, 8.23] 8 6" in text  # transfer: 3 rates x 2 seeds
    assert f"Adam 9.00 8.00 7.00 3 {TIMES} 2 seeds = 6 0.01" in text
    assert "0.03 (edge of the grid)" in text
    assert "1 min 12 s" in text and "1.50 GiB" in text
    assert "0123456789ab" in text and "finished 2026-01-02" in text
    assert 'make run ARGS="--config scale=quick"' in text and "make ui" in text
    assert "too small to say anything" not in text


def test_smoke_says_that_it_says_nothing(tmp_path, without_figures):
    root = write_results(tmp_path, "smoke")
    report_on(root, root / "report.html")
    assert "too small to say anything" in text_of((root / "report.html").read_text())


def test_parts_that_were_not_run_are_left_out(tmp_path, without_figures):
    root = tmp_path / "quick"
    settings = config.build(config.read_yaml("config/config.yaml"))
    config.write(settings, root / "config.json")
    report_on(root, root / "report.html")
    text = text_of((root / "report.html").read_text())
    assert "Left out, because it was not run: baselines/small_dense_short, " in text
    assert "Left out: no ablation was run." in text
    assert "Nothing yet: no comparison was run." in text


def test_the_list_of_sections_is_light():
    """The workflow reads it each time that it starts."""
    code = "import sys, l2o.report.sections; print({'jax', 'numpy', 'pandas'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
