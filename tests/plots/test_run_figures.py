import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from new_algorithm.plots import run_figures as run_figures_module
from new_algorithm.plots.run_figures import MAPS, run_figures
from new_algorithm.plots.style import HOUSE_STYLE
from new_algorithm.record.figures import draw_run
from new_algorithm.record.layout import Layout

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def drawn(monkeypatch):
    """drawn(series) -> the figures by name, laid out but not rasterised."""

    def keep(fill, size=None, kind="png"):
        with matplotlib.rc_context(HOUSE_STYLE):
            figure = Figure(figsize=size)
            fill(figure)
            figure.draw_without_rendering()
        return figure

    monkeypatch.setattr(run_figures_module, "draw", keep)
    return lambda series: dict(run_figures(series, "t", None))


def a_series(epochs, layers=2, **arrays):
    number = np.arange(1, epochs + 1)
    sound = {
        "epoch": number,
        "train_loss": 1 / number,
        "test_loss": 1.1 / number,
        "layer_norms": np.outer(number, np.arange(1, layers + 1)),
    }
    return sound | arrays


def test_files_alone_are_enough(tmp_path):
    layout = Layout(tmp_path)
    folder = layout.record("t")
    folder.mkdir(parents=True)
    arrays = {"test_accuracy": np.array([0.5, 0.6, 0.7]), "cg_iterations": np.ones((3, 2))}
    for name, values in a_series(3, **arrays).items():
        np.save(folder / f"{name}.npy", values)
    (folder / "table.csv").write_text("a\n1\n")
    read = []
    tables = {"table.csv": (lambda figure, path: read.append(path.read_text()), None)}
    paths = draw_run("t", layout, tables)
    names = {"loss", "accuracy", "layer_norms", "cg_iterations", "table"}
    assert {path.name for path in paths} == {f"{name}.png" for name in names}
    assert all(path.read_bytes().startswith(PNG) for path in paths)
    assert read == ["a\n1\n"]


def test_the_loss_shows_train_and_test_in_the_first_two_styles(drawn):
    figures = drawn(a_series(3))
    train, test = figures["loss"].axes[0].lines
    assert train.get_ydata().tolist() == [1, 1 / 2, 1 / 3]
    assert (train.get_label(), test.get_label()) == ("train", "test")
    assert (train.get_color(), test.get_color()) == ("black", "red")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300, 0.0, -1.0])
def test_strange_losses_leave_a_gap_and_no_warning(drawn, bad):
    figures = drawn(a_series(3, train_loss=np.array([1.0, bad, 0.001]), test_loss=np.full(3, bad)))
    values = figures["loss"].axes[0].lines[0].get_ydata()
    assert np.isfinite(values[1]) == (bad in (0.0, -1.0))
    assert values[2] == 0.001


def test_a_single_epoch_is_visible_and_its_axis_shows_whole_numbers(drawn):
    figures = drawn(a_series(1))
    axes = figures["loss"].axes[0]
    assert axes.lines[0].get_marker() == "o"
    ticks = [tick for tick in axes.get_xticks() if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]]
    assert ticks == [1]


def test_a_wide_loss_is_logarithmic_and_a_narrow_one_is_not(drawn):
    for last, scale in ((0.001, "log"), (0.5, "linear")):
        figures = drawn(a_series(2, train_loss=np.array([1.0, last])))
        assert figures["loss"].axes[0].get_yscale() == scale


def test_many_epochs_do_not_crowd_the_markers(drawn):
    figures = drawn(a_series(300))
    assert 300 / figures["loss"].axes[0].lines[0].get_markevery() <= 15


def test_forty_layers_fit_beside_the_axes(drawn):
    figures = drawn(a_series(5, layers=40))
    figure = figures["layer_norms"]
    assert len(figure.axes[0].lines) == 40
    legend = figure.axes[0].get_legend().get_window_extent()
    assert legend.y0 >= 0
    assert figure.axes[0].get_window_extent().width > 0.3 * figure.bbox.width


def test_layers_are_mapped_where_all_of_their_diagnostics_are_recorded(drawn):
    diagnosed = a_series(2, **dict.fromkeys(MAPS, np.ones((2, 2))))
    assert "layer_maps" in drawn(diagnosed)
    del diagnosed["gram_condition"]
    assert "layer_maps" not in drawn(diagnosed)


def test_no_epoch_no_figure(tmp_path):
    layout = Layout(tmp_path)
    layout.record("t").mkdir(parents=True)
    assert draw_run("t", layout, {}) == []


def test_drawing_does_not_touch_pyplot():
    code = "import sys, new_algorithm.plots.run_figures; print('matplotlib.pyplot' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
