import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from new_algorithm.plots import curves
from new_algorithm.plots.run_figures import draw_run
from new_algorithm.record.layout import Layout

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def drawn(monkeypatch):
    """The figures by file name, laid out but neither rasterised nor saved."""
    figures = {}

    def keep(figure, path):
        figures[path.name] = figure
        figure.draw_without_rendering()

    monkeypatch.setattr("new_algorithm.plots.run_figures.save_figure", keep)
    return figures


def write(layout, epochs, layers=2, **arrays):
    layout.record("t").mkdir(parents=True)
    number = np.arange(1, epochs + 1)
    sound = {
        "epoch": number,
        "train_loss": 1 / number,
        "test_loss": 1.1 / number,
        "layer_norms": np.outer(number, np.arange(1, layers + 1)),
    }
    for name, values in (sound | arrays).items():
        np.save(layout.record("t") / f"{name}.npy", values)


def test_files_alone_are_enough(tmp_path):
    layout = Layout(tmp_path)
    write(layout, 3, test_accuracy=np.array([0.5, 0.6, 0.7]), cg_iterations=np.ones((3, 2)))
    paths = draw_run("t", layout)
    assert {path.name for path in paths} == {
        "loss.png",
        "accuracy.png",
        "layer_norms.png",
        "cg_iterations.png",
    }
    assert all(path.read_bytes().startswith(PNG) for path in paths)


def test_the_loss_shows_train_and_test_in_the_first_two_styles(tmp_path, drawn):
    layout = Layout(tmp_path)
    write(layout, 3)
    draw_run("t", layout)
    train, test = drawn["loss.png"].axes[0].lines
    assert train.get_ydata().tolist() == [1, 1 / 2, 1 / 3]
    assert (train.get_label(), test.get_label()) == ("train", "test")
    assert (train.get_color(), test.get_color()) == ("black", "red")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300, 0.0, -1.0])
def test_strange_losses_leave_a_gap_and_no_warning(tmp_path, drawn, bad):
    layout = Layout(tmp_path)
    write(layout, 3, train_loss=np.array([1.0, bad, 0.001]), test_loss=np.full(3, bad))
    draw_run("t", layout)
    values = drawn["loss.png"].axes[0].lines[0].get_ydata()
    assert np.isfinite(values[1]) == (bad in (0.0, -1.0))
    assert values[2] == 0.001


def test_a_single_epoch_is_visible_and_its_axis_shows_whole_numbers(tmp_path, drawn):
    layout = Layout(tmp_path)
    write(layout, 1)
    draw_run("t", layout)
    axes = drawn["loss.png"].axes[0]
    assert axes.lines[0].get_marker() == "o"
    ticks = [tick for tick in axes.get_xticks() if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]]
    assert ticks == [1]


def test_a_wide_loss_is_logarithmic_and_a_narrow_one_is_not(tmp_path, drawn):
    for name, last, scale in (("wide", 0.001, "log"), ("narrow", 0.5, "linear")):
        layout = Layout(tmp_path / name)
        write(layout, 2, train_loss=np.array([1.0, last]))
        draw_run("t", layout)
        assert drawn["loss.png"].axes[0].get_yscale() == scale


def test_many_epochs_do_not_crowd_the_markers(tmp_path, drawn):
    layout = Layout(tmp_path)
    write(layout, 300)
    draw_run("t", layout)
    assert 300 / drawn["loss.png"].axes[0].lines[0].get_markevery() <= 15


def test_forty_layers_fit_beside_the_axes(tmp_path, drawn):
    layout = Layout(tmp_path)
    write(layout, 5, layers=40)
    draw_run("t", layout)
    figure = drawn["layer_norms.png"]
    assert len(figure.axes[0].lines) == 40
    legend = figure.axes[0].get_legend().get_window_extent()
    assert legend.y0 >= 0
    assert figure.axes[0].get_window_extent().width > 0.3 * figure.bbox.width


def test_no_epoch_no_figure(tmp_path):
    layout = Layout(tmp_path)
    layout.record("t").mkdir(parents=True)
    assert draw_run("t", layout) == []


def test_drawing_does_not_touch_pyplot():
    code = "import sys, new_algorithm.plots.comparison; print('matplotlib.pyplot' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_a_failed_save_leaves_the_previous_figure(tmp_path):
    path = tmp_path / "loss.png"
    path.write_bytes(b"old")
    figure = Figure()
    figure.draw = lambda renderer: 1 / 0
    with pytest.raises(ZeroDivisionError):
        curves.save_figure(figure, path)
    assert path.read_bytes() == b"old"
