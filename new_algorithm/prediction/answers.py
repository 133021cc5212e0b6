"""What the outputs of a network mean: probabilities of classes, quantities in their own units, or
probabilities that were learned as such; and how far they agree with the truth."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.preprocessing import UNKNOWN, Column
from datasets.targets import Label, label_codes
from new_algorithm.back_projection.losses import sigmoid, softmax
from new_algorithm.back_projection.metrics import AreaUnderCurve
from new_algorithm.cli.errors import UserError


@dataclass(frozen=True)
class Classes:
    """labels: in the order of the outputs. names: of the target columns of a table; several are
    one-hot."""

    labels: tuple[Label, ...]
    names: tuple[str, ...] = ()

    @property
    def columns(self) -> list[Column]:
        """Where a table has the truth."""
        if len(self.names) > 1:
            return [Column(name) for name in self.names]
        texts = tuple(label for label in self.labels if isinstance(label, str))
        return [Column(self.names[0] if self.names else "", texts or None)]

    @property
    def headers(self) -> list[str]:
        return ["prediction", *(f"probability_{label}" for label in self.labels)]

    def read(self, outputs: NDArray) -> NDArray:
        """Outputs (n, m) -> probabilities (n, classes); of two classes m = 1, the second's."""
        if outputs.shape[1] == 1:
            second = sigmoid(outputs)
            return np.column_stack([1 - second, second])
        return softmax(outputs)

    def cells(self, outputs: NDArray) -> Iterator[NDArray]:
        """One array for each of `headers`."""
        probabilities = self.read(outputs)
        yield np.array(self.labels)[_places(outputs)]
        yield from probabilities.T

    def truth(self, targets: NDArray) -> NDArray[np.float64]:
        """Targets (n, t), as NewRows has them -> places of their labels (n,), UNKNOWN of others,
        NaN where missing."""
        if targets.shape[1] > 1:
            places = targets.argmax(axis=1).astype(np.float64)
        elif isinstance(self.labels[0], str):
            places = targets[:, 0]
        else:
            places = label_codes(np.array(self.labels), targets[:, 0]).astype(np.float64)
        return np.where(np.isnan(targets).any(axis=1), np.nan, places)

    def scores(self) -> "ClassScores":
        return ClassScores(self)


def _places(outputs: NDArray) -> NDArray[np.intp]:
    """The most probable class, as training counts it."""
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > 0).astype(np.intp)
    return outputs.argmax(axis=1)


@dataclass
class ClassScores:
    classes: Classes
    rows: int = 0
    right: int = 0
    unknown: int = 0
    area: AreaUnderCurve = field(default_factory=AreaUnderCurve)

    def add(self, outputs: NDArray, targets: NDArray) -> None:
        """Rows without a target do not count; a label that the network does not know is an error
        of it."""
        truth = self.classes.truth(targets)
        known = ~np.isnan(truth)
        outputs, truth = outputs[known], truth[known]
        self.rows += len(truth)
        self.right += int((_places(outputs) == truth).sum())
        of_the_two = truth != UNKNOWN
        self.unknown += int((~of_the_two).sum())
        if outputs.shape[1] == 1:
            self.area.add(outputs[of_the_two, 0], truth[of_the_two])

    def values(self) -> dict[str, float]:
        if not self.rows:
            return {}
        area = self.area.value()
        return {"accuracy": self.right / self.rows} | ({} if area is None else {"auc": area})


@dataclass(frozen=True)
class Quantities:
    """names: of the target columns. mean, sd: of the targets of the training rows."""

    mean: tuple[float, ...]
    sd: tuple[float, ...]
    names: tuple[str, ...] = ()

    @property
    def columns(self) -> list[Column]:
        return [Column(name) for name in self.names]

    @property
    def headers(self) -> list[str]:
        if len(self.mean) == 1:
            return ["prediction"]
        names = self.names or tuple(str(place) for place in range(1, len(self.mean) + 1))
        return [f"prediction_{name}" for name in names]

    def read(self, outputs: NDArray) -> NDArray[np.float64]:
        """Outputs (n, m) -> values in the targets' units."""
        return np.array(self.mean) + np.array(self.sd) * outputs

    def cells(self, outputs: NDArray) -> Iterator[NDArray]:
        yield from self.read(outputs).astype(outputs.dtype).T

    def scores(self) -> "QuantityScores":
        return QuantityScores(self)


class QuantityScores:
    def __init__(self, quantities: Quantities) -> None:
        self.rows, self.unknown = 0, 0
        self._quantities = quantities
        self._squares = np.zeros(len(quantities.mean))

    def add(self, outputs: NDArray, targets: NDArray) -> None:
        """Rows that lack a target do not count."""
        known = ~np.isnan(targets).any(axis=1)
        errors = self._quantities.read(outputs[known]) - targets[known]
        self.rows += len(errors)
        self._squares += np.square(errors).sum(axis=0)

    def values(self) -> dict[str, float]:
        """The root of the mean square error of each target, in its units."""
        if not self.rows:
            return {}
        names = [header.replace("prediction", "rmse", 1) for header in self._quantities.headers]
        return dict(zip(names, np.sqrt(self._squares / self.rows).tolist(), strict=True))


@dataclass(frozen=True)
class Probabilities:
    """count: of probabilities that were learned of a row."""

    count: int

    @property
    def columns(self) -> list[Column]:
        return []

    @property
    def headers(self) -> list[str]:
        return [f"probability_{place}" for place in range(1, self.count + 1)]

    def read(self, outputs: NDArray) -> NDArray:
        """Outputs (n, m) -> probabilities (n, m)."""
        return sigmoid(outputs)

    def cells(self, outputs: NDArray) -> Iterator[NDArray]:
        yield from self.read(outputs).T

    def scores(self) -> "ProbabilityScores":
        return ProbabilityScores(self)


@dataclass
class ProbabilityScores:
    probabilities: Probabilities
    rows: int = 0
    unknown: int = 0
    squares: float = 0.0

    def add(self, outputs: NDArray, targets: NDArray) -> None:
        """UserError for targets that are not as many a row; rows that lack one do not count."""
        if targets.shape[1] != outputs.shape[1]:
            raise UserError(
                f"the file has {targets.shape[1]} targets a row, and the network learned "
                f"{outputs.shape[1]} probabilities: give these, or leave the targets out"
            )
        known = ~np.isnan(targets).any(axis=1)
        self.rows += int(known.sum())
        errors = self.probabilities.read(outputs[known]) - targets[known]
        self.squares += float(np.square(errors, dtype=np.float64).sum())

    def values(self) -> dict[str, float]:
        """The squared error of a row, the mean over the rows."""
        return {"squared_error": self.squares / self.rows} if self.rows else {}


Answer = Classes | Quantities | Probabilities
Counted = ClassScores | QuantityScores | ProbabilityScores


def answer_of(data: dict[str, Any]) -> Answer:
    """By the provenance of a data set."""
    names = tuple(data.get("target", ()))
    if data.get("probabilities"):
        return Probabilities(data["probabilities"])
    if data["num_classes"] is None:
        return Quantities(tuple(data["target_mean"]), tuple(data["target_sd"]), names)
    return Classes(tuple(data.get("labels", range(data["num_classes"]))), names)
