"""Figures of scaling, from a run's recorded files: rows on one machine, ranks, nodes on paper."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from new_algorithm.record.tables import read_csv

ROWS_FILE = "row_scaling.csv"
RANKS_FILE = "rank_scaling.csv"
NODES_FILE = "expected_times.csv"


def draw_row_scaling(figure: Figure, path: Path) -> None:
    """Seconds a sweep, peak memory, and the share of the matrix rate, against rows."""
    table = read_csv(path)
    rows = _column(table, "train_rows")
    time, memory, share = figure.subplots(1, 3)
    seconds = _column(table, "sweep_s")
    time.plot(rows, seconds, label="wall", marker="o")
    time.plot(rows, _column(table, "sweep_cpu_s"), label="CPU", marker="s")
    time.plot(rows, seconds[0] / rows[0] * rows, label="in proportion to rows", marker="")
    time.set_yscale("log")
    time.set_ylabel("seconds a sweep")
    time.legend()
    memory.plot(rows, _column(table, "peak_mb"), label="peak", marker="o")
    memory.plot(
        rows, np.full(len(rows), 1.3 * _column(table, "peak_mb")[0]), label="1.3 × smallest"
    )
    memory.set_ylim(bottom=0)
    memory.set_ylabel("peak memory (MB)")
    memory.legend()
    share.plot(rows, _column(table, "gflops_per_cpu_s"), label="sweep", marker="o")
    share.plot(rows, _column(table, "matrix_gflops_per_s"), label="matrix product", marker="s")
    share.set_ylim(bottom=0)
    share.set_ylabel("GFLOP a CPU second")
    share.legend()
    for axes in (time, memory, share):
        axes.set_xscale("log")
        axes.set_xlabel("training rows")


def draw_rank_scaling(figure: Figure, path: Path) -> None:
    """Seconds a sweep against ranks on one machine."""
    table = read_csv(path)
    axes = figure.add_subplot()
    ranks, seconds = _column(table, "ranks"), _column(table, "sweep_s")
    axes.plot(ranks, seconds, label="measured", marker="o")
    axes.plot(ranks, seconds[0] / ranks, label="in proportion", marker="")
    _in_powers_of_two(axes, ranks)
    axes.set_xlabel("ranks on one machine, one thread each")
    axes.set_ylabel("seconds a sweep")
    axes.legend()


def draw_expected_times(figure: Figure, path: Path) -> None:
    """Seconds to the same loss against nodes, one panel a link."""
    table = read_csv(path)
    links = list(dict.fromkeys(row["gigabit_per_s"] for row in table))
    for axes, link in zip(figure.subplots(1, len(links), sharey=True), links, strict=True):
        for row in (row for row in table if row["gigabit_per_s"] == link):
            columns = [name for name in row if name.startswith("nodes_")]
            nodes = np.array([int(name.split("_")[1]) for name in columns])
            axes.plot(nodes, [float(row[name]) for name in columns], label=row["method"])
        _in_powers_of_two(axes, nodes)
        axes.set_title(f"{link} Gbit/s")
        axes.set_xlabel("nodes, on paper")
    figure.axes[0].set_ylabel("seconds to the same train loss")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)


def _in_powers_of_two(axes: Axes, counts: np.ndarray) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(counts, [f"{count:g}" for count in counts])


def _column(table: list[dict[str, str]], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in table])
