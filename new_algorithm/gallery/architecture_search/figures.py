"""Drawings of cells and of α, from the tables of a run."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path as Curve

from new_algorithm.gallery.architecture_search.genotypes import KINDS
from new_algorithm.gallery.architecture_search.operations import NAMES
from new_algorithm.plots.style import COLOURS, draw_curve, label_epochs, legend_beside
from new_algorithm.record.files import read_csv

CELLS_FILE = "cells.csv"  # seed, cells, kind, target, source, operation
ALPHAS_FILE = "alphas.csv"  # seed, epoch, kind, source, target, operation, share
NODE_RADIUS = 0.12
COLOUR_OF = dict(zip(NAMES, COLOURS, strict=False))


def draw_cells(figure: Figure, path: Path) -> None:
    """The first seed's cells: kinds below each other, derived beside random.

    Nodes are numbered as in the table, 0 and 1 the outputs of the two cells before; a cell's own
    output is its other nodes side by side.
    """
    rows = read_csv(path)
    rows = [row for row in rows if row["seed"] == rows[0]["seed"]]
    origins = list(dict.fromkeys(row["cells"] for row in rows))
    panels = figure.subplots(len(KINDS), len(origins), squeeze=False)
    for line, kind in zip(panels, KINDS, strict=True):
        for axes, origin in zip(line, origins, strict=True):
            edges = [row for row in rows if (row["kind"], row["cells"]) == (kind, origin)]
            axes.set_title(f"{origin} {kind} cell")
            _draw_graph(axes, edges)


def _draw_graph(axes: Axes, edges: list[dict[str, str]]) -> None:
    """Nodes on a line, and the two edges into each as arcs, one above and one below."""
    last = max(int(edge["target"]) for edge in edges)
    above: dict[str, bool] = {}
    for edge in edges:
        above[edge["target"]] = edge["target"] not in above
        _draw_edge(axes, edge, 1 if above[edge["target"]] else -1)
    box = {"boxstyle": "circle", "fc": "white", "ec": "black"}
    for node in range(last + 1):
        axes.text(node, 0, str(node), ha="center", va="center", bbox=box, zorder=4)
    axes.set_axis_off()
    axes.set_xlim(-0.3, last + 0.3)
    axes.set_ylim(-0.55 * last, 0.55 * last)


def _draw_edge(axes: Axes, edge: dict[str, str], side: int) -> None:
    """A parabola with the operation's name at its top and an arrow's head at the target."""
    source, target = int(edge["source"]), int(edge["target"])
    height = side * (0.5 * (target - source) - 0.1)
    t = np.linspace(0, 1, 101)
    x, y = source + (target - source) * t, 4 * t * (1 - t) * height
    kept = np.hypot(x - target, y) > NODE_RADIUS
    colour = COLOUR_OF[edge["operation"]]
    curve = Curve(np.stack([x, y], 1)[kept])
    axes.add_patch(FancyArrowPatch(path=curve, color=colour, arrowstyle="-|>", mutation_scale=12))
    box = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none"}
    name = edge["operation"].replace("_", " ").replace(" pool", "").replace("x3", "×3")
    name = name.replace("x5", "×5")
    text = axes.text((source + target) / 2, height, name, color=colour, fontsize=8, bbox=box)
    text.set(ha="center", va="center", zorder=3)


def draw_alphas(figure: Figure, path: Path) -> None:
    """The first seed's softmax of α: over the epochs, mean of the edges, and each edge at last."""
    rows = read_csv(path)
    rows = [row for row in rows if row["seed"] == rows[0]["seed"]]
    epochs = sorted({int(row["epoch"]) for row in rows})
    panels = figure.subplots(len(KINDS), 2)
    for (left, right), kind in zip(panels, KINDS, strict=True):
        own = [row for row in rows if row["kind"] == kind]
        edges = list(dict.fromkeys(f"{row['source']}→{row['target']}" for row in own))
        share = np.array([float(row["share"]) for row in own])
        share = share.reshape(len(epochs), len(edges), len(NAMES))
        for name, curve in zip(NAMES, share.mean(1).T, strict=True):
            draw_curve(left, np.array(epochs), curve, name)
        left.set(title=f"{kind} cell", ylabel="share, mean of edges")
        label_epochs(left)
        legend_beside(left)
        image = right.imshow(share[-1].T, aspect="auto", cmap="viridis")
        right.set_xticks(range(len(edges)), edges, rotation=90)
        right.set_yticks(range(len(NAMES)), NAMES)
        right.grid(visible=False)
        right.set_title(f"shares after epoch {epochs[-1]}")
        figure.colorbar(image, ax=right)


# for each table: the function that draws it, and the figure's size in inches
TABLES = {CELLS_FILE: (draw_cells, (14.0, 8.0)), ALPHAS_FILE: (draw_alphas, (14.0, 8.0))}
