"""Means over seeds with 95% bands, against epochs, CPU seconds and samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from numpy.typing import NDArray

from new_algorithm.evidence.experiment import Task
from new_algorithm.evidence.quantities import TRAIN_LOSS, Quantity, metric
from new_algorithm.evidence.record_tables import ExperimentRecord, number
from new_algorithm.evidence.statistics import summarise
from new_algorithm.lab.curves import log_where_wide

X_AXES = (("epoch", "epoch"), ("train_cpu_seconds", "CPU seconds"), ("samples", "samples"))
LOG_FROM_RATIO = 20.0  # longest to shortest curve
MARKERS_PER_CURVE = 6
FAR = 4.0  # times the middle distance from the best end: such a curve would squash the others
ROOM = 2.5  # of those distances, below the best end


@dataclass(frozen=True)
class Curve:
    """A quantity after each epoch, (epochs,) each; low and high are NaN for a single run."""

    x: NDArray
    mean: NDArray
    low: NDArray
    high: NDArray
    broken: bool  # a run ended before the others


def mean_curve(
    record: ExperimentRecord, task: Task, variation: str, x: str, quantity: Quantity
) -> Curve | None:
    """Mean and 95% t interval over the runs that reached each epoch; x is their mean too."""
    by_epoch: dict[int, list[tuple[float, float]]] = {}
    for row in record.curves.get((task.name, variation), ()):
        value = number(row[quantity.column])
        if value is not None:
            by_epoch.setdefault(int(row["epoch"]), []).append((float(row[x]), value))
    if not by_epoch:
        return None
    points = [by_epoch[epoch] for epoch in sorted(by_epoch)]
    summaries = [summarise([value for _, value in point]) for point in points]
    ends = np.array([(s.mean, s.low, s.high) for s in summaries], dtype=float)  # None: NaN
    at = np.array([np.mean([place for place, _ in point]) for point in points])
    return Curve(at, *ends.T, broken=len(points[-1]) < len(points[0]))


def draw_learning_curves(
    figure: Figure,
    record: ExperimentRecord,
    task: Task,
    variations: Sequence[str],
    styles: Mapping[str, dict[str, str]],
) -> None:
    """Two rows of panels, the deciding metric on validation and the train loss; one legend."""
    quantities = (metric(task.metrics[0], "validation"), TRAIN_LOSS)
    panels = figure.subplots(2, len(X_AXES), sharex="col", sharey="row")
    for row, quantity in zip(panels, quantities, strict=True):
        for axes, (x, _) in zip(row, X_AXES, strict=True):
            curves = {
                name: curve
                for name in variations
                if (curve := mean_curve(record, task, name, x, quantity))
            }
            for name, curve in curves.items():
                _draw(axes, curve, name, styles[name])
            _scale_x(axes, curves.values())
        _scale_y(row[0], quantity, curves.values())
        row[0].set_ylabel(quantity.name)
    for axes, (_, label) in zip(panels[1], X_AXES, strict=True):
        axes.set_xlabel(label)
    handles, labels = panels[1, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=min(4, len(labels)), handlelength=3.0
    )


def _draw(axes: Axes, curve: Curve, name: str, style: dict[str, str]) -> None:
    axes.plot(
        curve.x,
        curve.mean,
        label=name,
        markevery=max(1, len(curve.x) // MARKERS_PER_CURVE),
        **style,
    )
    axes.fill_between(curve.x, curve.low, curve.high, color=style["color"], alpha=0.15, lw=0)


def _scale_x(axes: Axes, curves: Sequence[Curve]) -> None:
    """From zero, or logarithmic where the curves' lengths are of different orders."""
    ends = [curve.x[-1] for curve in curves if curve.x[-1] > 0]
    if ends and max(ends) > LOG_FROM_RATIO * min(ends):
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0.0)


def _scale_y(axes: Axes, quantity: Quantity, curves: Sequence[Curve]) -> None:
    if quantity.less_is_better:
        log_where_wide(axes)
        return
    bottom, top = shown_range([curve.mean for curve in curves])
    low, high = axes.get_ylim()
    if bottom > low:
        axes.set_ylim(bottom, min(high, top))
        axes.text(
            0.98,
            0.03,
            f"cut off below {bottom:.3g}",
            transform=axes.transAxes,
            ha="right",
            fontsize="small",
            style="italic",
        )
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.4g}"))


def shown_range(means: Sequence[NDArray]) -> tuple[float, float]:
    """Where the ends of the good curves lie, with room below: a bad one must not squash them.

    means: each curve's, of a score of which more is better.
    """
    if not means:
        return -np.inf, np.inf
    ends = np.array([mean[-1] for mean in means])
    distances = ends.max() - ends
    near = distances <= FAR * np.median(distances)
    reach = ROOM * max(distances[near].max(), 0.02)
    return ends.max() - reach, max(mean.max() for mean in means) + 0.15 * reach
