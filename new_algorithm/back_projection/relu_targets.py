"""The part of a wanted hidden change that a ReLU can make, as a wanted change of its input Z."""

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.network import relu_mask


def mask(wanted: NDArray, hidden: NDArray) -> NDArray:
    """Keep δH where Z > 0, the linearised ReLU. wanted (n, d), hidden H̃ (n, d + 1) → (n, d)."""
    return wanted * relu_mask(hidden)


def project(wanted: NDArray, hidden: NDArray) -> NDArray:
    """Return max(H + δH, 0) − H, the nearest change that leaves H ≥ 0; dead units may revive."""
    values = hidden[:, :-1]
    return np.maximum(values + wanted, 0) - values


RELU_TARGETS = {"mask": mask, "project": project}
