"""Loss, accuracy, squared error, area under the ROC curve, of rows in chunks and on processes.

The area is the share of pairs of a positive and a negative row in which the positive one has the
larger output, ties counting half (Mann–Whitney).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.batch import AllSum, Chunk
from new_algorithm.back_projection.losses import LOGISTIC, Loss
from new_algorithm.back_projection.network import forward

KEPT_ROWS = 1 << 20  # of one process, up to which the area is exact
BINS = 1 << 16
ROUNDS = 6
TOLERANCE = 1e-8  # of the area over processes, by pairs that share a bin


class Scores(NamedTuple):
    """loss: the mean over the rows. accuracy: None without classes. auc: None unless there are rows
    of two classes. squared_error: Σ_j (y_j − p_j)² of a row, their mean; None unless the targets
    are probabilities."""

    loss: float
    accuracy: float | None = None
    auc: float | None = None
    squared_error: float | None = None


class AreaUnderCurve:
    """The area: exact on one process for up to KEPT_ROWS rows.

    After every further KEPT_ROWS rows those that lie next to each other are drawn together, to at
    most BINS outputs with as many rows each. Several processes count their rows in bins: first by
    the leading 16 bits of the outputs, then the bins that hold both classes are cut finer, ROUNDS
    times at the most. Either way few pairs become ties, half of them in order and half not: the
    area is off by less than 1e-6 where each class has hundreds of rows.
    """

    def __init__(self) -> None:
        self._keys: tuple[list[NDArray], list[NDArray]] = ([], [])  # of negatives, of positives
        self._rows = 0  # that have such keys
        self._drawn_together = np.empty(0, np.uint64), np.empty((2, 0))  # keys, and their counts

    def add(self, outputs: NDArray, labels: NDArray) -> None:
        """Take in outputs (c,) and labels 0 and 1."""
        keys = ordered_keys(outputs)
        for label, kept in enumerate(self._keys):
            kept.append(keys[labels == label])
        self._rows += len(keys)
        if self._rows > KEPT_ROWS:
            self._drawn_together = _draw_together(*self._counts())
            self._keys, self._rows = ([], []), 0

    def value(self, all_sum: AllSum | None = None) -> float | None:
        """Return the area over the rows of all processes; None where a class has no rows."""
        keys, counts = self._counts()
        negatives, positives = counts if all_sum is None else _shared(keys, counts, all_sum)
        pairs = negatives.sum() * positives.sum()
        below = np.cumsum(negatives) - negatives / 2
        return float(positives @ below / pairs) if pairs else None

    def _counts(self) -> tuple[NDArray, NDArray]:
        """Return distinct keys, ascending, and how many negatives and positives have them."""
        points, point_counts = self._drawn_together
        parts = [points, *(np.concatenate([*kept, points[:0]]) for kept in self._keys)]
        keys, index = np.unique(np.concatenate(parts), return_inverse=True)
        of_points, *of_rows = np.split(index, np.cumsum([len(part) for part in parts[:2]]))
        counts = [
            np.bincount(of_points, count, len(keys)) + np.bincount(rows, minlength=len(keys))
            for count, rows in zip(point_counts, of_rows, strict=True)
        ]
        return keys, np.array(counts)


def _draw_together(keys: NDArray, counts: NDArray) -> tuple[NDArray, NDArray]:
    """Return at most BINS keys, each amid a like number of rows, and their counts."""
    rows = counts.sum(axis=0)
    group = ((np.cumsum(rows) - rows / 2) * (BINS / rows.sum())).astype(np.intp)
    first = np.flatnonzero(np.diff(group, prepend=-1))
    lowest, highest = keys[first], keys[np.append(first[1:], len(keys)) - 1]
    return lowest + (highest - lowest) // 2, np.add.reduceat(counts, first, axis=1)


def _shared(keys: NDArray, counts: NDArray, all_sum: AllSum) -> NDArray:
    """Return negatives and positives of all processes, in bins that they agree upon."""
    bins, level = np.zeros(len(keys), np.intp), np.array([16], np.uint64)
    for _ in range(ROUNDS):
        cuts = 1 << level.astype(np.intp)  # of a bin, by the next bits of its keys
        first, level = np.cumsum(cuts) - cuts, level[bins]
        bins = first[bins] + ((keys >> np.uint64(1)) >> (np.uint64(63) - level)).astype(np.intp)
        keys = keys << level
        shared = np.array([np.bincount(bins, count, cuts.sum()) for count in counts])
        all_sum(shared)
        ties = shared[0] * shared[1]  # pairs that are not told apart
        if ties.sum() <= 2 * TOLERANCE * shared[0].sum() * shared[1].sum():
            break
        rows = np.where(ties > 0, shared.sum(axis=0), 0)
        level = np.ceil(np.log2(np.maximum(BINS * rows / rows.sum(), 2)))
        level = np.where(ties > 0, level, 0).astype(np.uint64)
    return shared


def ordered_keys(outputs: NDArray) -> NDArray[np.uint64]:
    """Return integers of 64 bits in the outputs' order; NaN comes last, −0 and 0 are the same.

    The bits of positive floats are in their order, those of negative ones in the opposite order.
    """
    plus_zero = np.where(np.isnan(outputs), np.inf, outputs) + outputs.dtype.type(0)
    unsigned = np.dtype(f"u{outputs.dtype.itemsize}")
    bits = plus_zero.view(unsigned)
    sign = unsigned.type(1) << unsigned.type(8 * unsigned.itemsize - 1)
    keys = np.where(bits & sign, ~bits, bits | sign)
    keys[np.isnan(outputs)] = np.iinfo(unsigned).max
    return keys.astype(np.uint64) << np.uint64(64 - 8 * unsigned.itemsize)


def score(
    loss: Loss, outputs: Iterable[tuple[NDArray, NDArray]], all_sum: AllSum | None = None
) -> Scores:
    """Return the scores of outputs F (c, m) with their targets, over the rows of all processes.

    A chunk may be empty; of no rows at all the loss is NaN.
    """
    sums = np.zeros(4)  # rows, losses, right answers, squared errors
    area = AreaUnderCurve() if loss is LOGISTIC else None
    for output, targets in outputs:
        rows = len(output)
        if rows == 0:
            continue
        right = loss.accuracy(output, targets) if loss.accuracy else 0.0
        squared = loss.squared_error(output, targets) if loss.squared_error else 0.0
        sums += rows, rows * loss.value(output, targets), rows * right, rows * squared
        if area is not None:
            area.add(output[:, 0], targets)
    if all_sum is not None:
        all_sum(sums)
    count, losses, hits, squares = sums.tolist()
    return Scores(
        loss=losses / count if count else float("nan"),
        accuracy=hits / count if count and loss.accuracy else None,
        auc=None if area is None else area.value(all_sum),
        squared_error=squares / count if count and loss.squared_error else None,
    )


def evaluate(
    loss: Loss, weights: Sequence[NDArray], chunks: Iterable[Chunk], all_sum: AllSum | None = None
) -> Scores:
    """Return the scores of a network on the rows of `chunks`, and of all processes' rows."""
    outputs = ((forward(weights, inputs)[1], targets) for inputs, targets in chunks)
    return score(loss, outputs, all_sum)
