"""The benchmark script: what it searches, how it takes turns, and which flags it names."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from datasets import load_dataset
from new_algorithm import bench_n_layer
from new_algorithm.back_projection.network import append_ones, forward, initial_weights
from new_algorithm.bench_n_layer import (
    BATCH_SIZES,
    LEARNING_RATES,
    TWO_LAYERS,
    Config,
    at_extra_cost,
    best_baselines,
    in_eigenbasis,
    in_turns,
)
from new_algorithm.record.measurement import Score


@dataclass
class Tables:
    """Stands for a Run and keeps its tables."""

    rows: dict

    def table(self, name, rows, title):
        self.rows[name] = rows


@pytest.fixture
def searched(monkeypatch):
    """Baselines of invented accuracy: the best rate falls as the batch grows. Yields all runs."""
    runs = []

    def gradient_descent(**flags):
        def run(data, seed):
            runs.append(flags | {"seed": seed})
            best = {64: 1, 128: 2, 256: 3}[flags["batch_size"]]
            rates = LEARNING_RATES[flags["optimizer"]]
            accuracy = 0.9 - abs(rates.index(flags["lr"]) - best) / 100 + flags["batch_size"] / 1e5
            return Score(1 - accuracy, 1.0, accuracy, 1.0, True)

        return run

    monkeypatch.setattr(bench_n_layer, "gradient_descent", gradient_descent)
    return runs


def test_search_tries_the_whole_grid_once_and_takes_the_most_accurate(searched):
    tables = Tables({})
    best = best_baselines(Config(part="depth", epochs=3), tables, {"num_layers": 4}, None, "grid")
    size = sum(map(len, LEARNING_RATES.values())) * len(BATCH_SIZES)
    assert len(searched) == len(tables.rows["grid"]) == size
    assert {run["epochs"] for run in searched} == {3}
    assert all(run["one_cycle"] and run["num_layers"] == 4 for run in searched)
    assert [flags["optimizer"] for flags in best.values()] == ["adam", "momentum"]
    for flags in best.values():
        assert flags["batch_size"] == 256
        assert flags["lr"] == LEARNING_RATES[flags["optimizer"]][3]


def test_search_by_batch_keeps_the_best_of_each(searched):
    best = best_baselines(Config(part="two-layer"), Tables({}), {}, None, "grid", per_batch=True)
    found = {(flags["optimizer"], flags["batch_size"], flags["lr"]) for flags in best.values()}
    assert found == {
        (optimizer, batch, rates[index])
        for optimizer, rates in LEARNING_RATES.items()
        for batch, index in ((64, 1), (128, 2), (256, 3))
    }


def test_methods_take_turns_seed_by_seed():
    order = []

    def named(name):
        return lambda data, seed: order.append((name, data, seed)) or (name, seed)

    scores = in_turns((4, 7), {"a": (named("a"), "x"), "b": (named("b"), "y")})
    assert order == [("a", "x", 4), ("b", "y", 4), ("a", "x", 7), ("b", "y", 7)]
    assert scores == {"a": [("a", 4), ("a", 7)], "b": [("b", 4), ("b", 7)]}


def test_data_in_the_eigenbasis_have_a_diagonal_gram_and_the_same_distances():
    data = load_dataset("synthetic", train_limit=500, test_limit=50)
    projected, weights_of, seconds = in_eigenbasis(data)
    gram = projected.x_train.T @ projected.x_train / len(projected.x_train)
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 1e-4 * gram.max()
    for before, after in ((data.x_train, projected.x_train), (data.x_test, projected.x_test)):
        apart = np.linalg.norm(before[1:9] - before[:8], axis=1)  # narrow: nothing is left out
        np.testing.assert_allclose(np.linalg.norm(after[1:9] - after[:8], axis=1), apart, rtol=1e-4)
    assert projected.y_train is data.y_train
    assert 0 < seconds < 10
    widths = (data.x_train.shape[1], TWO_LAYERS["hidden_dim"], data.num_classes)
    ours = initial_weights(np.random.default_rng([3, 1]), widths)
    np.testing.assert_allclose(
        forward(weights_of(3), append_ones(projected.x_test))[1],
        forward(ours, append_ones(data.x_test))[1],
        atol=1e-4,
    )


def test_extra_cost_is_added_to_the_time_and_to_nothing_else():
    score = Score(0.1, 0.2, 0.9, 3.0, True)
    assert at_extra_cost(lambda data, seed: score, 0.5)(None, 0) == replace(score, cpu_seconds=3.5)
