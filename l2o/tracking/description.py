"""What the experiment's page in MLflow says, and the views that it links to.

A view is what the button "Share" of that page makes: an experiment tag with filter, columns and
grouping. MLflow keeps a person's own columns in the browser and has no other way to preset them.
"""

import json
from collections.abc import Iterable, Sequence

VIEW_TAG = "mlflow.sharedViewState."
# Else MLflow opens the experiment as one about language models.
KIND_TAG, KIND = "mlflow.experimentKind", "custom_model_development"
NOTE_TAG = "mlflow.note.content"

_ABLATION = "ablation_"
_COLUMNS = (
    "tags.`stage`",
    "tags.`recipe`",
    "tags.`task`",
    "tags.`seed`",
    "metrics.`result/final_return`",
    "metrics.`result/score`",
    "metrics.`time/total_s`",
    "attributes.`Dataset`",
)
# The first line is all that is shown before the description is unfolded.
_NOTE = """\
Start here: [all jobs]({jobs}) · [meta-training curves]({meta}){ablations}

One run per job of the pipeline, below one per invocation; the files under `results/` are the truth.

- **Jobs**: what matters first are the columns stage, recipe, task, seed, then score and time.
- **Curves**: `<task>/return` first (mean return of the agents, higher is better), then `skipped` \
(meta-gradients that were not finite; should be 0).
- **Model registry**: of `l2o-optimizer`, `champion` is the best selection so far, `candidate` the \
newest.
"""
_ABLATIONS_NOTE = """
**Ablations**: meta-training grouped by what was varied, averaged over seeds
{views}

By hand: filter `tags.stage = 'meta_train' AND tags.ablation_<name> LIKE '%'`, group by the tag \
`ablation_<name>`. Which differences are significant is in `report.html`, not in these curves.
"""
# MLflow's limit for the value of an experiment's tag.
_MAX_NOTE = 5000
_MAX_SECTIONS = 20
# Ablations in the first line.
_FIRST = 4


def ablations_of(labels: Iterable[str]) -> list[str]:
    """Return the ablations that some labels of jobs are about."""
    return sorted({name.removeprefix(_ABLATION) for name in labels if name.startswith(_ABLATION)})


def experiment_tags(
    ablations: Iterable[str], sections: Sequence[str], experiment: str
) -> dict[str, str]:
    """Return the description of the experiment and its views.

    Args:
        ablations: Names of those whose meta-training runs are there.
        sections: What the names of their metrics begin with: the charts that come first.
        experiment: Id, for the links.
    """
    is_training = "tags.stage = 'meta_train'"
    views = {
        "jobs": _view("tags.stage != 'pipeline'", ()),
        "meta-training": _view(is_training, sections),
    }
    links = {name: f"[{name}]({_link(experiment, name, 'CHART')})" for name in ablations}
    first = ", ".join(list(links.values())[:_FIRST])
    note = _NOTE.format(
        jobs=_link(experiment, "jobs"),
        meta=_link(experiment, "meta-training", "CHART"),
        ablations=f" · ablations: {first}" if first else "",
    )
    lines: list[str] = []
    for name, link in links.items():
        lines.append(f"- {link}")
        longer = note + _ABLATIONS_NOTE.format(views="\n".join(lines))
        if len(longer) > _MAX_NOTE:
            lines.pop()
            break
        search = f"{is_training} AND tags.{_ABLATION}{name} LIKE '%'"
        views[name] = _view(search, sections, _ABLATION + name)
    if lines:
        note += _ABLATIONS_NOTE.format(views="\n".join(lines))
    tags = {NOTE_TAG: note, KIND_TAG: KIND}
    return tags | {VIEW_TAG + name: view for name, view in views.items()}


def _link(experiment: str, view: str, mode: str = "TABLE") -> str:
    query = f"viewStateShareKey={view}&compareRunsMode={mode}&workflowType=machine_learning"
    return f"#/experiments/{experiment}/runs?{query}"


def _view(search: str, sections: Sequence[str], group: str | None = None) -> str:
    """Return the state of the page: the runs, the columns, the order of charts, the grouping."""
    state: dict[str, object] = {
        "searchFilter": search,
        # By any order but that of time, runs are listed without the folded tree of their parents.
        "orderByKey": "tags.`mlflow.runName`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(_COLUMNS),
        "hideEmptyCharts": True,
    }
    if sections:
        # The charts themselves are made by the page.
        state |= {"compareRunCharts": [], "isAccordionReordered": True}
        state["compareRunSections"] = [
            {"uuid": f"l2o-{name}", "name": name, "display": True, "isReordered": False}
            for name in sections[:_MAX_SECTIONS]
        ]
    if group is not None:
        keys = [{"mode": "tag", "groupByData": group}]
        state["groupBy"] = {"aggregateFunction": "average", "groupByKeys": keys}
        state["useGroupedValuesInCharts"] = True
    return json.dumps(state)
