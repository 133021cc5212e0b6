"""Means and bands of learning curves, and which part of them is shown."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from new_algorithm.experiments.learning_curves import (
    draw_learning_curves,
    loss_range,
    mean_curve,
    score_range,
)
from new_algorithm.experiments.quantities import TRAIN_LOSS, metric
from new_algorithm.experiments.record_tables import read_experiment
from new_algorithm.experiments.report_figures import styles
from new_algorithm.record.files import read_csv
from new_algorithm.record.layout import Layout
from tests.experiments.invented_record import EXPERIMENT, METHODS, MNIST, TAG, write_record


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    layout = Layout(tmp_path_factory.mktemp("record"))
    write_record(layout)
    return layout


@pytest.fixture(scope="module")
def record(layout):
    return read_experiment(TAG, layout)


def test_mean_and_band_of_each_epoch(layout, record):
    rows = read_csv(layout.record(TAG) / "curves.csv")
    own = [row for row in rows if (row["task"], row["variation"]) == (MNIST.name, "Adam")]
    curve = mean_curve(record, MNIST, "Adam", "train_cpu_seconds", TRAIN_LOSS)
    assert len(curve.x) == METHODS["Adam"][3]
    for at in range(len(curve.x)):
        seconds, losses = (
            np.array([float(row[name]) for row in own if int(row["epoch"]) == at + 1])
            for name in ("train_cpu_seconds", "train_loss")
        )
        half = stats.t.ppf(0.975, 9) * losses.std(ddof=1) / np.sqrt(10)
        np.testing.assert_allclose(
            [curve.x[at], curve.mean[at], curve.low[at], curve.high[at]],
            [seconds.mean(), losses.mean(), losses.mean() - half, losses.mean() + half],
        )
    assert curve.ended.size == 0


def test_where_diverged_runs_end_is_marked(record):
    curve = mean_curve(record, MNIST, "L-BFGS", "epoch", metric("accuracy", "validation"))
    assert curve.x[curve.ended].tolist() == [2]  # the epoch after which three of ten are gone
    assert curve.x[-1] == METHODS["L-BFGS"][3]


def test_whole_epochs_stand_beside_as_many_parts_of_a_pass(record):
    known = {"Adam": "adam", "L-BFGS": "lbfgs"}  # the others are no methods
    variations = [replace(v, method=known.get(v.name, "")) for v in EXPERIMENT.variations]
    named = replace(record, experiment=replace(EXPERIMENT, variations=tuple(variations)))
    assert named.experiment.whole_epochs == ["L-BFGS"]
    quarters = replace(MNIST, parts=4)
    for task, name, scale in ((quarters, "Adam", 1), (quarters, "L-BFGS", 4), (MNIST, "L-BFGS", 1)):
        curve = mean_curve(named, task, name, "epoch", TRAIN_LOSS)
        assert curve.x.tolist() == [scale * epoch for epoch in range(1, METHODS[name][3] + 1)]
        seconds = mean_curve(named, task, name, "train_cpu_seconds", TRAIN_LOSS)
        alone = mean_curve(record, MNIST, name, "train_cpu_seconds", TRAIN_LOSS)
        np.testing.assert_array_equal(seconds.x, alone.x)


@pytest.mark.filterwarnings("error")
def test_a_single_seed_has_a_curve_without_a_band(record):
    one = {key: [row for row in rows if row["seed"] == 0] for key, rows in record.curves.items()}
    single = replace(record, curves=one)
    curve = mean_curve(single, MNIST, "Adam", "epoch", TRAIN_LOSS)
    assert np.isfinite(curve.mean).all()
    assert np.isnan(curve.low).all()
    draw_learning_curves(Figure(), single, MNIST, list(METHODS), styles(record))


@pytest.mark.filterwarnings("error")
def test_a_method_without_curves_is_left_out(record):
    none = {key: rows for key, rows in record.curves.items() if key[1] != "Adam"}
    figure = Figure()
    draw_learning_curves(figure, replace(record, curves=none), MNIST, list(METHODS), styles(record))
    (legend,) = figure.legends
    named = [text.get_text() for text in legend.get_texts()]
    assert named == [name for name in METHODS if name != "Adam"]


def test_what_no_run_recorded_has_no_panel(record):
    def without(*names):
        curves = {
            pair: [row | dict.fromkeys(names) for row in rows]
            for pair, rows in record.curves.items()
        }
        figure, changed = Figure(), replace(record, curves=curves)
        draw_learning_curves(figure, changed, MNIST, list(METHODS), styles(record))
        return [(axes.get_xlabel(), axes.get_ylabel().split("\n")[0]) for axes in figure.axes]

    assert without("samples") == [
        ("", "validation accuracy"),
        ("", ""),
        ("epoch", "train loss"),
        ("CPU seconds", ""),
    ]
    assert without("samples", "validation_accuracy") == [
        ("epoch", "train loss"),
        ("CPU seconds", ""),
    ]
    assert without("validation_accuracy", "train_loss") == []


def test_the_first_metric_with_curves_is_followed(record):
    def followed(*metrics):
        figure, task = Figure(), replace(MNIST, metrics=metrics)
        draw_learning_curves(figure, record, task, list(METHODS), styles(record))
        return [label.split("\n")[0] for axes in figure.axes if (label := axes.get_ylabel())]

    assert followed("accuracy", "loss") == ["validation accuracy", "train loss"]
    assert followed("of_the_end", "loss", "accuracy") == ["validation loss", "train loss"]


def test_a_bad_method_does_not_squash_the_others():
    good = [np.array([0.9, 0.97]), np.array([0.92, 0.975]), np.array([0.91, 0.98])]
    bad = np.array([0.1, 0.11])
    bottom, top = score_range([*good, bad])
    assert 0.85 < bottom < 0.97
    assert top > 0.98
    low, high = loss_range([np.array([1.0, 0.1]), np.array([1.1, 0.2]), np.array([1e9, 1e8])])
    assert low < 0.1
    assert 1.1 < high < 100


def test_panels_say_what_is_cut_off(record):
    figure = Figure()
    draw_learning_curves(figure, record, MNIST, list(METHODS), styles(record))
    accuracy, *_, loss = (axes for axes in figure.axes if axes.get_ylabel())
    assert "cut off below" in accuracy.get_ylabel()
    assert accuracy.get_ylim()[0] > 0.8
    assert loss.get_yscale() == "log"
    colours = {
        line.get_label(): line.get_color() for line in accuracy.lines if line.get_label() in METHODS
    }
    assert colours == {name: styles(record)[name]["color"] for name in METHODS}
