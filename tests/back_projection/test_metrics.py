"""Scores from sums: the area under the ROC curve against ranks, and sums that add up."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import rankdata

from new_algorithm.back_projection import metrics
from new_algorithm.back_projection.losses import LOGISTIC, SOFTMAX, SQUARED
from new_algorithm.back_projection.metrics import (
    AreaUnderCurve,
    Evaluation,
    Scores,
    evaluate,
    ordered_keys,
    scores_of,
)
from new_algorithm.back_projection.network import append_ones, forward, initial_weights
from tests.back_projection.problems import in_processes

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


def area_in_processes(parts: Sequence[tuple[NDArray, NDArray]]) -> float | None:
    """The area that every process of those which hold `parts` finds."""

    def of_one(rank, all_sum):
        area = AreaUnderCurve()
        area.add(*parts[rank])
        return area.value(all_sum)

    found = in_processes(len(parts), of_one)
    assert len(set(found)) == 1
    return found[0]


@given(BINARY, st.sampled_from([np.float32, np.float64]))
def test_area_is_that_of_the_ranks_with_ties(pairs, dtype):
    outputs, labels = columns(pairs)
    if labels.min() == labels.max():
        assert area(outputs.astype(dtype), labels) is None
        return
    expected = area_by_ranks(outputs, labels)
    assert area(outputs.astype(dtype), labels) == pytest.approx(expected, abs=1e-12)


def close_outputs(spread: float, rows: int = 20_000) -> tuple[NDArray, NDArray]:
    """Outputs close together, as of a class that is seldom seen: few leading bits differ."""
    rng = np.random.default_rng(0)
    labels = (rng.random(rows) < 0.1).astype(np.int64)
    outputs = -6.9 + spread * (rng.standard_normal(rows) + labels)
    return outputs.astype(np.float32), labels


@pytest.mark.parametrize("spread", [0.05, 0.005, 1e-5])
def test_area_of_outputs_close_together_is_exact(spread):
    outputs, labels = close_outputs(spread)
    assert area(outputs, labels) == pytest.approx(area_by_ranks(outputs, labels), abs=1e-12)


@pytest.mark.parametrize("spread", [0.05, 0.005, 1e-5])
@pytest.mark.parametrize("order", ["drawn", "sorted by output", "sorted by label"])
def test_processes_find_the_area_whatever_rows_they_hold(spread, order):
    outputs, labels = close_outputs(spread)
    keys = {"drawn": np.arange(len(labels)), "sorted by output": outputs, "sorted by label": labels}
    rows = np.argsort(keys[order], kind="stable")
    cuts = [0, 1_000, 1_000, 12_000, len(rows)]  # the second process has none
    parts = [(outputs[rows[a:b]], labels[rows[a:b]]) for a, b in pairwise(cuts)]
    assert area_in_processes(parts) == pytest.approx(area_by_ranks(outputs, labels), abs=1e-6)


@given(BINARY, st.integers(0, 60))
def test_two_processes_find_the_area_of_any_floats(pairs, cut):
    outputs, labels = columns(pairs)
    if 0 < labels.sum() < len(labels):
        parts = [(outputs[:cut], labels[:cut]), (outputs[cut:], labels[cut:])]
        expected = area_by_ranks(outputs, labels)
        assert area_in_processes(parts) == pytest.approx(expected, abs=1e-7)


def test_processes_that_hold_one_class_have_no_area():
    outputs = np.array([1.0, 2.0])
    assert area_in_processes([(outputs, np.zeros(2)), (outputs, np.zeros(2))]) is None


@pytest.mark.parametrize("spread", [0.05, 0.005])
@pytest.mark.parametrize("processes", [1, 2])
def test_area_of_more_rows_than_are_kept(spread, processes, monkeypatch):
    monkeypatch.setattr(metrics, "KEPT_ROWS", 4_000)
    outputs, labels = close_outputs(spread)
    chunks = np.array_split(np.arange(len(labels)), 20)

    def of_one(rank, all_sum):
        area = AreaUnderCurve()
        for rows in chunks[rank::processes]:
            area.add(outputs[rows], labels[rows])
        return area.value(all_sum if processes > 1 else None)

    # rows that follow are counted between those that were kept, at most 2 in 4,000 of them apart
    expected = pytest.approx(area_by_ranks(outputs, labels), abs=1e-4)
    assert in_processes(processes, of_one) == [expected] * processes


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_area_of_many_rows_is_that_of_the_ranks(scale):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 100_000)
    outputs = (scale * (rng.standard_normal(100_000) + 0.5 * labels)).astype(np.float32)
    assert area(outputs, labels) == pytest.approx(area_by_ranks(outputs, labels), abs=1e-12)


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


# Keys.


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=50))
def test_keys_keep_the_order_of_any_floats(values):
    for dtype in (np.float32, np.float64):
        with np.errstate(over="ignore"):
            outputs = np.sort(np.array(values, dtype))
        keys = ordered_keys(outputs)
        np.testing.assert_array_equal(keys[1:] > keys[:-1], outputs[1:] > outputs[:-1])
        assert (keys[1:] >= keys[:-1]).all()
        assert ordered_keys(np.array([np.nan], dtype))[0] > keys[-1]


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
def test_network_on_the_rows_of_all_processes(name):
    loss = LOSSES[name]
    _, targets = example(loss)
    rng = np.random.default_rng(1)
    layers = initial_weights(rng, (4, 6, 1 if loss is LOGISTIC else 3), np.float64)
    inputs = append_ones(rng.standard_normal((40, 4)))
    cuts = [[0, 7, 9], [9, 9], [9, 40]]  # the second process has a chunk without rows

    def of_one(rank, all_sum):
        chunks = [(inputs[a:b], targets[a:b]) for a, b in pairwise(cuts[rank])]
        return evaluate(loss, layers, chunks, all_sum)

    expected = scores_of(loss, forward(layers, inputs)[1], targets)
    for found in in_processes(len(cuts), of_one):
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
