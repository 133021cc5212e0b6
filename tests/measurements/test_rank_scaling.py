"""The model of time on several nodes, the count of bytes and iterations, and their figures."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from datasets import load_dataset
from new_algorithm.back_projection.metrics import Scores
from new_algorithm.cli.errors import DivergedError
from new_algorithm.measurements.rank_scaling import (
    LATENCY_S,
    counted_training,
    draw_expected_times,
    draw_rank_scaling,
    expected_seconds,
    expected_times,
    until_loss,
)
from new_algorithm.methods.back_projection import train_with
from new_algorithm.methods.back_projection_settings import Settings
from new_algorithm.methods.method import Epoch, Problem
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.files import save_csv


def row(method="any", *, iterations=1, compute_s=0.0, sent=0.0):
    numbers = {"cpu_s_an_iteration": compute_s, "bytes_an_iteration": sent}
    return {"method": method, "iterations": iterations} | numbers


def test_one_node_sends_nothing():
    seven = row(iterations=7, compute_s=2.0, sent=1e9)
    assert expected_seconds(seven, 1, 10) == pytest.approx(14)


def test_ring_moves_each_byte_less_than_twice():
    training = row(sent=1e9)  # one gigabyte at 10 Gbit/s takes 0.8 s
    assert expected_seconds(training, 2, 10) == pytest.approx(0.8 + 2 * LATENCY_S)
    assert expected_seconds(training, 64, 10) == pytest.approx(1.6 * 63 / 64 + 126 * LATENCY_S)
    assert expected_seconds(training, 64, 100) == pytest.approx(0.16 * 63 / 64 + 126 * LATENCY_S)


def test_computation_is_divided_among_the_nodes():
    three = row(iterations=3, compute_s=8.0)
    assert expected_seconds(three, 4, 10) == pytest.approx(6 + 18 * LATENCY_S)


def test_table_has_each_method_that_reached_the_loss_on_each_link():
    ours, other = row("a", compute_s=1.0, sent=1e6), row("b", compute_s=2.0, sent=1e6)
    table = expected_times([ours, row("never", iterations=""), other])
    assert [(row["method"], row["gigabit_per_s"]) for row in table] == [
        ("a", 10),
        ("a", 100),
        ("b", 10),
        ("b", 100),
    ]
    assert table[2]["nodes_2_s"] == expected_seconds(other, 2, 10)


def training(losses, diverges=False):
    """Epochs with these train losses, 2 CPU seconds each; at the end it may diverge."""
    for number, loss in enumerate(losses, start=1):
        scores = Scores(loss), Scores(9.0)
        yield Epoch(number, TrainingClock(2.0 * number), [], lambda scores=scores: scores)
    if diverges:
        raise DivergedError("the loss is nan")
    assert losses[-1] > 0.4, "a training that has reached the loss was asked for more"


def ten_an_epoch(epochs):
    return 10 * epochs


def test_iterations_are_interpolated_between_epochs():
    reached = until_loss(0.4, ten_an_epoch, training([0.9, 0.5, 0.3]), lambda: 600)
    assert reached["iterations"] == pytest.approx(25)  # half way from 0.5 to 0.3
    assert reached["train_loss"] == 0.3
    assert reached["cpu_s_an_iteration"] == pytest.approx(0.2)
    assert reached["bytes_an_iteration"] == pytest.approx(60)


def test_loss_of_the_first_epoch_has_nothing_to_interpolate_from():
    assert until_loss(0.4, ten_an_epoch, training([0.2]), lambda: 0)["iterations"] == 10


@pytest.mark.parametrize("diverges", [False, True])
def test_loss_that_is_not_reached(diverges):
    assert until_loss(0.05, ten_an_epoch, training([0.9, 0.5], diverges), lambda: 0) is None


def small_problem():
    return Problem(load_dataset("synthetic", train_limit=300), (8, 6), epochs=3, seed=0)


def test_bytes_are_those_of_moments_grams_and_counts():
    settings = Settings(batch_size="full", gram_average=0.0)
    epochs, sent_bytes = counted_training(settings, small_problem(), chunk_rows=100)
    moments = 21 * 8 + 9 * 6 + 7 * 4
    triangles = 9 * 10 // 2 + 7 * 8 // 2
    counts = judged = 2 * 8  # rows and losses, of the sweep and of the batch after the step
    sent = [(sent_bytes(), epoch.scores())[0] for epoch in epochs]
    assert sent == [4 * (moments + triangles) + counts + judged] * 3


def test_counting_changes_nothing():
    settings = Settings(chunk_rows=64, batch_size=128)
    counted, _ = counted_training(settings, small_problem(), chunk_rows=64)
    for ours, plain in zip(counted, train_with(settings, small_problem()), strict=True):
        assert ours.scores()[0].loss == pytest.approx(plain.scores()[0].loss, rel=1e-5)


def test_figure_of_ranks_has_measured_and_ideal_times(tmp_path):
    save_csv(tmp_path / "ranks.csv", [{"ranks": 1, "sweep_s": 8.0}, {"ranks": 4, "sweep_s": 3.0}])
    figure = Figure()
    draw_rank_scaling(figure, tmp_path / "ranks.csv")
    measured, ideal = figure.axes[0].lines
    np.testing.assert_array_equal(measured.get_ydata(), [8, 3])
    np.testing.assert_array_equal(ideal.get_ydata(), [8, 2])


def test_figure_of_nodes_has_a_panel_a_link(tmp_path):
    rows = [
        {"method": method, "gigabit_per_s": link, "nodes_1_s": 4.0, "nodes_2_s": seconds}
        for method, seconds in (("a", 3.0), ("b", 2.0))
        for link in (10, 100)
    ]
    save_csv(tmp_path / "nodes.csv", rows)
    figure = Figure()
    draw_expected_times(figure, tmp_path / "nodes.csv")
    left, right = figure.axes
    assert [axes.get_title() for axes in (left, right)] == ["10 Gbit/s", "100 Gbit/s"]
    np.testing.assert_array_equal(left.lines[1].get_ydata(), [4, 2])
    np.testing.assert_array_equal(left.lines[1].get_xdata(), [1, 2])
