"""The figures of a report: each effect with its interval, the same bytes each time."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from new_algorithm.experiments.quantities import metric
from new_algorithm.experiments.record_tables import read_experiment
from new_algorithm.experiments.report import write_report
from new_algorithm.experiments.report_figures import draw_intervals, file_stem, styles
from new_algorithm.experiments.statistics import Summary
from new_algorithm.record.files import save_csv
from new_algorithm.record.layout import Layout
from tests.experiments.invented_record import EXPERIMENT, METHODS, MNIST, TAG, write_record

SMALL = replace(EXPERIMENT, tasks=(MNIST,), variations=EXPERIMENT.variations[:3], seeds=(0, 1, 2))
CELLS = [
    {"hidden_layers": 2, "lambda_w": w, "lambda_h": h, "accuracy": 0.9 + w, "train_loss": h}
    for w in (0.01, 0.02)
    for h in (0.1, 1.0)
]


def files_of(root):
    """The report's files by name, with their bytes."""
    layout = Layout(root)
    write_record(layout, SMALL)
    return {path.name: path.read_bytes() for path in write_report(TAG, layout)}


def test_the_same_record_gives_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first, second = (files_of(tmp_path / name) for name in ("first", "second"))
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_the_map_is_shown_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr("new_algorithm.experiments.report.draw_task", lambda *_: [])
    layout = Layout(tmp_path)
    write_record(layout, replace(SMALL, lambda_map="mapped"))
    assert {path.name for path in write_report(TAG, layout)} == {"report.html", "README.md"}
    assert b"map of both" not in (layout.figures(TAG) / "report.html").read_bytes()
    layout.record("mapped").mkdir()
    save_csv(layout.record("mapped") / "lambda_map.csv", CELLS)
    drawn = {path.name for path in write_report(TAG, layout)} - {"report.html", "README.md"}
    assert drawn == {"lambda_map.svg"}
    assert b"map of both" in (layout.figures(TAG) / "report.html").read_bytes()


def test_colours_belong_to_variations_and_black_to_the_baseline(tmp_path):
    layout = Layout(tmp_path)
    write_record(layout, replace(EXPERIMENT, baseline="Adam"))
    look = styles(read_experiment(TAG, layout))
    assert look["Adam"]["color"] == "black"
    assert look.keys() == METHODS.keys()
    assert len({style["color"] for style in look.values()}) == len(METHODS)


def test_names_of_files_are_plain():
    assert file_stem("MNIST, 8 × 64") == "mnist_8_x_64"
    assert file_stem("HIGGS: 28-256-1") == "higgs_28_256_1"


EFFECTS = {  # mean, half width of the interval, p
    "better": (0.02, 0.005, 0.001),
    "much the same": (-0.001, 0.004, 0.7),
    "worse": (-0.01, 0.002, 0.01),
}


def drawn(effects):
    summaries = {
        name: Summary(
            mean, half, *((None, None) if half is None else (mean - half, mean + half)), 10
        )
        for name, (mean, half, _) in effects.items()
    }
    significant = {name for name, (_, _, p) in effects.items() if p is not None and p < 0.05}
    figure = Figure()
    styles = {name: {"color": "red"} for name in effects}
    draw_intervals(figure, summaries, significant, metric("accuracy"), "difference", styles)
    (axes,) = figure.axes
    return axes


def points(axes):
    """x by line of the plot, and whether it is filled."""
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    return {
        int(np.ravel(mark.get_ydata())[0]): (
            float(np.ravel(mark.get_xdata())[0]),
            mark.get_markerfacecolor() != "white",
        )
        for mark in marks
    }


def test_effects_and_intervals():
    axes = drawn(EFFECTS)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(EFFECTS)
    found = points(axes)
    low, high = axes.get_xlim()
    bars = [line.get_xdata() for line in axes.lines if line.get_linestyle() == "-"][:-1]  # not 0
    for line, (mean, half, p) in enumerate(EFFECTS.values()):
        assert found[line] == (pytest.approx(mean), p < 0.05)
        np.testing.assert_allclose(bars[line], [mean - half, mean + half])
        assert low < mean - half < mean + half < high
    assert low < 0 < high


def test_numbers_stand_beside():
    texts = [text.get_text() for text in drawn(EFFECTS).texts]
    assert texts[0] == "+0.0200  [+0.0150, +0.0250]"
    assert texts[2] == "−0.0100  [−0.0120, −0.0080]"


def test_one_far_beyond_the_others_is_an_arrow_with_its_number():
    axes = drawn({**EFFECTS, "hopeless": (-0.9, 0.1, 0.0)})
    assert axes.get_xlim()[0] > -0.1
    assert len(points(axes)) == len(EFFECTS)
    (arrow,) = (line for line in axes.lines if line.get_marker() == "<")
    assert list(arrow.get_ydata()) == [3]
    assert axes.texts[3].get_text().startswith("−0.9000")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mean", [0.0, 0.1])
def test_one_seed_has_no_interval(mean):
    axes = drawn({"alone": (mean, None, None)})
    assert points(axes) == {0: (pytest.approx(mean), False)}
    assert "[" not in axes.texts[0].get_text()
