"""The one form in which every data set reaches a script, and which of its rows are used."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from datasets.facts import facts as facts_of_rows
from datasets.facts import farthest_row
from datasets.mapped_files import Standardiser, row_blocks
from datasets.preprocessing import Preprocessing
from datasets.targets import Label
from new_algorithm.cli.errors import UserError

HeldOut = Literal["test", "validation", "unseen"]
VALIDATION_DIVISOR = 6  # one row in six: 10,000 of MNIST's 60,000
VALIDATION_SEED = 6
TEST_DIVISOR = 5  # of data that come without a test set, one row in five
TEST_SEED = 5


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training rows, held-out rows, and where both came from.

    x_train, x_test: float32 (n, d), C-contiguous, scaled as `scaling` says; but of CIFAR-10, which
    has a loader of its own, uint8 (n, 3, 32, 32).
    y_train, y_test: labels 0 .. num_classes - 1, int64 (n,), of sequences (n, length); or
    standardised targets, float32 (n, m); or, where `probabilities`, such in [0, 1], as they are.
    num_classes: None for regression and probabilities.
    held_out: what x_test and y_test really are.
    target_scale: of regression targets: y = mean + sd · standardised y.
    target_names: the columns of a table that are learned. labels: of classes, as the data have
    them, in the order of their numbers. preprocessing: what made the features, where it is known.
    sha256: array name -> hash of the bytes read, before hold-out, limits and scaling.
    image_shape: of rows that are pictures, before they were flattened: (height, width), or with the
    colours first or last; None where rows are none.
    """

    name: str
    x_train: NDArray
    y_train: NDArray
    x_test: NDArray
    y_test: NDArray
    num_classes: int | None
    held_out: HeldOut
    source: str
    scaling: str
    sha256: dict[str, str]
    target_scale: Standardiser | None = None
    target_names: tuple[str, ...] = ()
    labels: tuple[Label, ...] | None = None
    preprocessing: Preprocessing | None = None
    image_shape: tuple[int, ...] | None = None
    probabilities: bool = False

    def provenance(self) -> dict[str, Any]:
        """What a record of a run says about its data, ready for JSON.

        chance_accuracy: of always naming the held-out rows' largest class; None without classes.
        probabilities: how many are learned of a row, where targets are such.
        class_shares, feature_scales: of the training rows, where there are any; far_x, far_y: the
        held-out row that is far outside of these, if one is; see facts.py.
        """
        facts: dict[str, Any] = {
            "name": self.name,
            "source": self.source,
            "scaling": self.scaling,
            "held_out": self.held_out,
            "sha256": dict(self.sha256),
            "counts": {"train": len(self.x_train), self.held_out: len(self.x_test)},
            "shape": list(self.x_train.shape[1:]),
            "num_classes": self.num_classes,
            "chance_accuracy": None,
            **facts_of_rows(self.x_train, self.y_train, self.num_classes),
        }
        for name in ("x", "y"):
            training, held_out = (getattr(self, f"{name}_{part}") for part in ("train", "test"))
            if training.dtype.kind == "f" and (far := farthest_row(held_out, training)):
                facts[f"far_{name}"] = far
        if self.probabilities:
            facts["probabilities"] = self.y_train.shape[1]
        if self.num_classes is not None:
            facts["chance_accuracy"] = float(np.bincount(self.y_test.flat).max() / self.y_test.size)
        if (scale := self.target_scale) is not None:
            facts |= {"target_mean": scale.mean.tolist(), "target_sd": scale.sd.tolist()}
        if self.target_names:
            facts["target"] = list(self.target_names)
        if self.labels is not None:
            facts["labels"] = list(self.labels)
        if self.preprocessing is not None:
            facts["preprocessing"] = self.preprocessing.to_json()
        return facts


def hash_arrays(arrays: Mapping[str, NDArray]) -> dict[str, str]:
    """sha256 of each array's bytes in C order; dtype and shape do not enter."""
    digests = {name: hashlib.sha256() for name in arrays}
    for name, array in arrays.items():
        for _, block in row_blocks(array):
            digests[name].update(np.ascontiguousarray(block).data)
    return {name: digest.hexdigest() for name, digest in digests.items()}


