"""The one form in which every data set reaches a script."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.splits import HeldOut
from datasets.standardise import Standardiser


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training rows, held-out rows, and where both came from.

    x_train, x_test: float32 (n, d), C-contiguous, scaled as `scaling` says.
    y_train, y_test: int64 (n,) labels 0 .. num_classes - 1, or standardised float32 (n, m) targets.
    num_classes: None for regression.
    held_out: what x_test and y_test really are.
    target_scale: of regression targets: y = mean + sd · standardised y.
    sha256: array name -> hash of the bytes read, before hold-out, limits and scaling.
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

    def provenance(self) -> dict[str, Any]:
        """What a record of a run says about its data, ready for JSON.

        chance_accuracy: of always naming the held-out rows' largest class; None for regression.
        """
        chance, target_units = None, {}
        if self.num_classes is not None:
            chance = float(np.bincount(self.y_test).max() / len(self.y_test))
        if self.target_scale is not None:
            mean, sd = self.target_scale.mean, self.target_scale.sd
            target_units = {"target_mean": mean.tolist(), "target_sd": sd.tolist()}
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
            **target_units,
        }


def hash_arrays(arrays: Mapping[str, NDArray]) -> dict[str, str]:
    """sha256 of each array's bytes in C order; dtype and shape do not enter."""
    return {
        name: hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        for name, array in arrays.items()
    }
