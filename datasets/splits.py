"""Which rows of a data set are used: what is held out, and how many rows of each part."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from new_algorithm.cli.errors import UserError

HeldOut = Literal["test", "validation", "unseen"]
VALIDATION_DIVISOR = 6  # one row in six: 10,000 of MNIST's 60,000
VALIDATION_SEED = 6


@dataclass(frozen=True)
class Split:
    """Rows are held out first; then the limits keep the first rows of each part.

    held_out: `test`; `validation`, a sixth of the training rows in the place of the test set; or
    `unseen`, the test set beside the training rows of `validation`, scaled alike, for networks
    whose settings were chosen there. UserError for a limit below 1 or an unknown `held_out`.
    """

    held_out: HeldOut = "test"
    train_limit: int | None = None
    test_limit: int | None = None

    def __post_init__(self) -> None:
        for name in ("train_limit", "test_limit"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise UserError(f"{name} {limit}: a limit is 1 row or more; leave it out for all")
        if self.held_out not in get_args(HeldOut):
            choices = ", ".join(get_args(HeldOut))
            raise UserError(f"held_out {self.held_out!r}: choose {choices}")

    def training_rows(self, rows: int) -> int:
        """How many of a data set's `rows` training rows this split trains on."""
        return len(range(self._before_validation(rows))[: self.train_limit])

    def hold_out(
        self, arrays: Mapping[str, NDArray], strata: NDArray | None = None
    ) -> dict[str, NDArray]:
        """Return x_train, y_train, x_test, y_test with the held-out rows in the test set's place.

        The validation rows are the last sixth; or, with `strata` (n,), a random sixth of the
        training rows of each value, the same in every run.
        """
        if self.held_out == "test":
            return dict(arrays)
        x, y = arrays["x_train"], arrays["y_train"]
        end = self._before_validation(len(x))
        kept: slice | NDArray = slice(end)
        validation: slice | NDArray = slice(end, None)
        if strata is not None:
            validation = _random_sixth(strata)
            kept = ~validation
        training = {"x_train": x[kept], "y_train": y[kept]}
        if self.held_out == "unseen":
            return dict(arrays) | training
        return training | {"x_test": x[validation], "y_test": y[validation]}

    def limit(self, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Return the first rows of each part; a limit beyond the data takes all of it."""
        return {
            "x_train": arrays["x_train"][: self.train_limit],
            "y_train": arrays["y_train"][: self.train_limit],
            "x_test": arrays["x_test"][: self.test_limit],
            "y_test": arrays["y_test"][: self.test_limit],
        }

    def _before_validation(self, rows: int) -> int:
        if self.held_out == "test":
            return rows
        if rows < VALIDATION_DIVISOR:
            raise UserError(
                f"{rows} training rows are too few to hold out a validation set: "
                f"{VALIDATION_DIVISOR} or more are needed"
            )
        return rows - rows // VALIDATION_DIVISOR


def _random_sixth(strata: NDArray) -> NDArray[np.bool_]:
    """Mark one row in six, rounded down, of all rows, and of each stratum to within one row.

    Rows are shuffled within their strata, and every sixth of the sequence of strata is taken. The
    smallest strata come first, before the first row taken: a single row of its kind is kept.
    """
    _, stratum, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    shuffled = np.random.default_rng(VALIDATION_SEED).permutation(len(strata))
    order = np.lexsort((shuffled, stratum, sizes[stratum]))
    taken = np.zeros(len(strata), bool)
    taken[order[VALIDATION_DIVISOR - 1 :: VALIDATION_DIVISOR]] = True
    return taken
