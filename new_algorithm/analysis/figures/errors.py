"""Confusion matrix, reliability diagram, and the rows of the surest mistakes."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from new_algorithm.analysis.figures import columns
from new_algorithm.record.files import read_csv


def draw_confusion(figure: Figure, path: Path) -> None:
    counts = np.load(path)
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(counts):
        if count:
            axes.text(
                j,
                i,
                str(count),
                ha="center",
                va="center",
                fontsize="x-small",
                color="white" if shares[i, j] > 0.5 else "black",
            )
    ticks = range(len(counts))
    axes.set(xlabel="named", ylabel="class", xticks=ticks, yticks=ticks)
    axes.grid(visible=False)


def draw_reliability(figure: Figure, path: Path) -> None:
    rows = read_csv(path)
    p, accuracy, low, high = columns(rows, "probability", "accuracy", "low", "high")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="tab:gray", marker="", linestyle=":", label="as sure as right")
    # at the ends of [0, 1] an interval begins at the share, to within rounding
    reach = np.maximum(0, [accuracy - low, high - accuracy])
    axes.errorbar(p, accuracy, reach, fmt="o", capsize=2, color="black", label="95% interval")
    axes.set(xlabel="probability of the named class", ylabel="share that is right")
    axes.legend()


def draw_mistakes(figure: Figure, path: Path) -> None:
    pictures = np.load(path)
    told = read_csv(path.with_name("surest_mistakes.csv"))
    for place, (picture, row) in enumerate(zip(pictures, told, strict=True), start=1):
        axes = figure.add_subplot(-(-len(pictures) // 6), 6, place)
        axes.imshow(picture, cmap="Greys", vmin=0, vmax=1)
        axes.set_title(
            f"{row['class']} as {row['named']}, {float(row['probability']):.3f}", fontsize="x-small"
        )
        axes.set_axis_off()
