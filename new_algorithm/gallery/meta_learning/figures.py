"""Pictures of adaptation, drawn from what a run has recorded."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from new_algorithm.plots.style import draw_curve, legend_beside, log_where_wide

CURVES_FILE = "adapted_curves.csv"  # task, curve, x, y
STEPS_FILE = "adaptation.csv"  # steps, loss, loss_half_interval, of classes accuracy too
GIVEN = "given"


def draw_curves(figure: Figure, path: Path) -> None:
    """Draw a panel a task: the curves by name, the given points as crosses."""
    rows = np.genfromtxt(path, delimiter=",", names=True, dtype=None, encoding="utf-8")
    tasks = np.unique(rows["task"])
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=True):
        of_task = rows[rows["task"] == task]
        for name in dict.fromkeys(of_task["curve"]):
            x, y = (of_task[of_task["curve"] == name][column] for column in ("x", "y"))
            if name == GIVEN:
                axes.plot(x, y, "x", color="black", markersize=8, markeredgewidth=2, label=name)
            else:
                draw_curve(axes, x, y, name)
        axes.set_title(f"held-out task {task}")
        axes.set_xlabel("x")
    panels[0].set_ylabel("y")
    legend_beside(panels[-1])


def draw_adaptation(figure: Figure, path: Path) -> None:
    """Draw loss, and accuracy of classes, of held-out tasks after 0, 1, … steps."""
    rows = np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True))
    names = [name for name in ("loss", "accuracy") if name in (rows.dtype.names or ())]
    panels: Sequence = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        draw_curve(axes, rows["steps"], rows[name], name)
        if name == "loss":
            low, high = (rows["loss"] + sign * rows["loss_half_interval"] for sign in (-1, 1))
            axes.fill_between(rows["steps"], low, high, color="black", alpha=0.15, linewidth=0)
            log_where_wide(axes)
        axes.set_xlabel("steps on a task's rows")
        axes.set_ylabel(f"{name} on its new rows")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


# for each table: the function that draws it, and the figure's size in inches
TABLES = {CURVES_FILE: (draw_curves, (12.0, 3.6)), STEPS_FILE: (draw_adaptation, (9.0, 3.6))}
