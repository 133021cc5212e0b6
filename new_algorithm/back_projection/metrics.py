"""Loss, accuracy and the area under the ROC curve, from sums over rows.

Rows may come in chunks, and from several machines: everything is in one vector that adds up.

The area is the share of pairs of a positive and a negative row in which the positive one has the
larger output, ties counting half (Mann–Whitney). Outputs are counted in 65,536 bins, those that
agree in the upper 16 bits of their float32 form; a pair that shares a bin counts as a tie. A bin
is 1/128 of its output wide, within which hardly more pairs are in order than not: whatever the
scale of the outputs, the area is off by some 4e-5 for a thousand rows and 4e-6 for a hundred
thousand, hundreds of times less than by the chance that drew the rows. Only outputs that all lie
far from zero and close together, as of a very rare class, are told apart badly.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.losses import LOGISTIC, Loss
from new_algorithm.back_projection.network import forward
from new_algorithm.back_projection.sweep_sums import AllSum

BINS = 1 << 16
Chunk = tuple[NDArray, NDArray]  # inputs H̃_0 (c, d), targets (c,) or (c, m)


class Scores(NamedTuple):
    """loss: the mean over the rows. accuracy: None for regression. auc: None unless there are rows
    of two classes."""

    loss: float
    accuracy: float | None = None
    auc: float | None = None


class Evaluation:
    """Add chunks of outputs, then ask for the scores. sums: float64, what adds up."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._two_classes = loss is LOGISTIC
        self.sums = np.zeros(3 + 2 * BINS * self._two_classes)  # rows, losses, right, negatives, …

    def add(self, output: NDArray, targets: NDArray) -> None:
        """Take in F (c, m) and its targets; no rows are no matter."""
        rows = len(output)
        if rows == 0:
            return
        self.sums[0] += rows
        self.sums[1] += rows * self._loss.value(output, targets)
        if self._loss.accuracy:
            self.sums[2] += rows * self._loss.accuracy(output, targets)
        if self._two_classes:
            which = bins(output[:, 0]) + BINS * targets.astype(np.int64)
            np.add.at(self.sums, 3 + which, 1)

    def scores(self) -> Scores:
        """Return the means; NaN for no rows."""
        rows, losses, right = self.sums[:3]
        loss = float(losses / rows) if rows else float("nan")
        accuracy = float(right / rows) if rows and self._loss.accuracy else None
        auc = area(*self.sums[3:].reshape(2, BINS)) if self._two_classes else None
        return Scores(loss, accuracy, auc)


def bins(outputs: NDArray) -> NDArray[np.int64]:
    """Return a number in 0 … BINS − 1 for each output, in the outputs' order; NaN comes last."""
    plus_zero = outputs.astype(np.float32) + np.float32(0)  # −0 and 0 are the same
    bits = plus_zero.view(np.int32) >> 16  # sign, exponent, 7 of 23 bits
    # of negative numbers the larger ones have the larger bits: turn their order round
    ordered = np.where(bits < 0, ~(bits & 0x7FFF), bits) + BINS // 2
    return np.where(np.isnan(outputs), BINS - 1, ordered).astype(np.int64)


def area(negatives: NDArray, positives: NDArray) -> float | None:
    """Return the area under the ROC curve from counts by bin; None where a class has no rows."""
    pairs = negatives.sum() * positives.sum()
    if pairs == 0:
        return None
    below = np.cumsum(negatives) - negatives / 2
    return float(positives @ below / pairs)


def evaluate(
    loss: Loss,
    layers: Sequence[NDArray],
    chunks: Iterable[Chunk],
    all_sum: AllSum | None = None,
) -> Scores:
    """Return the scores of a network on the rows of `chunks`, and of all processes' rows."""
    evaluation = Evaluation(loss)
    for inputs, targets in chunks:
        evaluation.add(forward(layers, inputs)[1], targets)
    if all_sum is not None:
        all_sum(evaluation.sums)
    return evaluation.scores()


def scores_of(loss: Loss, output: NDArray, targets: NDArray) -> Scores:
    """Return the scores of outputs that are at hand."""
    evaluation = Evaluation(loss)
    evaluation.add(output, targets)
    return evaluation.scores()
