"""Spectral densities, blocks of layers, and what changes promised beside what they did."""

import itertools
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from new_algorithm.analysis.figures import columns
from new_algorithm.plots.style import COLOURS, log_where_wide
from new_algorithm.record.files import read_csv

PANELS, COLUMNS = 12, 4  # of layers
SHOWN = 5  # layers whose curves can be told apart
LEAST = 1e-7  # of a density, of its peak: below it is the tail of bumps


def draw_density(figure: Figure, path: Path) -> None:
    rows = read_csv(path)
    kinds = list(dict.fromkeys(row["matrix"] for row in rows))
    for axes, kind in zip(np.ravel(figure.subplots(1, len(kinds))), kinds, strict=True):
        _curve(axes, [row for row in rows if row["matrix"] == kind], "black")
        axes.set(title=kind, xlabel="eigenvalue")
    figure.axes[0].set_ylabel("density")


def draw_densities_of_layers(figure: Figure, path: Path) -> None:
    """A panel a layer, with its own axis of eigenvalues."""
    rows = read_csv(path)
    blocks = list(dict.fromkeys(row["block"] for row in rows))
    kinds = list(dict.fromkeys(row["matrix"] for row in rows))
    shown = [blocks[i] for i in evenly(len(blocks), PANELS)]
    panels = figure.subplots(-(-len(shown) // COLUMNS), min(COLUMNS, len(shown)), squeeze=False)
    for axes, block in itertools.zip_longest(panels.flat, shown):
        if block is None:
            axes.set_visible(False)
            continue
        for kind, colour in zip(kinds, COLOURS, strict=False):
            own = [row for row in rows if (row["block"], row["matrix"]) == (block, kind)]
            if own:
                _curve(axes, own, colour, kind)
        axes.set_title(block)
    figure.supxlabel("eigenvalue", fontsize="medium")
    figure.supylabel("density", fontsize="medium")
    if len(kinds) > 1:
        panels[0, 0].legend()


def _curve(axes: Axes, rows: list[dict[str, str]], colour: str, label: str | None = None) -> None:
    """A density on a logarithmic scale, and a standard error on both sides."""
    at, mean, error = columns(rows, "eigenvalue", "density", "error")
    floor = LEAST * mean.max()
    low, high = (np.maximum(mean + sign * error, floor) for sign in (-1, 1))
    axes.plot(at, np.maximum(mean, floor), color=colour, linestyle="-", marker="", label=label)
    axes.fill_between(at, low, high, color="red", alpha=0.4, linewidth=0)
    axes.set_yscale("log")


def evenly(count: int, most: int) -> list[int]:
    """Return at most `most` of 0 … count − 1, the first and the last among them."""
    return sorted(set(np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()))


def draw_layers(figure: Figure, path: Path) -> None:
    rows = [row for row in read_csv(path) if row["block"] != "all"]
    blocks = list(dict.fromkeys(row["block"] for row in rows))
    kinds = list(dict.fromkeys(row["matrix"] for row in rows))
    titles = ("largest eigenvalue", "largest"), ("trace", "trace")
    for panel, (title, column) in enumerate(titles, start=1):
        axes = figure.add_subplot(1, 2, panel)
        for kind in kinds:
            own = [row for row in rows if row["matrix"] == kind]
            at = [1 + blocks.index(row["block"]) for row in own]
            values, errors = columns(own, column, "trace_error")
            bars = 2 * errors if column == "trace" else None
            axes.errorbar(at, values, bars, label=kind, capsize=2)
        log_where_wide(axes)
        axes.set(title=title, xlabel="layer")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(kinds) > 1 and panel == 1:
            axes.legend()


def draw_decreases(figure: Figure, path: Path) -> None:
    rows = read_csv(path)
    names = list(dict.fromkeys(row["layers"] for row in rows))
    alone = names[1:]
    together, apart = figure.subplots(1, 2, sharey=True)
    own = [row for row in rows if row["layers"] == "all"]
    at, slope, model, gauss_newton, actual = columns(
        own, "step", "slope", "model", "gauss_newton", "actual"
    )
    curves = ("actual", actual), ("model Ḡ ⊗ I", model), ("Gauss–Newton", gauss_newton)
    for label, curve in curves:
        together.plot(at, curve / slope, label=label)
    for name in (alone[i] for i in evenly(len(alone), SHOWN)):
        own = [row for row in rows if row["layers"] == name]
        at, slope, actual = columns(own, "step", "slope", "actual")
        apart.plot(at, actual / slope, label=name)
    at = np.geomspace(at[0], at[-1])
    apart.plot(at, 1 - at / 2, color="tab:gray", linestyle=":", marker="", label="model")
    together.set(title="all layers", ylabel="decrease over η ⟨δW̃, M⟩", ylim=(-1.0, 1.3))
    apart.set(title="one layer alone: actual")
    for axes in (together, apart):
        axes.set(xlabel="step η", xscale="log")
        axes.legend(loc="lower left")
