"""kill -9 at random moments: of every stage, and of the whole workflow."""

import json
import shutil
import time

from l2o.jobs.reading import SIDECAR
from tests.drill.compare import differences, tracked
from tests.drill.place import Place, moments
from tests.drill.stages import STAGES, out_of, program
from tests.drill.verdicts import check

WORKFLOW = ["snakemake", "--cores", "2", "all", "analysis"]


@check("kill -9 of {0}")
def kill_stage(name: str, place: Place, whole: Place, kills: int, seed: int) -> str:
    """Kill a stage at random moments, each time going on; then let it end."""
    chosen, limit, tries, done = moments((seed, name)), _seconds(name, whole), 0, 0
    _remove(name, place)
    while done < kills:
        tries += 1
        assert tries <= 4 * kills, f"it is over too soon to be killed ({limit:.1f} s)"
        began = time.monotonic()
        if place.kill_after(chosen.uniform(0.3, 1.0) * limit, program(name)):
            done += 1
            continue
        limit = min(limit, time.monotonic() - began)
        _assert_same(place, whole, "between kills")
        _remove(name, place)
    ended = place.run(program(name))
    assert ended.code == 0, ended.output[-500:]
    _assert_same(place, whole, "after them")
    if name == "track":
        _assert_same_runs(place, whole)
    return f"{kills} kills, same results"


def _seconds(name: str, whole: Place) -> float:
    """Return how long a stage took undisturbed; a guess for those that leave no record."""
    record = whole.folder / out_of(name) / "run.json"
    return json.loads(record.read_text())["timings"]["total_s"] if record.is_file() else 8.0


def _remove(name: str, place: Place) -> None:
    notes = place.folder.glob(f"results/**/{SIDECAR}") if name == "track" else ()
    for path in [*(place.folder / output for output in STAGES[name].outputs), *notes]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _assert_same(place: Place, whole: Place, when: str) -> None:
    found = differences(whole.results, place.results)
    assert not found, f"{when}: {'; '.join(found[:3])}"


def _assert_same_runs(place: Place, whole: Place) -> None:
    databases = [tracked(one.folder / "results") for one in (whole, place)]
    assert databases[0] == databases[1], "MLflow holds other runs"


@check("kill -9 of the whole workflow")
def kill_workflow(place: Place, whole: Place, kills: int, seed: int) -> str:
    """Kill Snakemake and all its jobs at random moments; unlock, as the docs say; go on."""
    chosen, done = moments((seed, "workflow")), 0
    while done < kills and place.kill_after(chosen.uniform(6, 24), WORKFLOW):
        done += 1
        if not list(place.folder.glob(".snakemake/locks/*")):
            continue  # it had not begun, or was about to end
        refused = place.run(WORKFLOW)
        assert refused.code and "--unlock" in refused.output, refused.output[-500:]
        assert place.run(["snakemake", "--unlock"]).code == 0
    ended = place.run(WORKFLOW)
    assert ended.code == 0, ended.output[-500:]
    _assert_same(place, whole, "after them")
    _assert_same_runs(place, whole)
    return f"{done} kills, unlocked each time, same results"
