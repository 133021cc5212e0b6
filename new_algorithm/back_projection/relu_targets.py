"""The part of a wanted hidden change that a ReLU can make, as a wanted change of its input Z.

Both work in place on δH/n (n, d), as a sweep over n rows keeps it, given H̃ (n, d + 1).
"""

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.network import relu_mask


def mask(wanted: NDArray, hidden: NDArray) -> None:
    """Keep δH where Z > 0, the linearised ReLU."""
    np.multiply(wanted, relu_mask(hidden), out=wanted)


def project(wanted: NDArray, hidden: NDArray) -> None:
    """Make δH into max(H + δH, 0) − H, the nearest change that leaves H ≥ 0; units may revive."""
    values = hidden[:, :-1] / len(hidden)
    wanted += values
    np.maximum(wanted, 0, out=wanted)
    wanted -= values


RELU_TARGETS = {"mask": mask, "project": project}
