"""Which rows of a data set are used: what is held out, and how many rows of each part."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np

from datasets.dataset import HeldOut
from new_algorithm.cli.errors import UserError

VALIDATION_SHARE = 6  # one row in six: 10,000 of MNIST's 60,000


@dataclass(frozen=True)
class Split:
    """Hold-out first, then the limits, each of which keeps the first rows of its part.

    held_out: `test`; `validation`, the last sixth of the training rows; or `unseen`, the test set
    beside the training rows of `validation`, scaled alike, for networks whose settings were chosen
    there. UserError for a limit below 1 or an unknown `held_out`.
    """

    held_out: HeldOut = "test"
    train_limit: int | None = None
    test_limit: int | None = None

    def __post_init__(self):
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

    def hold_out(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """x_train, y_train, x_test, y_test with the held-out rows in the place of the test set."""
        if self.held_out == "test":
            return dict(arrays)
        x, y = arrays["x_train"], arrays["y_train"]
        end = self._before_validation(len(x))
        kept = {"x_train": x[:end], "y_train": y[:end]}
        if self.held_out == "unseen":
            return dict(arrays) | kept
        return kept | {"x_test": x[end:], "y_test": y[end:]}

    def limit(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The first rows of each part; a limit beyond the data takes all of it."""
        return {
            "x_train": arrays["x_train"][: self.train_limit],
            "y_train": arrays["y_train"][: self.train_limit],
            "x_test": arrays["x_test"][: self.test_limit],
            "y_test": arrays["y_test"][: self.test_limit],
        }

    def _before_validation(self, rows: int) -> int:
        if self.held_out == "test":
            return rows
        if rows < VALIDATION_SHARE:
            raise UserError(
                f"{rows} training rows are too few to hold out a validation set: "
                f"{VALIDATION_SHARE} or more are needed"
            )
        return rows - rows // VALIDATION_SHARE
