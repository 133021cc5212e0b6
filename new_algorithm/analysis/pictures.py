"""Rows and weights as pictures, of data sets that say that their rows are some."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def pictures(rows: NDArray, image_shape: Sequence[int]) -> NDArray:
    """Return rows (n, …) as (n, height, width) in grey, or (n, height, width, 3) in colours.

    image_shape: what a row was before it was flattened, a Dataset's.
    """
    found = rows.reshape(-1, *image_shape)
    if found.ndim == 4:
        if image_shape[0] in (1, 3):
            found = np.moveaxis(found, 1, -1)
        if found.shape[-1] == 1:
            found = found[..., 0]
    return found


def in_unit_range(shown: NDArray, images: NDArray) -> NDArray:
    """Return pictures with each colour stretched so that all `images` fill [0, 1]: their pixels
    again, where a colour was scaled as one and reaches from 0 to 255."""
    low, high = images.min(axis=(0, 1, 2)), images.max(axis=(0, 1, 2))
    return (shown - low) / np.where(high > low, high - low, 1)
