"""Rows left out of a training, and what decides that it is over."""

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from new_algorithm.estimators.training import Table

LeftOut = tuple[NDArray, NDArray, NDArray | None]  # x, y as it came, weights of the rows


def leave_out(
    table: Table, y: NDArray, share: float, seed: int, strata: NDArray | None
) -> tuple[Table, NDArray, LeftOut]:
    """Return the rows to train on, their y, and those left out, drawn by the seed.

    ValueError where the share leaves no row, or no weight, in one of the parts.
    """
    if np.ceil(share * len(table)) >= len(table):
        raise ValueError(
            f"early_stopping: with n_samples={len(table)}, a validation_fraction of {share:g} "
            "leaves no row to train on; give more rows, or early_stopping=False"
        )
    kept, out = train_test_split(
        np.arange(len(table)), test_size=share, random_state=seed % 2**32, stratify=strata
    )
    weights = table.row_weights
    mine, theirs = (None, None) if weights is None else (weights[kept], weights[out])
    if mine is not None and theirs is not None:
        if not (mine.any() and theirs.any()):
            raise ValueError(
                "early_stopping: of the rows left out, or of all others, none has a sample_weight "
                "above zero; give more rows some weight, or early_stopping=False"
            )
        mine = mine / mine.mean()
    left_out = table.x[out], y[out], theirs
    return Table(table.x[kept], table.targets[kept], mine), y[kept], left_out


class Progress:
    """Whether a number that should rise still does: by more than `tol` in `patience` passes.

    The first `warm_up` passes, whose steps are short, are not counted.
    """

    def __init__(self, tol: float, patience: int, warm_up: int) -> None:
        self._tol, self._patience, self._waiting = tol, patience, warm_up
        self._best, self._stalled = -np.inf, 0

    def is_best(self, reached: float) -> bool:
        """Take in what a pass reached; return whether no earlier one reached as much."""
        self._stalled = 0 if reached > self._best + self._tol else self._stalled + 1
        if self._waiting > 0:
            self._waiting, self._stalled = self._waiting - 1, 0
        best, self._best = reached > self._best, max(self._best, reached)
        return best

    @property
    def is_over(self) -> bool:
        return self._stalled >= self._patience
