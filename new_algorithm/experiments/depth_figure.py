"""Accuracy and train loss against depth, several methods."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from new_algorithm.experiments.experiment import Task
from new_algorithm.experiments.record_tables import ExperimentRecord
from new_algorithm.record.files import read_csv

DEPTH_FILE = "depth.csv"  # method, hidden_layers, accuracy, accuracy_sd, train_loss, train_loss_sd


def draw_depth_file(figure: Figure, path: Path) -> None:
    """Draw the rows of a recorded table."""
    draw_depth(figure, read_csv(path))


def draw_depth(figure: Figure, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw mean and standard deviation over seeds of each method: accuracy, and train loss."""
    panels = figure.subplots(1, 2)
    for axes, name, label in zip(
        panels, ("accuracy", "train_loss"), ("test accuracy", "train loss (nats)"), strict=True
    ):
        for method in dict.fromkeys(row["method"] for row in rows):
            lines = [row for row in rows if row["method"] == method]
            depths, mean, sd = (
                np.array([float(row[column]) for row in lines])
                for column in ("hidden_layers", name, f"{name}_sd")
            )
            below = np.minimum(sd, 0.9 * mean)  # a logarithmic axis ends above zero
            axes.errorbar(depths, mean, [below, sd], label=method, capsize=3)
        ticks = sorted({int(row["hidden_layers"]) for row in rows})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("hidden layers")
        axes.set_ylabel(label)
    panels[1].set_yscale("log")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))


def depth_rows(record: ExperimentRecord) -> list[dict[str, Any]]:
    """Return the rows to draw, none unless the tasks differ in nothing but depth and cost."""
    tasks = [task for task in record.experiment.tasks if isinstance(task, Task)]
    alike = {(task.dataset, *sorted(set(task.widths))) for task in tasks}
    depths = {len(task.widths) for task in tasks}
    if len(alike) != 1 or len(depths) < max(2, len(tasks)) or tasks[0].metrics[0] != "accuracy":
        return []
    rows = []
    for task, variation in product(tasks, record.experiment.variations):
        row = {"method": variation.name, "hidden_layers": len(task.widths)}
        for name, column in (("accuracy", "test_accuracy"), ("train_loss", "train_loss")):
            if values := [*record.values(task.name, variation.name, column).values()]:
                row[name] = np.mean(values)
                row[f"{name}_sd"] = np.std(values, ddof=1) if len(values) > 1 else 0.0
        if "accuracy" in row and "train_loss" in row:
            rows.append(row)
    return rows
