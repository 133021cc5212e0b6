"""Contours of loss on two planes, the path of the training on one of them, and losses on lines."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from new_algorithm.plots.style import COLOURS, log_where_wide
from new_algorithm.record.files import read_csv

LEVELS = 12
APART = 0.05  # of the axes' width or height: labels of epochs that are nearer are left out


def draw_random(figure: Figure, path: Path) -> None:
    axes = figure.add_subplot()
    _contours(figure, axes, path)
    axes.plot(0, 0, "*", color="blue", markersize=11)
    axes.set(xlabel="first direction, lengths of filters", ylabel="second direction")
    axes.xaxis.set_major_locator(MultipleLocator(0.5))
    axes.yaxis.set_major_locator(MultipleLocator(0.5))
    axes.set_aspect("equal")


def draw_path(figure: Figure, path: Path) -> None:
    axes = figure.add_subplot()
    _contours(figure, axes, path)
    steps = read_csv(path.with_name("path.csv"))
    places = np.array([[float(row[name]) for name in "ab"] for row in steps])
    axes.plot(*places.T, color="blue", marker="o", linestyle="-")
    axes.plot(*places[-1], "*", color="blue", markersize=11)
    size = np.ptp([axes.get_xlim(), axes.get_ylim()], axis=1)
    named: list[np.ndarray] = []
    for row, place in zip(reversed(steps), reversed(places), strict=True):
        if all((np.abs(place - other) / size).max() > APART for other in named):
            named.append(place)
            axes.annotate(
                row["epoch"], place, xytext=(5, 5), textcoords="offset points", color="blue"
            )
    axes.set(xlabel="first principal direction", ylabel="second principal direction")


def draw_slices(figure: Figure, path: Path) -> None:
    rows = read_csv(path)
    lines = list(dict.fromkeys(row["line"] for row in rows))
    scores = [one for one in ("loss", "accuracy") if any(n.endswith(one) for n in rows[0])]
    panels = figure.subplots(1, len(scores), squeeze=False)[0]
    for axes, score in zip(panels, scores, strict=True):
        names = [name for name in rows[0] if name.endswith(score)]
        for line, colour in zip(lines, COLOURS, strict=False):
            some = [row for row in rows if row["line"] == line]
            for name, style in zip(names, ("-", "--"), strict=True):
                t, values = (np.array([float(row[key]) for row in some]) for key in ("t", name))
                axes.plot(t, values, color=colour, linestyle=style, marker="")
        if score == "loss":
            log_where_wide(axes)
        axes.set(xlabel="t", ylabel=score)
    handles = [
        Line2D([], [], color=colour, marker="", linestyle="-", label=line)
        for line, colour in zip(lines, COLOURS, strict=False)
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))


def _contours(figure: Figure, axes: Axes, path: Path) -> None:
    """Levels of train loss in black over shades of grey, of held-out loss in red and dashed: the
    same levels, each a constant factor above the last, drawn between logarithms."""
    rows = read_csv(path)
    names = [name for name in rows[0] if name.endswith("_loss")]
    a, b = (sorted({float(row[name]) for row in rows}) for name in "ab")
    train, held_out = (
        np.ma.log10(
            np.ma.masked_invalid([float(row[name]) for row in rows]).reshape(len(a), len(b)).T
        )
        for name in names
    )
    low, high = min(train.min(), held_out.min()), max(train.max(), held_out.max())
    levels = np.linspace(low, max(high, low + 0.01), LEVELS + 1)

    def written(level: float, _: object = None) -> str:
        return f"{float(f'{10**level:.3g}'):g}"

    shades = axes.contourf(
        a, b, train, levels, cmap="Greys", vmax=levels[-1] + 0.3 * np.ptp(levels)
    )
    lines = axes.contour(
        a, b, train, levels[1:-1], colors="black", linestyles="solid", linewidths=0.9
    )
    axes.clabel(lines, fmt=written, fontsize="x-small")
    axes.contour(a, b, held_out, levels[1:-1], colors="red", linestyles="dashed", linewidths=0.9)
    figure.colorbar(shades, ax=axes, format=written, ticks=levels, label="train loss")
    train_name, held_out_name = (name.removesuffix("_loss") for name in names)
    handles = [
        Line2D([], [], color="black", marker="", linestyle="-", label=train_name),
        Line2D([], [], color="red", marker="", linestyle="--", label=held_out_name),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2)
    axes.grid(visible=False)
