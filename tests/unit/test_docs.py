"""The documentation: its examples run, its tables are those of the code."""

import functools
import importlib.util
import re

import pytest
from places import ROOT

import l2o
from l2o.optimizers.classical import list_classical

DOCS = ROOT / "docs"


def blocks(name):
    """Return the python blocks of a document as (heading, line, code)."""
    found, heading, code, start = [], "", None, 0
    for number, line in enumerate((DOCS / name).read_text().splitlines(), 1):
        if code is None:
            if line.startswith("#"):
                heading = line.lstrip("# ")
            elif line == "```python":
                code, start = [], number
        elif line == "```":
            found.append((heading, start, "\n".join(code)))
            code = None
        else:
            code.append(line)
    assert code is None, f"{name}: the block at line {start} does not end"
    return found


def execute(name, block, namespace):
    _, line, code = block
    # Line numbers of a traceback are those of the document.
    exec(compile("\n" * line + code, DOCS / name, "exec"), namespace)
    return namespace


DOCUMENTS = {path.name: found for path in sorted(DOCS.glob("*.md")) if (found := blocks(path.name))}
EXAMPLES = [(name, block) for name, (_, *rest) in DOCUMENTS.items() for block in rest]


@functools.cache
def shared(name):
    """Run the first block of a document, which its others build on."""
    return execute(name, DOCUMENTS[name][0], {})


@pytest.mark.parametrize(("name", "block"), EXAMPLES, ids=[block[0] for _, block in EXAMPLES])
def test_example(name, block):
    assert "assert" in block[2]
    execute(name, block, dict(shared(name)))


def test_every_python_block_is_run():
    fences = {path.name: path.read_text().count("```python") for path in DOCS.rglob("*.md")}
    run = {name: len(found) for name, found in DOCUMENTS.items()}
    assert {name: count for name, count in fences.items() if count} == run
    assert run["optax.md"] > 9


def load_costs():
    path = ROOT / "tests" / "benchmarks" / "costs.py"
    spec = importlib.util.spec_from_file_location("costs", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_of_optimizers():
    costs = load_costs()
    known = {*l2o.list_optimizers(), *list_classical()}
    kept, measured = (
        {
            cells[0]: cells
            for line in document.read_text().splitlines()
            if (cells := re.split(r"[ `|]*\|[ `]*", line)[1:-1])
        }
        for document in costs.TABLES
    )
    assert known <= kept.keys() and known <= measured.keys()
    for name in l2o.list_optimizers():
        *_, meta_parameters, state = kept[name]
        assert meta_parameters == f"{costs.meta_parameters(name):,}"
        assert state == f"{costs.state_floats(name):.3g}"
    for document in costs.TABLES:
        expected = costs.filled_in(document)
        assert document.read_text() == expected, "run tests/benchmarks/costs.py --write"


def test_known_counts():
    costs = load_costs()
    # By hand: a GRU of 8 units has 3 (8 w + 8) + 3 * 64 + 8 for input width w.
    gru = {width: 3 * (8 * width + 8) + 200 for width in (1, 2)}
    assert costs.meta_parameters("optim4rl_b") == 2 * (gru[1] + 9)
    assert costs.meta_parameters("linear") == gru[1] + 27
    assert costs.meta_parameters("l2lgd2") == gru[2] + 9
    mlp = 8 * 16 + 16 + 16 * 16 + 16
    assert costs.meta_parameters("optim4rl_a") == gru[2] + gru[1] + 2 * mlp + 34 + 17
    assert costs.state_floats("optim4rl_b") == pytest.approx(16, abs=1e-4)
    assert costs.state_floats("adam") == pytest.approx(2, abs=1e-4)
    assert costs.state_floats("sgd") == 0