@dataclass(frozen=True)
class Split:
    """Rows are held out first; then the limits keep the first rows of each part.

    held_out: `test`; `validation`, a sixth of the training rows in the place of the test set; or
    `unseen`, the test set beside the training rows of `validation`, scaled alike, for networks
    whose settings were chosen there. batch_size: what `check_batch` compares with the rows.
    UserError for a limit below 1 or an unknown `held_out`.
    """

    held_out: HeldOut = "test"
    train_limit: int | None = None
    test_limit: int | None = None
    batch_size: int | Literal["full"] | None = None

    def __post_init__(self) -> None:
        for name in ("train_limit", "test_limit"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise UserError(f"{name} {limit}: a limit is 1 row or more; leave it out for all")
        if self.held_out not in get_args(HeldOut):
            choices = ", ".join(get_args(HeldOut))
            raise UserError(f"held_out {self.held_out!r}: choose {choices}")

    def check_batch(self, rows: int) -> None:
        """UserError if a batch is larger than what is used of a data set's `rows` training rows."""
        used = len(range(self._before_validation(rows))[: self.train_limit])
        if isinstance(self.batch_size, int) and self.batch_size > used:
            raise UserError(
                f"batch size {self.batch_size} is more than the {used} training samples: "
                f"give at most {used}"
            )

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
            validation = drawn_rows(strata, VALIDATION_DIVISOR, VALIDATION_SEED)
            kept = ~validation
        training = {"x_train": x[kept], "y_train": y[kept]}
        if self.held_out == "unseen":
            return dict(arrays) | training
        return training | {"x_test": x[validation], "y_test": y[validation]}

    def test_rows(self, path: Path, strata: NDArray) -> NDArray[np.bool_]:
        """Mark the test set, (n,), of data that come without one: a random fifth of each stratum.

        It is the same in every run. UserError, naming `path`, if the rows are too few.
        """
        if len(strata) < TEST_DIVISOR:
            raise UserError(
                f"{path}: {len(strata)} rows are too few for a test set: {TEST_DIVISOR} or more "
                "are needed"
            )
        return drawn_rows(strata, TEST_DIVISOR, TEST_SEED)

    def draw(self, path: Path, strata: NDArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Mark the training and the held-out rows of data without a test set of their own."""
        test = self.test_rows(path, strata)
        rows = np.arange(len(strata))
        numbers = {"x_train": rows[~test], "x_test": rows[test]}
        numbers |= {f"y_{part}": numbers[f"x_{part}"] for part in ("train", "test")}
        kept = self.hold_out(numbers, strata[~test])
        training, held_out = (np.isin(rows, kept[key]) for key in ("x_train", "x_test"))
        return training, held_out

    def words(self, rows: int, of_classes: bool) -> str:
        """How `draw` splits, for records."""
        alike = "of each class alike " * of_classes
        words = f"of {rows:,} rows a fifth, drawn {alike}with seed {TEST_SEED}, is the test set"
        if self.held_out != "test":
            words += f", a sixth of the others, drawn with seed {VALIDATION_SEED}, for validation"
        return words

    def limit(self, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Return the first rows of each part; a limit beyond the data takes all of it."""
        limits = {"train": self.train_limit, "test": self.test_limit}
        return {key: array[: limits[key[2:]]] for key, array in arrays.items()}

    def _before_validation(self, rows: int) -> int:
        if self.held_out == "test":
            return rows
        if rows < VALIDATION_DIVISOR:
            raise UserError(
                f"{rows} training rows are too few to hold out a validation set: "
                f"{VALIDATION_DIVISOR} or more are needed"
            )
        return rows - rows // VALIDATION_DIVISOR


def drawn_rows(strata: NDArray, divisor: int, seed: int) -> NDArray[np.bool_]:
    """Mark one row in `divisor`, rounded down, of all rows, and of each stratum to within one row.

    Rows are shuffled within their strata, and every row of that number of the sequence of strata is
    taken. The smallest strata come first, before the first row taken: a single row of its kind is
    kept.
    """
    _, stratum, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    shuffled = np.random.default_rng(seed).permutation(len(strata))
    order = np.lexsort((shuffled, stratum, sizes[stratum]))
    taken = np.zeros(len(strata), bool)
    taken[order[divisor - 1 :: divisor]] = True
    return taken
