"""Accuracy and train loss against depth."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from new_algorithm.experiments.depth_figure import draw_depth_file
from new_algorithm.record.files import save_csv

METHODS = {"back projection, defaults": 0.0, "adam": -0.1}  # a comma in a name


def row(method, depth, **numbers):
    accuracy = 0.9 + METHODS[method] - depth / 1000
    sound = {
        "accuracy": accuracy,
        "accuracy_sd": 0.01,
        "train_loss": 1 - accuracy,
        "train_loss_sd": 0.02,
    }
    return {"method": method, "hidden_layers": depth} | sound | numbers


def drawn(folder, rows):
    save_csv(folder / "depth.csv", rows)
    figure = Figure()
    draw_depth_file(figure, folder / "depth.csv")
    return figure


def test_each_method_is_a_line_through_its_means(tmp_path):
    rows = [row(method, depth) for depth in (8, 20, 100) for method in METHODS]
    figure = drawn(tmp_path, rows)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(METHODS)
    for axes, name in zip(figure.axes, ("accuracy", "train_loss"), strict=True):
        assert len(axes.containers) == len(METHODS)
        for method, container in zip(METHODS, axes.containers, strict=True):
            line, _, (bars,) = container
            own = [row for row in rows if row["method"] == method]
            assert line.get_xdata().tolist() == [8, 20, 100]
            np.testing.assert_allclose(line.get_ydata(), [row[name] for row in own])
            heights = [np.ptp(segment[:, 1]) for segment in bars.get_segments()]
            np.testing.assert_allclose(heights, [2 * row[f"{name}_sd"] for row in own])
        assert [label.get_text() for label in axes.get_xticklabels()] == ["8", "20", "100"]
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "log"]


@pytest.mark.filterwarnings("error")
def test_spread_wider_than_the_mean_stays_above_zero(tmp_path):
    figure = drawn(tmp_path, [row("adam", depth, train_loss_sd=9.0) for depth in (8, 20)])
    _, _, (bars,) = figure.axes[1].containers[0]
    assert all(segment[:, 1].min() > 0 for segment in bars.get_segments())


@pytest.mark.filterwarnings("error")
def test_one_depth_and_runs_that_diverged_are_drawn(tmp_path):
    rows = [row("adam", 8), row("back projection, defaults", 8, train_loss=np.inf)]
    rows[1]["train_loss_sd"] = np.nan
    assert len(drawn(tmp_path, rows).axes) == 2
