"""Figure of accuracy and train loss against depth, several methods, from a run's recorded file."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from new_algorithm.record.files import read_csv

DEPTH_FILE = "depth.csv"  # method, hidden_layers, accuracy, accuracy_sd, train_loss, train_loss_sd


def draw_depth(figure: Figure, path: Path) -> None:
    """Draw mean and standard deviation over seeds of each method: accuracy, and train loss."""
    rows = read_csv(path)
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
        depths = sorted({int(row["hidden_layers"]) for row in rows})
        axes.set_xscale("log")
        axes.set_xticks(depths, [str(depth) for depth in depths])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("hidden layers of 64 units")
        axes.set_ylabel(label)
    panels[1].set_yscale("log")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
