"""What optimizers need, counted without running them, and their tables in the documentation.

``python tests/benchmarks/costs.py`` prints the documents with their tables as the code has them;
``--write`` brings them up to date.
"""

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import l2o
from l2o.optimizers.classical import classical, list_classical

Tree = Any
DOCS = Path(__file__).parents[2] / "docs"
MEASURED = DOCS / "costs.json"  # written by optimizers.py
PAPERS = {
    "optim4rl": "[Lan et al. 2024](https://arxiv.org/abs/2302.01470)",
    "l2lgd2": "[Andrychowicz et al. 2016](https://arxiv.org/abs/1606.04474)",
    "star": "[Harrison et al. 2022](https://arxiv.org/abs/2209.11208)",
    "small_fc": "[Metz et al. 2022a](https://arxiv.org/abs/2203.11860)",
    "open": "[Goldie et al. 2024](https://arxiv.org/abs/2407.07082)",
    "velo": "[Metz et al. 2022b](https://arxiv.org/abs/2211.09760)",
    "celo2": "[Moudgil et al. 2026](https://arxiv.org/abs/2602.19142)",
}


class Learned(NamedTuple):
    """What is said of a learned optimizer."""

    paper: str
    step: str
    needs: str


LEARNED = {
    "optim4rl_a": Learned(
        f"{PAPERS['optim4rl']}, ICLR submission",
        "sgn g · gate(a) · exp b / √(exp c + ε), a, b = MLP(GRU(sgn g, log abs g)), "
        "c = MLP(GRU(2 log abs g))",
        "",
    ),
    "optim4rl_b": Learned(
        f"{PAPERS['optim4rl']}, RLC",
        "sgn g · exp b / √(exp c + ε), b = w · GRU(g), c = w' · GRU(g²)",
        "with `features`: progress, activations",
    ),
    "optim4rl_m": Learned(
        "this project",
        "exp s · Σ aᵢ mᵢ / (√v · Π (vⱼ/v)^(cⱼ/2) + ε), a, c, s = Adam's + MLP(14 features)/10, "
        "m and v at several decays",
        "progress",
    ),
    "linear": Learned(
        f"{PAPERS['optim4rl']}, LinearOptim",
        "exp(o₁) g + exp(o₂) o₃, o = MLP(GRU(g)), or of sgn g, log abs g",
        "",
    ),
    "l2lgd2": Learned(PAPERS["l2lgd2"], "exp(o) g, o = MLP(GRU(sgn g, scaled log abs g))", ""),
    "star": Learned(
        PAPERS["star"],
        "o₁ exp(o₂/1000) + s mean_k(m_k/√v), o = MLP(39 features), the second term without "
        "learning rate",
        "params",
    ),
    "small_fc": Learned(PAPERS["small_fc"], "o₁ exp(o₂/1000)/1000, o = MLP(39 features)", "params"),
    "open": Learned(
        PAPERS["open"],
        "u - mean u, u = (o₁ exp(o₂/1000) + o₃ noise)/1000, o = MLP(GRU(19 features)), noise for "
        "the actor only",
        "params, progress, batch_progress, activations, key",
    ),
    "tensor_rule": Learned(
        "this project",
        "(1 - progress)^k exp(s) T^t ((1 - l) m + l g)/(√(a v + (1 - a) V^r) + ε), T = norm of p "
        "over that of the rest, V = mean of v; s, t, l, a, r and the decays of m and v per tensor "
        "by MLP(14 features of the tensor)",
        "params, progress, batch_progress",
    ),
    "velo": Learned(
        PAPERS["velo"],
        "c RMS(p) o₁ exp(o₂/1000)/1000, o = MLP(30 features), c and MLP per tensor from an LSTM",
        "params, value, progress",
    ),
    "celo2": Learned(
        PAPERS["celo2"],
        "o/RMS(o), o = orthogonalised MLP(30 features); Adam for leaves of `regex_1d`",
        "params",
    ),
}
CLASSICAL = {
    "adam": ("m/(√v + ε), moments of g with decays 0.9 and 0.999, bias-corrected", ""),
    "adam_decay": ("Adam's, times 1 - progress", "progress"),
    "adamw": ("Adam's, plus 0.0001 p", "params"),
    "lion": ("sgn(0.9 m + 0.1 g), m with decay 0.99", ""),
    "momentum": ("m ← 0.9 m + g", ""),
    "rmsprop": ("g/√(v + ε), v with decay 0.9", ""),
    "sgd": ("g", ""),
    "sign": ("sgn g (signSGD)", ""),
}


