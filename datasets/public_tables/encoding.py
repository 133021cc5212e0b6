"""Columns of a table as the numbers that a network takes."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from datasets.public_tables.r_format import Column, Frame

MISSING = "missing"


def features_of(
    frame: Frame, left_out: Collection[str], categories: Collection[str]
) -> tuple[NDArray, list[str]]:
    """Return features, float32 (n, d), and their names; nothing is scaled.

    A column of numbers is one feature, its median where it is missing, and where any are missing a
    second one that is 1 there. Every level of a category is a feature that is 0 or 1, in the order
    of their names, `missing` among them.
    """
    blocks: list[NDArray] = []
    names: list[str] = []
    for name, column in frame.items():
        if name in left_out:
            continue
        if column.dtype == object or name in categories:
            block, levels = _one_hot(column)
            names += [f"{name}={level}" for level in levels]
        else:
            block = _filled(column)
            names += [name, f"{name}={MISSING}"][: block.shape[1]]
        blocks.append(block)
    return np.hstack(blocks).astype(np.float32), names


def labels_of(column: Column) -> tuple[NDArray[np.int64], list[str]]:
    """Labels 0 .. K - 1 in the order of the classes' names, and these names."""
    classes, labels = np.unique(_texts(column), return_inverse=True)
    return labels.astype(np.int64), classes.tolist()


def _one_hot(column: Column) -> tuple[NDArray, list[str]]:
    labels, levels = labels_of(column)
    return np.eye(len(levels))[labels], levels


def _texts(column: Column) -> NDArray:
    if column.dtype == object:
        return np.array([MISSING if value is None else value for value in column])
    return np.array([MISSING if np.isnan(value) else f"{value:g}" for value in column])


def _filled(column: Column) -> NDArray:
    missing = np.isnan(column)
    if not missing.any():
        return column[:, None]
    return np.column_stack([np.where(missing, np.nanmedian(column), column), missing])
