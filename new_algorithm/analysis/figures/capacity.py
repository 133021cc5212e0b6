"""Margins, and bounds beside the errors that they bound."""

from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from new_algorithm.plots.style import COLOURS, HUGE
from new_algorithm.record.files import read_csv

TINY = 1e-100  # a normalised margin below which an axis of them has no numbers


def draw_margins(figure: Figure, path: Path) -> None:
    rows = read_csv(path)
    margin, normalised, train, held_out = (
        np.array([float(row[name]) for row in rows])
        for name in ("margin", "normalised_margin", "train_share", "held_out_share")
    )
    axes = figure.add_subplot()
    axes.plot(margin, train, marker="", drawstyle="steps-mid", label="training rows")
    axes.plot(margin, held_out, marker="", drawstyle="steps-mid", label="held-out rows")
    axes.axvline(0, color="tab:gray", marker="", linestyle=":", linewidth=1)
    axes.set(xlabel="margin", ylabel="share of rows")
    largest = float(np.abs(normalised).max())
    unit = float(np.abs(margin).max()) / largest if largest > TINY else 1.0
    if unit != 1:
        functions = (partial(np.multiply, 1 / unit), partial(np.multiply, unit))
        above = axes.secondary_xaxis("top", functions=functions)
        above.set_xlabel("normalised margin")
    axes.legend()


def draw_bounds(figure: Figure, path: Path) -> None:
    rows = read_csv(path)
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    values = [min(float(row["value"]), HUGE) for row in rows]
    says = [row["says_anything"] == "yes" for row in rows]
    axes.barh(places, values, height=0.5, color=[COLOURS[5] if s else COLOURS[0] for s in says])
    axes.axvline(1, color="red", marker="", linestyle="--", label="1: says nothing from here on")
    measured = float(rows[0]["held_out_error"])
    label = "error on held-out rows"
    axes.axvline(measured, color="blue", marker="", linestyle="-.", label=label)
    axes.set(
        xscale="log",
        xlabel="bound on the error",
        yticks=places,
        xlim=(max(measured, 1e-3) / 3, None),
    )
    axes.set_yticklabels([row["bound"] for row in rows])
    axes.invert_yaxis()
    axes.legend(loc="upper center", bbox_to_anchor=(0.3, -0.2), ncols=2)