def agent() -> Tree:
    """Return the shapes of an agent of about one million parameters.

    A convolution for a small image, an actor and a critic with two hidden layers of 480 units, and
    the standard deviation of continuous actions, named as flax does.
    """

    def dense(inputs: int, outputs: int) -> Tree:
        return {"kernel": (inputs, outputs), "bias": (outputs,)}

    def network(outputs: int) -> Tree:
        sizes = (48, 480, 480, 480, outputs)
        return {f"Dense_{i}": dense(*sizes[i : i + 2]) for i in range(4)}

    shapes = {
        "actor": {
            "params": {
                "Conv_0": {"kernel": (3, 3, 32, 64), "bias": (64,)},
                **network(16),
                "log_std": (16,),
            }
        },
        "critic": {"params": network(1)},
    }
    return jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
        shapes,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def floats(tree: Tree) -> int:
    """Return the number of entries of all leaves."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def meta_parameters(name: str) -> int:
    """Return the number of meta-parameters; none for a classical optimizer."""
    if name in list_classical():
        return 0
    return floats(jax.eval_shape(l2o.make_optimizer(name).init_meta, jax.random.key(0)))


def state_floats(name: str) -> float:
    """Return the entries of the optimizer's state per agent parameter."""

    def init(params: Tree) -> Tree:
        if name in list_classical():
            return classical(name, 1.0).init(params)
        optimizer = l2o.make_optimizer(name)
        return optimizer.transform(optimizer.init_meta(jax.random.key(0))).init(params)

    return floats(jax.eval_shape(init, agent())) / floats(agent())


def learned_table() -> str:
    """Return the table of the learned optimizers."""
    rows = []
    for name in l2o.list_optimizers():
        clip, text = l2o.make_optimizer(name).grad_clip, LEARNED[name]
        numbers = (f"{meta_parameters(name):,}", f"{state_floats(name):.3g}")
        bound = "none" if clip is None else f"{clip:g}"
        rows.append((f"`{name}`", text.paper, text.step, text.needs, bound, *numbers))
    heading = ("name", "paper", "step", "needs", "`grad_clip`", "meta-parameters", "state")
    return _table(heading, rows)


def classical_table() -> str:
    """Return the table of the classical optimizers."""
    rows = [
        (f"`{name}`", *CLASSICAL[name], f"{state_floats(name):.3g}") for name in list_classical()
    ]
    return _table(("name", "step", "needs", "state"), rows)


def measured_table() -> str:
    """Return the table of measured costs, and what they were measured on."""
    result = json.loads(MEASURED.read_text())
    rows = [
        (
            f"`{name}`",
            f"{row['nanoseconds']:.1f}",
            f"{row['times_adam']:.1f}",
            f"{8 * (row['state_floats'] + 1):.0f}",
            f"{row['temporary_bytes']:.0f}",
            f"{row['peak_over_needed']:.2f}",
        )
        for name, row in result["optimizers"].items()
    ]
    heading = ("name", "ns", "x Adam", "bytes", "temporary bytes", "peak / needed")
    found = ", ".join(f"{name} {ratio:.2f}" for name, ratio in result["ratios"].items())
    return f"{_table(heading, rows)}\n\n{result['machine']}. Ratios: {found}."


def _table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


TABLES: dict[Path, dict[str, Callable[[], str]]] = {
    DOCS / "optimizers.md": {"learned": learned_table, "classical": classical_table},
    DOCS / "results" / "optimizer_costs.md": {"measured": measured_table},
}


def filled_in(document: Path) -> str:
    """Return a document with the tables between its markers replaced by the code's."""
    text = document.read_text()
    for name, table in TABLES[document].items():
        begin, end = f"<!-- {name} -->", "<!-- end -->"
        pattern = re.compile(f"{begin}.*?{end}", re.DOTALL)
        text, count = pattern.subn(f"{begin}\n{table()}\n{end}".replace("\\", r"\\"), text)
        if count != 1:
            raise ValueError(f"{count} tables are marked '{name}', want 1")
    return text


def main() -> None:
    """Print the documents, or write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="update the documents")
    write = parser.parse_args().write
    for document in TABLES:
        text = filled_in(document)
        if write:
            document.write_text(text)
        else:
            print(text)


if __name__ == "__main__":
    main()
