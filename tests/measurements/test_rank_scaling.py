"""The model of time on several nodes, and the count of bytes, against runs."""

from dataclasses import replace

import numpy as np
import pytest

from datasets import load_dataset
from new_algorithm.measurements.rank_scaling import (
    LATENCY_S,
    CountingRanks,
    Traffic,
    expected_times,
)
from new_algorithm.n_layer_relu_data import Config, train
from new_algorithm.record.measurement import Measurement


def test_one_node_sends_nothing():
    assert Traffic("any", 7, 2.0, 1e9).seconds(1, 10) == pytest.approx(14)


def test_ring_moves_each_byte_less_than_twice():
    training = Traffic("any", 1, 0.0, 1e9)  # one gigabyte at 10 Gbit/s takes 0.8 s
    assert training.seconds(2, 10) == pytest.approx(0.8 + 2 * LATENCY_S)
    assert training.seconds(64, 10) == pytest.approx(1.6 * 63 / 64 + 126 * LATENCY_S)
    assert training.seconds(64, 100) == pytest.approx(0.16 * 63 / 64 + 126 * LATENCY_S)


def test_computation_is_shared_out():
    assert Traffic("any", 3, 8.0, 0.0).seconds(4, 10) == pytest.approx(6 + 18 * LATENCY_S)


def test_table_has_each_method_on_each_link():
    table = expected_times([Traffic("a", 1, 1.0, 1e6), Traffic("b", 1, 2.0, 1e6)])
    assert [(row["method"], row["gigabit_per_s"]) for row in table] == [
        ("a", 10),
        ("a", 100),
        ("b", 10),
        ("b", 100),
    ]
    assert table[2]["nodes_2_s"] == Traffic("b", 1, 2.0, 1e6).seconds(2, 10)


def test_bytes_are_those_of_moments_grams_and_counts():
    config = Config(
        widths=(8, 6), batch_size="full", epochs=3, gram_average=0.0, chunk_rows=100, threads=1
    )
    data, run, sent = load_dataset("synthetic", train_limit=300), Measurement(), []
    run.record_epoch = lambda epoch, **numbers: sent.append(numbers["sent_bytes"])
    train(replace(config, num_layers=3), data, run, CountingRanks())
    moments = 21 * 8 + 9 * 6 + 7 * 4
    triangles = 9 * 10 // 2 + 7 * 8 // 2
    counts = judged = 2 * 8  # rows and losses, of the sweep and of the batch after the step
    assert sent == [4 * (moments + triangles) + counts + judged] * 3


def test_counting_changes_nothing():
    config = Config(widths=(8,), num_layers=2, epochs=2, chunk_rows=64, batch_size=128)
    data, losses = load_dataset("synthetic", train_limit=500), []
    for ranks in (None, CountingRanks()):
        run = Measurement()
        train(config, data, run, ranks)
        losses.append(run.last["train"].loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert np.isfinite(losses).all()
