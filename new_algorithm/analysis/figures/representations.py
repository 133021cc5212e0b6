"""Layers, how alike they are, the last hidden one in two dimensions, and the first's filters."""

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from new_algorithm.plots.style import STYLE_CYCLE
from new_algorithm.record.files import read_csv


def draw_layers(figure: Figure, path: Path) -> None:
    rows = read_csv(path)
    layers = [int(row["layer"]) for row in rows]
    has_probe = "probe_error" in rows[0]
    left, *right = figure.subplots(1, 1 + has_probe, squeeze=False)[0]
    left.plot(layers, [float(row["effective_rank"]) for row in rows], label="effective rank")
    for name in ("units", "dead_units", "always_on"):
        values = np.array([float(row[name]) for row in rows])
        if np.nanmax(values, initial=0) > 0:
            left.plot(layers, values, label=name.replace("_", " "))
    left.set(xlabel="layer", ylabel="number")
    left.set_yscale("symlog", linthresh=1)
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    if has_probe:
        error, standard = (
            np.array([float(row[name]) for row in rows])
            for name in ("probe_error", "standard_error")
        )
        right[0].errorbar(layers, error, standard, fmt="o-", capsize=2, color="black")
        right[0].set(xlabel="layer", ylabel="error of a linear probe", ylim=(0, None))
    for axes in (left, *right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_cka(figure: Figure, path: Path, other: str = "layer") -> None:
    alike = np.load(path)
    axes = figure.add_subplot()
    image = axes.imshow(alike, cmap="Greys", vmin=0, vmax=1, origin="lower")
    axes.set(xlabel=other, ylabel="layer")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, label="CKA")


def draw_cka_beside(figure: Figure, path: Path) -> None:
    draw_cka(figure, path, "layer of the other run")


def draw_projection(figure: Figure, path: Path) -> None:
    rows = read_csv(path)
    classes = sorted({row["class"] for row in rows}, key=lambda name: (len(name), name))
    left, right = figure.subplots(1, 2)
    for axes, one, two in ((left, "component_1", "component_2"), (right, "tsne_1", "tsne_2")):
        _scatter(axes, rows, classes, one, two)
    left.set(xlabel="first principal component", ylabel="second")
    right.set(xlabel="t-SNE, first", ylabel="second")
    if classes != [""]:
        figure.legend(*left.get_legend_handles_labels(), loc="outside right center")


def _scatter(
    axes: Axes, rows: list[dict[str, str]], classes: list[str], one: str, two: str
) -> None:
    for style, name in zip(STYLE_CYCLE, classes, strict=False):
        inside = [(float(row[one]), float(row[two])) for row in rows if row["class"] == name]
        axes.plot(
            *zip(*inside, strict=True),
            color=style["color"],
            marker=style["marker"],
            linestyle="",
            markersize=3.5,
            label=name,
        )


def draw_filters(figure: Figure, path: Path) -> None:
    pictures = np.load(path)
    columns = min(8, len(pictures))
    most = float(np.abs(pictures).max()) or 1.0
    for place, picture in enumerate(pictures, start=1):
        axes = figure.add_subplot(math.ceil(len(pictures) / columns), columns, place)
        if picture.ndim == 3:  # channels: 0 is mid-grey
            axes.imshow(0.5 + picture / (2 * most))
        else:
            axes.imshow(picture, cmap="bwr", vmin=-most, vmax=most)
        axes.set_axis_off()
