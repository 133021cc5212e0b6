"""The figures of scaling show what their files say."""

import numpy as np
from matplotlib.figure import Figure
from new_algorithm.measurements.scaling_figure import (
    draw_expected_times,
    draw_rank_scaling,
    draw_row_scaling,
)

from new_algorithm.record.files import save_csv


def test_rows(tmp_path):
    rows = [
        {
            "train_rows": n,
            "sweep_s": 2.0 * n,
            "sweep_cpu_s": 1.5 * n,
            "peak_mb": 100 + n,
            "gflops_per_cpu_s": 70.0,
            "matrix_gflops_per_s": 100.0,
        }
        for n in (10, 100, 1000)
    ]
    save_csv(tmp_path / "rows.csv", rows)
    figure = Figure()
    draw_row_scaling(figure, tmp_path / "rows.csv")
    time, memory, share = figure.axes
    np.testing.assert_array_equal(time.lines[0].get_ydata(), [20, 200, 2000])
    np.testing.assert_array_equal(time.lines[2].get_ydata(), time.lines[0].get_ydata())
    np.testing.assert_array_equal(memory.lines[0].get_ydata(), [110, 200, 1100])
    np.testing.assert_allclose(memory.lines[1].get_ydata(), 143)
    assert share.lines[0].get_ydata()[0] < share.lines[1].get_ydata()[0]
    assert all(axes.get_xscale() == "log" for axes in figure.axes)


def test_ranks(tmp_path):
    save_csv(tmp_path / "ranks.csv", [{"ranks": 1, "sweep_s": 8.0}, {"ranks": 4, "sweep_s": 3.0}])
    figure = Figure()
    draw_rank_scaling(figure, tmp_path / "ranks.csv")
    measured, ideal = figure.axes[0].lines
    np.testing.assert_array_equal(measured.get_ydata(), [8, 3])
    np.testing.assert_array_equal(ideal.get_ydata(), [8, 2])


def test_nodes(tmp_path):
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
