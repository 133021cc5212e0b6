"""Scores from sums: the area under the ROC curve against ranks, and sums that add up."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import rankdata

from new_algorithm.back_projection.losses import LOGISTIC, SOFTMAX, SQUARED
from new_algorithm.back_projection.metrics import (
    BINS,
    Evaluation,
    Scores,
    bins,
    evaluate,
    scores_of,
)
from new_algorithm.back_projection.network import append_ones, forward, initial_weights

ANY_FLOATS = st.one_of(
    st.floats(width=32, allow_nan=False),
    st.floats(-1, 1, width=32),
    st.integers(0, 40).map(lambda k: 1 + k / 2048),  # some 16 to a bin
    st.sampled_from([-np.inf, -1e-45, -0.0, 0.0, 1e-45, np.inf]),
)
BINARY = st.lists(st.tuples(ANY_FLOATS, st.booleans()), min_size=2, max_size=60)


def area_by_ranks(outputs: NDArray, labels: NDArray) -> float:
    """Mann and Whitney's: the sum of the positives' ranks, less what it is at least."""
    positives = int(labels.sum())
    pairs = positives * (len(labels) - positives)
    least = positives * (positives + 1) / 2
    return (rankdata(outputs)[labels == 1].sum() - least) / pairs


def area(outputs: NDArray, labels: NDArray) -> float:
    with np.errstate(invalid="ignore"):  # the loss of an infinite output
        return scores_of(LOGISTIC, outputs[:, None], labels).auc


def columns(pairs: list[tuple[float, bool]]) -> tuple[NDArray, NDArray]:
    outputs, labels = zip(*pairs, strict=True)
    return np.array(outputs, np.float32), np.array(labels, np.int64)


@given(BINARY)
def test_area_differs_from_the_ranks_by_half_the_pairs_within_a_bin_at_most(pairs):
    outputs, labels = columns(pairs)
    if labels.min() == labels.max():
        assert area(outputs, labels) is None
        return
    negatives, positives = outputs[labels == 0][:, None], outputs[labels == 1]
    blurred = (bins(negatives) == bins(positives)) & (negatives != positives)
    error = abs(area(outputs, labels) - area_by_ranks(outputs, labels))
    assert error <= blurred.mean() / 2 + 1e-12


@given(st.lists(st.tuples(st.integers(-255, 255), st.booleans()), min_size=2, max_size=60))
def test_area_of_outputs_in_bins_of_their_own_is_exact_with_ties(pairs):
    outputs, labels = columns(pairs)  # eight binary digits, of which one is implied
    if 0 < labels.sum() < len(labels):
        expected = area_by_ranks(outputs, labels)
        assert area(outputs, labels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_area_of_many_rows_is_that_of_the_ranks(scale):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 100_000)
    outputs = (scale * (rng.standard_normal(100_000) + 0.5 * labels)).astype(np.float32)
    assert area(outputs, labels) == pytest.approx(area_by_ranks(outputs, labels), abs=2e-5)


def test_area_at_its_ends():
    labels = np.array([0, 0, 1, 1])
    assert area(np.array([-2.0, -1.0, 1.0, 2.0]), labels) == 1.0
    assert area(np.array([2.0, 1.0, -1.0, -2.0]), labels) == 0.0
    assert area(np.zeros(4), labels) == 0.5


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=30), st.integers(-60, 60))
def test_scaling_by_a_power_of_two_keeps_the_area_bit_for_bit(sizes, exponent):
    outputs = np.array(sizes) * (-1.0) ** np.arange(len(sizes))
    labels = np.arange(len(sizes)) // 2 % 2
    labels[0], labels[-1] = 0, 1
    assert area(2.0**exponent * outputs, labels) == area(outputs, labels)


# Bins.


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=50))
def test_bins_keep_the_order_of_any_floats(values):
    values = np.sort(values)
    for dtype in (np.float32, np.float64):
        with np.errstate(over="ignore"):
            found = bins(values.astype(dtype))
        assert (np.diff(found) >= 0).all()
        assert found.min() >= 0
        assert found.max() < BINS


@given(st.floats(1e-37, 1e37), st.sampled_from([-1, 1]))
def test_a_bin_is_no_wider_than_a_128th_of_its_output(value, sign):
    outputs = sign * value * np.array([1.0, 1 + 1.01 / 128])
    assert np.diff(bins(outputs)) * sign > 0


def test_bins_at_zero_and_at_the_ends():
    ends = np.array([-np.inf, -3.4e38, -1e-38, -1e-45, -0.0, 0.0, 1e-45, 1e-38, 3.4e38, np.inf])
    found = bins(ends.astype(np.float32))
    assert found[4] == found[5]
    assert (np.diff(found) >= 0).all()
    assert len(set(found)) == 8  # a denormal of either sign is with its own zero or beside it
    assert bins(np.array([np.nan])) == BINS - 1 > found[-1]


def test_nan_ranks_last_and_shows_in_the_loss():
    outputs, labels = np.array([np.nan, 3.0, -1.0, np.inf]), np.array([1, 0, 0, 0])
    with np.errstate(invalid="ignore"):
        scores = scores_of(LOGISTIC, outputs[:, None], labels)
    assert scores.auc == 1.0
    assert np.isnan(scores.loss)


# Sums.


def assert_near(found: Scores, expected: Scores) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a == (None if b is None else pytest.approx(b, rel=1e-12))


def chunked(loss, output: NDArray, targets: NDArray, cuts: list[int]) -> Evaluation:
    evaluation = Evaluation(loss)
    edges = [0, *sorted(cuts), len(output)]
    for first, last in pairwise(edges):  # equal ones leave a chunk empty
        evaluation.add(output[first:last], targets[first:last])
    return evaluation


def example(loss, rows: int = 40) -> tuple[NDArray, NDArray]:
    rng = np.random.default_rng(0)
    output = rng.standard_normal((rows, 1 if loss is LOGISTIC else 3))
    if loss is SQUARED:
        return output, rng.standard_normal((rows, 3))
    return output, rng.integers(0, 2 if loss is LOGISTIC else 3, rows)


LOSSES = {"logistic": LOGISTIC, "softmax": SOFTMAX, "squared": SQUARED}


@pytest.mark.parametrize("name", LOSSES)
@given(cuts=st.lists(st.integers(0, 40), max_size=6))
def test_chunks_add_up_whatever_their_sizes(name, cuts):
    loss = LOSSES[name]
    output, targets = example(loss)
    accuracy = loss.accuracy and loss.accuracy(output, targets)
    auc = area_by_ranks(output[:, 0], targets) if loss is LOGISTIC else None
    expected = Scores(loss.value(output, targets), accuracy, auc)
    assert_near(chunked(loss, output, targets, cuts).scores(), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_ranks_add_up(name):
    loss = LOSSES[name]
    output, targets = example(loss)
    mine, theirs = Evaluation(loss), Evaluation(loss)
    mine.add(output[:11], targets[:11])
    theirs.add(output[11:], targets[11:])
    mine.sums += theirs.sums
    assert_near(mine.scores(), scores_of(loss, output, targets))


@pytest.mark.parametrize("name", LOSSES)
def test_network_on_the_rows_of_all_processes(name):
    loss = LOSSES[name]
    _, targets = example(loss)
    rng = np.random.default_rng(1)
    layers = initial_weights(rng, (4, 6, 1 if loss is LOGISTIC else 3), np.float64)
    inputs = append_ones(rng.standard_normal((40, 4)))
    sent = []
    elsewhere = [(inputs[:7], targets[:7]), (inputs[7:9], targets[7:9])]
    evaluate(loss, layers, elsewhere, lambda sums: sent.append(sums.copy()))
    here = [(inputs[9:], targets[9:])]
    found = evaluate(loss, layers, here, lambda sums: np.add(sums, sent[0], out=sums))
    expected = scores_of(loss, forward(layers, inputs)[1], targets)
    assert_near(found, expected)


def test_regression_has_a_loss_alone_and_one_class_no_area():
    output, targets = example(SQUARED)
    assert scores_of(SQUARED, output, targets)[1:] == (None, None)
    for label in (0, 1):
        scores = scores_of(LOGISTIC, np.ones((3, 1)), np.full(3, label))
        assert scores.auc is None
        assert scores.accuracy == label


@pytest.mark.parametrize("name", LOSSES)
def test_no_rows_have_no_scores(name):
    loss, accuracy, auc = chunked(LOSSES[name], *example(LOSSES[name], rows=0), []).scores()
    assert np.isnan(loss)
    assert accuracy is None
    assert auc is None


def test_accuracy_of_many_classes_is_the_share_of_largest_outputs():
    output = np.array([[1.0, 0, 0], [0, 1, 0], [0, 2, 1], [3, 1, 2]])
    found = chunked(SOFTMAX, output, np.array([0, 1, 2, 2]), [1]).scores()
    assert found == Scores(pytest.approx(found.loss), 0.5, None)
