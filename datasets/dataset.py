"""The one form in which every data set reaches a script."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

HeldOut = Literal["test", "validation"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training rows, held-out rows, and where both came from.

    x_train, x_test: float32 (n, d), C-contiguous, scaled as `scaling` says.
    y_train, y_test: int64 (n,) labels 0 .. num_classes - 1, or float32 (n, m) regression targets.
    num_classes: None for regression.
    held_out: what x_test and y_test really are.
    sha256: array name -> hash of the bytes read, before hold-out, limits and scaling.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    num_classes: int | None
    held_out: HeldOut
    source: str
    scaling: str
    sha256: dict[str, str]

    def provenance(self) -> dict:
        """What a record of a run says about its data, ready for JSON.

        chance_accuracy: of always naming the held-out rows' largest class; None for regression.
        """
        chance = None
        if self.num_classes is not None:
            chance = float(np.bincount(self.y_test).max() / len(self.y_test))
        return {
            "name": self.name,
            "source": self.source,
            "scaling": self.scaling,
            "held_out": self.held_out,
            "sha256": dict(self.sha256),
            "counts": {"train": len(self.x_train), self.held_out: len(self.x_test)},
            "shape": list(self.x_train.shape[1:]),
            "num_classes": self.num_classes,
            "chance_accuracy": chance,
        }


def hash_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """sha256 of each array's bytes in C order; dtype and shape do not enter."""
    return {
        name: hashlib.sha256(np.ascontiguousarray(array)).hexdigest()
        for name, array in arrays.items()
    }
