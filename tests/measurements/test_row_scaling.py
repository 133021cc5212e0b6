"""The arithmetic that is counted, the process that it is measured in, and the figure."""

import os

import numpy as np
import pytest
from matplotlib.figure import Figure

from new_algorithm.measurements.row_scaling import (
    alone,
    draw_row_scaling,
    flops_of_a_row,
    matrix_rate,
)
from new_algorithm.record.files import save_csv
from new_algorithm.record.provenance import peak_memory


def test_flops_are_those_of_the_products_written_out():
    n, (d, h, g) = 7, (3, 5, 4)  # features, two hidden layers, one output

    def product(rows, inner, columns):
        return 2 * rows * inner * columns

    forward = product(n, d + 1, h) + product(n, h + 1, g) + product(n, g + 1, 1)
    moments = product(d + 1, n, h) + product(h + 1, n, g) + product(g + 1, n, 1)
    passed_down = product(n, 1, g) + product(n, g, h)
    grams = (product(h + 1, n, h + 1) + product(g + 1, n, g + 1)) // 2
    assert n * flops_of_a_row([d, h, g, 1]) == 2 * forward + moments + passed_down + grams


def test_peak_memory_is_of_the_process_asked():
    before = peak_memory()
    ballast = np.ones(30_000_000)  # 240 MB
    assert peak_memory() > before + 2e8
    assert alone(peak_memory) < peak_memory() - 1e8, "a child does not inherit it"
    del ballast


def test_matrix_rate_is_a_rate():
    assert 0.1 < matrix_rate(repeats=1) < 1e5


def test_a_process_of_its_own():
    assert alone(os.getpid) != os.getpid()
    with pytest.raises(ValueError, match="invalid literal"):
        alone(int, "no number")


def test_figure_shows_what_its_file_says(tmp_path):
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
