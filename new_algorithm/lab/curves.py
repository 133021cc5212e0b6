"""Curves of recorded numbers: what the figures of one run and of several have in common."""

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from new_algorithm.lab.atomic_files import replace_atomically

MARKERS_PER_CURVE = 12
LOG_FROM_RATIO = 10.0  # largest to smallest value
LEGEND_ROWS = 16
HUGE = 1e100  # beyond it the arithmetic of axis limits may overflow


def draw_curve(axes: Axes, x: np.ndarray, y: np.ndarray, label: str) -> None:
    """One line in the next style of the cycle; NaN, infinite and huge values leave a gap."""
    y = np.where(np.abs(y) < HUGE, y, np.nan)
    axes.plot(x, y, label=label, markevery=max(1, len(x) // MARKERS_PER_CURVE))


def label_epochs(axes: Axes) -> None:
    """Whole numbers on the epoch axis, with room around a single epoch."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    left, right = axes.get_xlim()
    if right - left < 1:
        axes.set_xlim(left - 0.5, right + 0.5)


def log_where_wide(axes: Axes) -> None:
    """A logarithmic y axis if the values are positive and span more than LOG_FROM_RATIO."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    values = values[np.isfinite(values)]
    if not values.size or values.min() <= 0 or values.max() < LOG_FROM_RATIO * values.min():
        return
    axes.set_yscale("log")
    if values.max() < 1e3 * values.min() and values.min() > 1e-4 and values.max() < 1e5:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def legend_beside(axes: Axes) -> None:
    """The legend to the right of the axes, in as many columns as it needs."""
    columns = -(-len(axes.get_legend_handles_labels()[1]) // LEGEND_ROWS)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), ncols=columns, handlelength=3.0)


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure as .png or .svg, atomically; the same figure gives the same bytes."""
    kind = path.suffix.removeprefix(".")
    undated = {"metadata": {"Date": None}} if kind == "svg" else {}
    with replace_atomically(path) as file, rc_context({"svg.hashsalt": path.name}):
        figure.savefig(file, format=kind, **undated)
