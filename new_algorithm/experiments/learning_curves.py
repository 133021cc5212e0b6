"""Means over seeds with 95% bands, against epochs, CPU seconds and samples."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from new_algorithm.experiments.experiment import AnyTask, Task
from new_algorithm.experiments.quantities import TRAIN_LOSS, Quantity, scored_quantities
from new_algorithm.experiments.record_tables import ExperimentRecord
from new_algorithm.experiments.statistics import summarise
from new_algorithm.plots.style import plain_log_ticks

X_AXES = {"epoch": "epoch", "train_cpu_seconds": "CPU seconds", "samples": "samples"}
LOG_FROM_RATIO = 5.0  # longest to shortest curve
LOG_LOSS_FROM_RATIO = 3.0  # largest to smallest loss
MARKERS_PER_CURVE = 6
LEGEND_WIDTH, LEGEND_LINE = 150, 9  # of the figure, and of a line with its space, in letters
FAR = 4.0  # times the middle distance from the best end: such a curve would flatten the others
ROOM = 4.0  # of the largest distance that is not far, below the best end
LEAST_REACH = 0.02  # of that axis, as a score
MOST_LOSS = 30.0  # times the middle of the curves' largest losses


class Curve(NamedTuple):
    """A quantity after each epoch, (epochs,) each; low and high are NaN for a single run."""

    x: NDArray
    mean: NDArray
    low: NDArray
    high: NDArray
    ended: NDArray  # epochs, from 0, after which fewer runs go on


def mean_curve(
    record: ExperimentRecord, task: AnyTask, variation: str, x: str, quantity: Quantity
) -> Curve | None:
    """Mean and 95% t interval over the runs that reached each epoch; x is their mean too.

    A whole epoch is as many of the task's as a pass has, where those are parts of one.
    """
    unit = 1
    if x == "epoch" and isinstance(task, Task) and variation in record.experiment.whole_epochs:
        unit = task.parts
    by_epoch: dict[int, list[tuple[float, float]]] = {}
    for row in record.curves.get((task.name, variation), ()):
        at, value = row[x], row.get(quantity.column)  # a metric of a run's end has no column
        if at is not None and value is not None:
            by_epoch.setdefault(row["epoch"], []).append((unit * at, value))
    if not by_epoch:
        return None
    points = [np.array(by_epoch[epoch]) for epoch in sorted(by_epoch)]  # (runs, 2) each
    summaries = [summarise(point[:, 1]) for point in points]
    ends = np.array([(one.mean, one.low, one.high) for one in summaries], dtype=float)  # None: NaN
    mean, low, high = ends.T
    ended = np.flatnonzero(np.diff([len(point) for point in points]) < 0)
    return Curve(np.array([point[:, 0].mean() for point in points]), mean, low, high, ended)


def draw_learning_curves(
    figure: Figure,
    record: ExperimentRecord,
    task: AnyTask,
    variations: Sequence[str],
    styles: Mapping[str, dict[str, str]],
) -> None:
    """Rows of panels, a metric on held-out rows and the train loss, a column for each of X_AXES.

    The metric is the first of the task's of which there are curves: some are of a run's end alone.
    A quantity or an axis that no run recorded is left out.
    """
    quantities = scored_quantities(task, task.followed)
    drawn = {
        (quantity, x): curves
        for quantity, x in product(quantities, X_AXES)
        if (curves := _curves(record, task, variations, x, quantity))
    }
    if not drawn:
        return
    rows, columns = (list(dict.fromkeys(names)) for names in zip(*drawn, strict=True))
    rows = [row for row in rows if row in (rows[0], TRAIN_LOSS)]
    panels = figure.subplots(len(rows), len(columns), sharex="col", sharey="row", squeeze=False)
    for row, quantity in zip(panels, rows, strict=True):
        for axes, x in zip(row, columns, strict=True):
            curves = drawn.get((quantity, x), {})
            for name, curve in curves.items():
                _draw(axes, curve, name, styles[name])
            _scale_x(axes, [*curves.values()], x)
        _scale_y(row[0], quantity, [curve.mean for curve in curves.values()])
    for axes, x in zip(panels[-1], columns, strict=True):
        axes.set_xlabel(X_AXES[x])
    handles, labels = panels[-1, 0].get_legend_handles_labels()
    beside = LEGEND_WIDTH // (LEGEND_LINE + max(map(len, labels), default=0))
    beside = min(max(1, beside), max(1, len(labels)))
    figure.legend(handles, labels, loc="outside upper center", ncols=beside, handlelength=3.0)


def _curves(
    record: ExperimentRecord, task: AnyTask, variations: Sequence[str], x: str, quantity: Quantity
) -> dict[str, Curve]:
    """The curves that there are, by variation."""
    found = {name: mean_curve(record, task, name, x, quantity) for name in variations}
    return {name: curve for name, curve in found.items() if curve is not None}


def _draw(axes: Axes, curve: Curve, name: str, style: Mapping[str, Any]) -> None:
    every = max(1, len(curve.x) // MARKERS_PER_CURVE)
    axes.plot(curve.x, curve.mean, label=name, markevery=every, **style)
    axes.fill_between(curve.x, curve.low, curve.high, color=style["color"], alpha=0.15, lw=0)
    at = curve.ended
    axes.plot(curve.x[at], curve.mean[at], "x", color="black", ms=7, mew=1.6, zorder=3)


def _scale_x(axes: Axes, curves: Sequence[Curve], x: str) -> None:
    """From zero, or logarithmic where the curves' lengths are of different orders."""
    ends = [curve.x[-1] for curve in curves if curve.x[-1] > 0]
    if ends and max(ends) > LOG_FROM_RATIO * min(ends):
        axes.set_xscale("log")
        plain_log_ticks(axes.xaxis)
    else:
        axes.set_xlim(left=0.0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=x == "epoch"))
    if x == "samples":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _scale_y(axes: Axes, quantity: Quantity, means: Sequence[NDArray]) -> None:
    """Show the good curves, and say in the label where one is cut off."""
    if not means:
        return
    bottom, top = loss_range(means) if quantity.less_is_better else score_range(means)
    if quantity.less_is_better and bottom > 0 and top > LOG_LOSS_FROM_RATIO * bottom:
        axes.set_yscale("log")
        plain_log_ticks(axes.yaxis)
    axes.set_ylim(bottom, top)
    label, shown = quantity.name, np.concatenate(means)
    if shown.min() < bottom:
        label += f"\n(cut off below {bottom:.3g})"
    if shown.max() > top:
        label += f"\n(cut off above {top:.3g})"
    axes.set_ylabel(label)


def score_range(means: Sequence[NDArray]) -> tuple[float, float]:
    """Return a range around the ends of the good curves, which a bad one must not flatten.

    means: each curve's, of a score of which more is better.
    """
    ends = np.array([mean[-1] for mean in means])
    distances = ends.max() - ends
    near = distances <= FAR * np.median(distances)
    highest = max(mean.max() for mean in means)
    reach = max(ROOM * distances[near].max(), LEAST_REACH)
    bottom = max(ends.max() - reach, min(mean.min() for mean in means) - 0.05 * reach)
    return bottom, highest + 0.1 * (highest - bottom)


def loss_range(means: Sequence[NDArray]) -> tuple[float, float]:
    """All losses, but for those far above the others, with some room in their logarithm."""
    largest = [mean.max() for mean in means]
    top = min(max(largest), MOST_LOSS * float(np.median(largest)))
    return min(mean.min() for mean in means) / 1.2, 1.2 * top
