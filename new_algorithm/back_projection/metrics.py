"""Loss, accuracy and the area under the ROC curve, from rows in chunks and on several processes.

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
TOLERANCE = 1e-8  # of the area, by pairs that share a bin


class Scores(NamedTuple):
    """loss: the mean over the rows. accuracy: None for regression. auc: None unless there are rows
    of two classes."""

    loss: float
    accuracy: float | None = None
    auc: float | None = None


class Evaluation:
    """Add chunks of outputs, then ask for the scores."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._area = AreaUnderCurve() if loss is LOGISTIC else None
        self._sums = np.zeros(3)  # rows, losses, right answers

    def add(self, output: NDArray, targets: NDArray) -> None:
        """Take in F (c, m) and its targets; c may be 0."""
        rows = len(output)
        if rows == 0:
            return
        self._sums += rows, rows * self._loss.value(output, targets), 0
        if self._loss.accuracy:
            self._sums[2] += rows * self._loss.accuracy(output, targets)
        if self._area is not None:
            self._area.add(output[:, 0], targets)

    def scores(self, all_sum: AllSum | None = None) -> Scores:
        """Return the means, over the rows of all processes; NaN for no rows."""
        if all_sum is not None:
            all_sum(self._sums)
        rows, losses, right = self._sums
        loss = float(losses / rows) if rows else float("nan")
        accuracy = float(right / rows) if rows and self._loss.accuracy else None
        auc = None if self._area is None else self._area.value(all_sum)
        return Scores(loss, accuracy, auc)


class AreaUnderCurve:
    """The area, exact for up to KEPT_ROWS rows of one process.

    Further rows are counted in BINS bins, of each of which the kept rows have as many; a pair that
    shares a bin counts as a tie. Of rows on several processes the bins follow from counts over
    all: first by the upper 16 bits of the outputs, then the bins that hold both classes are cut
    finer, ROUNDS times at the most. Bins become so narrow that hardly more of their pairs are in
    order than not: the area is off by less than 1e-6.
    """

    def __init__(self) -> None:
        self._keys: tuple[list[NDArray], list[NDArray]] = ([], [])  # of negatives, of positives
        self._rows = 0
        self._edges: NDArray | None = None
        self._counts = np.zeros((2, BINS))  # negatives and positives in bins between edges

    def add(self, outputs: NDArray, labels: NDArray) -> None:
        """Take in outputs (c,) and labels 0 and 1."""
        keys = ordered_keys(outputs)
        if self._edges is not None:
            self._count(self._edges, keys, labels)
            return
        for label, kept in enumerate(self._keys):
            kept.append(keys[labels == label])
        self._rows += len(keys)
        if self._rows > KEPT_ROWS:
            negatives, positives = map(np.concatenate, self._keys)
            self._keys = ([], [])
            keys = np.concatenate([negatives, positives])
            labels = np.arange(len(keys)) >= len(negatives)
            self._edges = np.sort(keys)[:: -(-len(keys) // BINS)]
            self._count(self._edges, keys, labels)

    def value(self, all_sum: AllSum | None = None) -> float | None:
        """Return the area over the rows of all processes; None where a class has no rows."""
        if all_sum is not None:
            return _area(*self._shared_counts(all_sum))
        if self._edges is not None:
            return _area(*self._counts)
        if not self._rows:
            return None
        negatives, positives = (np.sort(np.concatenate(keys)) for keys in self._keys)
        pairs = len(negatives) * len(positives)
        if pairs == 0:
            return None
        # each positive has so many negatives below it, and so many at most as large
        below, not_above = (
            int(np.searchsorted(negatives, positives, side).sum()) for side in ("left", "right")
        )
        return (below + not_above) / (2 * pairs)

    def _count(self, edges: NDArray, keys: NDArray, labels: NDArray) -> None:
        bins = np.maximum(np.searchsorted(edges, keys, "right") - 1, 0)
        for label, counts in enumerate(self._counts):
            counts += np.bincount(bins[labels == label], minlength=BINS)

    def _shared_counts(self, all_sum: AllSum) -> NDArray:
        """Return negatives and positives of all processes in bins that they agree upon."""
        if self._edges is None:
            keys = [_in_64_bits(kept) for kept in self._keys]
            weights = [np.ones(len(kept)) for kept in keys]
        else:
            keys = [_in_64_bits([self._edges])] * 2
            weights = [counts[: len(self._edges)] for counts in self._counts]
        bins = [np.zeros(len(kept), np.intp) for kept in keys]
        level = np.array([16], np.uint64)  # a bin is cut into 2^level finer ones, by leading bits
        for _ in range(ROUNDS):
            first = np.cumsum(1 << level.astype(np.intp)) - (1 << level.astype(np.intp))
            for part in (0, 1):
                of_row = level[bins[part]]
                finer = (keys[part] >> np.uint64(1)) >> (np.uint64(63) - of_row)
                bins[part] = first[bins[part]] + finer.astype(np.intp)
                keys[part] = keys[part] << of_row
            size = int(first[-1]) + (1 << int(level[-1]))
            counts = np.array([np.bincount(b, w, size) for b, w in zip(bins, weights, strict=True)])
            all_sum(counts)
            ties = counts[0] * counts[1]  # pairs that are not told apart
            if ties.sum() <= 2 * TOLERANCE * counts[0].sum() * counts[1].sum():
                break
            rows = np.where(ties > 0, counts.sum(axis=0), 0)
            share = np.maximum(BINS * rows / rows.sum(), 2)
            level = np.where(ties > 0, np.ceil(np.log2(share)), 0).astype(np.uint64)
        return counts


def ordered_keys(outputs: NDArray) -> NDArray:
    """Return unsigned integers in the outputs' order; NaN comes last, −0 and 0 are the same.

    The bits of positive floats are in their order, those of negative ones in the opposite order.
    """
    plus_zero = np.where(np.isnan(outputs), np.inf, outputs) + outputs.dtype.type(0)
    unsigned = np.dtype(f"u{outputs.dtype.itemsize}")
    bits = plus_zero.view(unsigned)
    sign = unsigned.type(1) << unsigned.type(8 * unsigned.itemsize - 1)
    keys = np.where(bits & sign, ~bits, bits | sign)
    keys[np.isnan(outputs)] = np.iinfo(unsigned).max
    return keys


def _in_64_bits(keys: Sequence[NDArray]) -> NDArray[np.uint64]:
    """Return all keys, their leading bits where those of an integer of 64 bits are."""
    parts = [k.astype(np.uint64) << np.uint64(64 - 8 * k.dtype.itemsize) for k in keys]
    return np.concatenate([*parts, np.empty(0, np.uint64)])


def _area(negatives: NDArray, positives: NDArray) -> float | None:
    """Return the area from counts in bins, of ascending outputs."""
    pairs = negatives.sum() * positives.sum()
    if pairs == 0:
        return None
    below = np.cumsum(negatives) - negatives / 2
    return float(positives @ below / pairs)


def evaluate(
    loss: Loss,
    weights: Sequence[NDArray],
    chunks: Iterable[Chunk],
    all_sum: AllSum | None = None,
) -> Scores:
    """Return the scores of a network on the rows of `chunks`, and of all processes' rows."""
    evaluation = Evaluation(loss)
    for inputs, targets in chunks:
        evaluation.add(forward(weights, inputs)[1], targets)
    return evaluation.scores(all_sum)


def scores_of(loss: Loss, output: NDArray, targets: NDArray) -> Scores:
    """Return the scores of outputs that are at hand."""
    evaluation = Evaluation(loss)
    evaluation.add(output, targets)
    return evaluation.scores()
