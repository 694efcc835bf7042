"""Handwritten digits, 8 x 8 pixels, which scikit-learn ships: 1,797 images of ten classes."""

import numpy as np

NAME = "digits"
"""Of the task."""
HELD_OUT = 360


def load_digits(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return all images ``[1797, 64]`` float32 in [0, 1] and classes ``[1797]`` int32, shuffled.

    The writers of the file's last images wrote none of the others: without shuffling, the held-out
    part would be another distribution.
    """
    from sklearn import datasets

    images, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    return (images[order] / 16).astype(np.float32), labels[order].astype(np.int32)
