"""Which rows of a table are learnt from, and which are held out."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

TEST_SHARE, VALIDATION_SHARE = 1 / 3, 1 / 5  # the latter of what the test leaves


class Split(NamedTuple):
    """x (n, d), and y (n,): labels, or targets."""

    x_train: NDArray
    y_train: NDArray
    x_held_out: NDArray
    y_held_out: NDArray


def split(
    x: NDArray, y: NDArray, share: float, rng: np.random.Generator, stratified: bool
) -> Split:
    """Hold a share of the rows out, drawn at random; of every class alike where `stratified`.

    At least one row of each class is learnt from.
    """
    order = rng.permutation(len(x))
    if not stratified:
        held_out = order[: round(share * len(x))]
    else:
        parts = [order[y[order] == label] for label in np.unique(y)]
        held_out = np.concatenate([part[: round(share * len(part))] for part in parts])
    mask = np.zeros(len(x), bool)
    mask[held_out] = True
    return Split(x[~mask], y[~mask], x[mask], y[mask])


def split_of_run(
    x: NDArray, y: NDArray, held_out: Literal["test", "validation"], seed: int, stratified: bool
) -> Split:
    """The split of a seed: a third for the test; or, without these, a fifth for validation."""
    rng = np.random.default_rng([seed, 3])
    outer = split(x, y, TEST_SHARE, rng, stratified)
    if held_out == "test":
        return outer
    return split(outer.x_train, outer.y_train, VALIDATION_SHARE, rng, stratified)
