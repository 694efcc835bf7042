"""Programs that a job will compile, to be looked at before it runs. Imports no jax."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import jax


class Lowered(NamedTuple):
    """A program that a job will compile.

    Attributes:
        name: For people.
        stage: The program before it is compiled.
        less_memory: What to try if it does not fit memory, the gentlest first.
    """

    name: str
    stage: "jax.stages.Lowered"
    less_memory: tuple[str, ...] = ()


def needed_bytes(compiled: "jax.stages.Compiled") -> float:
    """Return the memory of a compiled program: arguments, results and temporary arrays.

    NaN where the backend does not tell.
    """
    memory = compiled.memory_analysis()
    if memory is None:
        return float("nan")
    used = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return float(used - memory.alias_size_in_bytes + memory.temp_size_in_bytes)
