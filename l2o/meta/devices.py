"""Populations spread over devices, of one process or of several."""

import contextlib
from collections.abc import Callable

import jax
from jax.sharding import AxisType, PartitionSpec

from l2o.errors import ConfigError


def use_devices(devices: int, distributed: bool = False) -> int:
    """Make sure that there are so many devices; of a CPU, any number. Before anything is computed.

    Args:
        devices: Of this process.
        distributed: Join the other processes of this Slurm step, or of another launcher that
            ``jax.distributed.initialize`` knows.

    Returns:
        How many all processes have together.

    Raises:
        ConfigError: There are fewer, or there is no such launcher.
    """
    with contextlib.suppress(RuntimeError):  # an initialised backend keeps what it has
        jax.config.update("jax_num_cpu_devices", devices)
    if distributed:
        _join()
    if (known := jax.local_device_count()) < devices:
        raise ConfigError(f"--devices {devices}: this machine has {known}.")
    return jax.device_count() if distributed else devices


def _join() -> None:
    try:
        jax.distributed.initialize()
    except ValueError as error:
        raise ConfigError(
            f"--distributed: start the processes with srun or another launcher ({error})"
        ) from None


def over_devices(function: Callable, devices: int, axis: str = "agents") -> Callable:
    """Split the leading axis of all arguments but the first over devices.

    Each device computes its share of the results, which must have the same leading axis; no
    device waits for another.

    Args:
        function: Of what is shared, then of arrays ``[N, ...]``.
        devices: How many; ``N`` must be a multiple.
        axis: What the leading axis counts.
    """
    if devices == 1:
        return function
    used = jax.devices()[:devices]
    mesh = jax.make_mesh((devices,), (axis,), (AxisType.Auto,), devices=used)
    split = PartitionSpec(axis)

    def spread(shared: object, *args: object) -> object:
        specs = (PartitionSpec(), *(split for _ in args))
        return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False)(
            shared, *args
        )

    return spread
