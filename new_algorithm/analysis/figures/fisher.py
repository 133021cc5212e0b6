"""Traces of the Fisher information by layer, and how few parameters hold most of it."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from new_algorithm.analysis.figures import column, columns
from new_algorithm.record.files import read_csv

KINDS = {"true": "true", "empirical": "empirical", "sketch": "sketch of a batch"}


def draw_traces(figure: Figure, path: Path) -> None:
    rows = read_csv(path)
    axes = figure.add_subplot()
    lines = {
        kind: axes.plot(column(rows, "layer"), column(rows, kind), label=KINDS[kind])[0]
        for kind in KINDS
    }
    for kind, line in lines.items():
        error = np.nan_to_num(column(rows, f"{kind}_error"))  # none of a single batch
        axes.errorbar(
            column(rows, "layer"),
            column(rows, kind),
            error,
            fmt="none",
            capsize=2,
            ecolor=line.get_color(),
        )
    axes.plot(
        column(rows, "layer"),
        column(rows, "sketch_expected"),
        color="tab:gray",
        linestyle="-",
        linewidth=6,
        alpha=0.4,
        marker="",
        label="mean² + variance/B",
    )
    axes.set(xlabel="layer", ylabel="trace, a row", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()


def draw_diagonals(figure: Figure, path: Path) -> None:
    rows = read_csv(path)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, kind in zip(panels, ("true", "empirical"), strict=True):
        own = [row for row in rows if row["fisher"] == kind]
        low, lower, median, upper, high = columns(own, "1%", "25%", "50%", "75%", "99%")
        layers = column(own, "layer")
        axes.vlines(layers, low, high, color="tab:gray", linewidth=1)
        axes.vlines(layers, lower, upper, color="blue", linewidth=4)
        axes.plot(layers, median, color="black", linestyle="none", marker="o")
        axes.set(title=f"{kind} Fisher information", xlabel="layer")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_ylabel("log₁₀ of a diagonal's entries")


def draw_shares(figure: Figure, path: Path) -> None:
    parameters, trace = np.load(path).T
    axes = figure.add_subplot()
    axes.plot(parameters, trace, color="black", marker="")
    axes.plot(parameters, parameters, color="tab:gray", linestyle=":", marker="", label="all alike")
    axes.set(
        xscale="log",
        ylim=(0, 1.02),
        xlabel="share of parameters, the largest first",
        ylabel="share of the trace",
    )
    axes.legend()
