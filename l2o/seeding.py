"""Random keys: every key derives from a seed, the name of what it is for, and a step."""

import zlib

import jax

_NOISE = 2**31
"""Beyond the number of keys that any key is split into."""


def key_for(seed: int, *names: str | int) -> jax.Array:
    """Return the random key of a named use.

    Args:
        seed: The seed of the job.
        *names: What the key is for, for example ``"meta_train", "small_dense_short"``; strings
            are hashed (CRC-32, the same on every machine), integers used as they are.

    Returns:
        A typed random key; different names give independent streams.
    """
    key = jax.random.key(seed)
    for name in names:
        key = jax.random.fold_in(key, zlib.crc32(name.encode()) if isinstance(name, str) else name)
    return key


def noise_key(key: jax.Array) -> jax.Array:
    """Return a key for an optimizer's noise, independent of all that ``key`` is split into.

    So whether an optimizer draws noise changes nothing else.
    """
    return jax.random.fold_in(key, _NOISE)
