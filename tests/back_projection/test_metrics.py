"""Loss, accuracy and the area under the ROC curve, in chunks and over processes."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import rankdata

from new_algorithm.back_projection import metrics
from new_algorithm.back_projection.batch import AllSum
from new_algorithm.back_projection.losses import BERNOULLI, LOGISTIC, SOFTMAX, SQUARED
from new_algorithm.back_projection.metrics import (
    AreaUnderCurve,
    Scores,
    evaluate,
    ordered_keys,
    score,
)
from new_algorithm.back_projection.network import forward
from tests.back_projection.problems import LOSSES, in_processes, problem

ANY_FLOATS = st.one_of(
    st.floats(width=32, allow_nan=False),
    st.floats(-1, 1, width=32),
    st.integers(0, 5).map(float),  # ties
    st.sampled_from([-np.inf, -1e-45, -0.0, 0.0, 1e-45, np.inf]),
)
BINARY = st.lists(st.tuples(ANY_FLOATS, st.booleans()), min_size=2, max_size=60)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
Shards = Sequence[slice]


def area_by_pairs(outputs: NDArray, labels: NDArray) -> float:
    """The share of pairs in order, ties counting half."""
    negatives, positives = outputs[labels == 0][:, None], outputs[labels == 1]
    return float((positives > negatives).mean() + (positives == negatives).mean() / 2)


def area_by_ranks(outputs: NDArray, labels: NDArray) -> float:
    """Mann and Whitney's: the sum of the positives' ranks, less what it is at least."""
    positives = int(labels.sum())
    pairs = positives * (len(labels) - positives)
    least = positives * (positives + 1) / 2
    return (rankdata(outputs)[labels == 1].sum() - least) / pairs


def area(
    outputs: NDArray, labels: NDArray, rows: Shards = (slice(None),), all_sum: AllSum | None = None
) -> float | None:
    found = AreaUnderCurve()
    for chunk in rows:
        found.add(outputs[chunk], labels[chunk])
    return found.value(all_sum)


def chunks_of(rows: int, size: int) -> list[slice]:
    return [slice(first, first + size) for first in range(0, rows, size)]


def area_over_processes(outputs: NDArray, labels: NDArray, shards: Sequence[Shards]) -> float:
    def work(rank: int, all_sum: AllSum) -> float | None:
        return area(outputs, labels, shards[rank], all_sum)

    found = in_processes(len(shards), work)
    assert found == [found[0]] * len(shards)
    return found[0]


@DTYPES
@given(BINARY)
def test_area_is_the_share_of_pairs_in_order(dtype, pairs):
    outputs, labels = (np.array(column) for column in zip(*pairs, strict=True))
    outputs = outputs.astype(dtype)
    if labels.all() or not labels.any():
        assert area(outputs, labels) is None
        return
    expected = area_by_pairs(outputs, labels)
    assert area(outputs, labels) == pytest.approx(expected, abs=1e-12)
    assert area(outputs, labels, chunks_of(60, 7)) == area(outputs, labels)


@pytest.mark.parametrize("decimals", [1, 3, 9])
def test_area_is_that_of_scikit_learn(decimals):
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 3_000)
    outputs = np.round(rng.standard_normal(3_000) + labels, decimals)
    expected = sklearn_metrics.roc_auc_score(labels, outputs)
    assert area(outputs, labels) == pytest.approx(expected, abs=1e-12)


def test_nan_comes_last():
    labels = np.array([1, 0, 0, 0])
    outputs = np.array([np.nan, 3.0, -1.0, np.inf])
    assert area(outputs, labels) == 1.0
    assert area(outputs, 1 - labels) == 0.0
    with np.errstate(invalid="ignore"):
        assert np.isnan(score(LOGISTIC, [(outputs[:, None], labels)]).loss)


@DTYPES
@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=50))
def test_keys_are_in_the_order_of_any_floats(dtype, values):
    with np.errstate(over="ignore"):
        values = np.sort(np.array(values).astype(dtype))
    keys = ordered_keys(values)
    np.testing.assert_array_equal(keys[1:] > keys[:-1], values[1:] > values[:-1])
    np.testing.assert_array_equal(keys[1:] == keys[:-1], values[1:] == values[:-1])
    assert ordered_keys(np.array([np.nan], dtype)) > keys[-1]


# Many rows, of few positives and with outputs in a narrow range.

ORDERS = {
    "as drawn": lambda outputs, labels: np.arange(len(labels)),
    "by class": lambda outputs, labels: np.argsort(labels, kind="stable"),
    "by class, positives first": lambda outputs, labels: np.argsort(-labels, kind="stable"),
    "by output": lambda outputs, labels: np.argsort(outputs, kind="stable"),
}


def narrow(spread: float, dtype: type, rows: int, order: str) -> tuple[NDArray, NDArray]:
    rng = np.random.default_rng(0)
    labels = (rng.random(rows) < 0.002).astype(int)
    outputs = -6.9 + spread * (rng.standard_normal(rows) + labels)
    order = ORDERS[order](outputs, labels)
    return outputs[order].astype(dtype), labels[order]


@pytest.mark.parametrize("spread", [0.05, 0.005])
@DTYPES
def test_area_of_outputs_in_a_narrow_range_is_exact(dtype, spread):
    outputs, labels = narrow(spread, dtype, 100_000, "as drawn")
    expected = area_by_ranks(outputs, labels)
    assert area(outputs, labels, chunks_of(100_000, 4_096)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("order", ORDERS)
@DTYPES
def test_area_of_more_rows_than_are_kept_is_off_by_less_than_1e_6(dtype, order, monkeypatch):
    monkeypatch.setattr(metrics, "KEPT_ROWS", 50_000)
    outputs, labels = narrow(0.005, dtype, 300_000, order)
    found = area(outputs, labels, chunks_of(300_000, 10_000))
    assert abs(found - area_by_ranks(outputs, labels)) < 1e-6


@pytest.mark.parametrize("order", ["as drawn", "by class", "by output"])
@pytest.mark.parametrize(("dtype", "spread"), [(np.float32, 0.05), (np.float64, 0.005)])
@pytest.mark.parametrize("kept", [1 << 20, 20_000])
def test_area_over_processes_is_off_by_less_than_1e_6(kept, dtype, spread, order, monkeypatch):
    monkeypatch.setattr(metrics, "KEPT_ROWS", kept)
    outputs, labels = narrow(spread, dtype, 100_000, order)
    chunks = chunks_of(100_000, 5_000)
    found = area_over_processes(outputs, labels, [chunks[:6], [], chunks[6:]])
    assert abs(found - area_by_ranks(outputs, labels)) < 1e-6


def test_classes_that_are_far_apart_are_told_apart_after_any_number_of_rows(monkeypatch):
    monkeypatch.setattr(metrics, "KEPT_ROWS", 100)
    monkeypatch.setattr(metrics, "BINS", 64)
    outputs = np.random.default_rng(0).standard_normal(5_000)
    labels = (outputs > 0).astype(int)
    for shift in (0.0, 10.0):
        found = area(outputs + shift * labels, labels, chunks_of(5_000, 70))
        assert found == pytest.approx(1, abs=1e-3)


def test_few_distinct_outputs_stay_exact_after_any_number_of_rows(monkeypatch):
    monkeypatch.setattr(metrics, "KEPT_ROWS", 100)
    rng = np.random.default_rng(0)
    outputs, labels = np.round(rng.standard_normal(5_000), 1), rng.integers(0, 2, 5_000)
    found = area(outputs, labels, chunks_of(5_000, 70))
    assert found == pytest.approx(area_by_pairs(outputs, labels), abs=1e-12)


@given(cuts=st.lists(st.integers(0, 40), min_size=2, max_size=2))
@settings(max_examples=5)
def test_few_rows_on_processes_of_any_size(cuts):
    rng = np.random.default_rng(0)
    outputs, labels = np.round(rng.standard_normal(40), 1), rng.integers(0, 2, 40)
    shards = [[slice(*ends)] for ends in pairwise([0, *sorted(cuts), 40])]
    found = area_over_processes(outputs, labels, shards)
    assert found == pytest.approx(area_by_pairs(outputs, labels), abs=1e-12)


def test_one_class_on_all_processes_has_no_area():
    outputs = np.arange(6.0)
    shards = [[slice(0, 2)], [], [slice(2, 6)]]
    assert area_over_processes(outputs, np.zeros(6, int), shards) is None
    assert area_over_processes(outputs, np.array([0, 0, 1, 1, 1, 1]), shards) == 1.0


# Sums.


def assert_scores(found: Scores, expected: Scores) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a == (None if b is None else pytest.approx(b, rel=1e-12))


def example(name: str, rows: int = 40) -> tuple[NDArray, NDArray]:
    made = problem(loss=name, rows=rows)
    return forward(made.weights, made.inputs)[1], made.targets


def chunked(output: NDArray, targets: NDArray, cuts: list[int]) -> Iterator[tuple]:
    for first, last in pairwise([0, *sorted(cuts), len(output)]):  # equal ones make an empty chunk
        yield output[first:last], targets[first:last]


@pytest.mark.parametrize("name", LOSSES)
@given(cuts=st.lists(st.integers(0, 40), max_size=6))
def test_chunks_add_up_whatever_their_sizes(name, cuts):
    loss, (output, targets) = LOSSES[name], example(name)
    accuracy = loss.accuracy and loss.accuracy(output, targets)
    auc = area_by_ranks(output[:, 0], targets) if loss is LOGISTIC else None
    expected = Scores(loss.value(output, targets), accuracy, auc)
    assert_scores(score(loss, chunked(output, targets, cuts)), expected)
    assert_scores(score(loss, [(output, targets)]), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_network_on_the_rows_of_all_processes(name):
    made = problem(loss=name)
    shards = [made.chunks(last=7), [], made.chunks([9], first=7)]

    def work(rank: int, all_sum: AllSum) -> Scores:
        return evaluate(made.loss, made.weights, shards[rank], all_sum)

    expected = evaluate(made.loss, made.weights, made.chunks())
    for found in in_processes(3, work):
        assert_scores(found, expected)


@given(cuts=st.lists(st.integers(0, 40), max_size=6))
def test_squared_errors_of_probabilities_add_up_over_chunks(cuts):
    rng = np.random.default_rng(2)
    output, targets = rng.standard_normal((40, 5)), rng.uniform(size=(40, 5))
    squares = (targets - 1 / (1 + np.exp(-output))) ** 2
    nats = BERNOULLI.value(output, targets)
    expected = Scores(nats, squared_error=float(squares.sum() / 40))
    assert_scores(score(BERNOULLI, chunked(output, targets, cuts)), expected)


def test_regression_has_a_loss_alone_and_one_class_no_area():
    assert score(SQUARED, [example("squared")])[1:] == (None, None, None)
    for label in (0, 1):
        scores = score(LOGISTIC, [(np.ones((3, 1)), np.full(3, label))])
        assert scores.auc is None
        assert scores.accuracy == label


@pytest.mark.parametrize("name", LOSSES)
def test_no_rows_have_no_scores(name):
    loss, *others = score(LOSSES[name], [])
    assert np.isnan(loss)
    assert others == [None, None, None]


def test_accuracy_of_many_classes_is_the_rate_of_largest_outputs():
    output = np.array([[1.0, 0, 0], [0, 1, 0], [0, 2, 1], [3, 1, 2]])
    assert score(SOFTMAX, [(output, np.array([0, 1, 2, 2]))]).accuracy == 0.5
