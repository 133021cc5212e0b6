"""Figures of transformers: bits against steps and time, and what each scale contributes."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from new_algorithm.plots.style import draw_curve, legend_beside

BITS_FILE = "bits.csv"  # steps, cpu_seconds, train_bits, held_out_bits
SHARES_FILE = "scale_shares.csv"  # steps, layer, scale_1, scale_4, ...


def draw_bits(figure: Figure, path: Path) -> None:
    """Draw the bits a prediction costs, on training rows and unseen ones."""
    rows = np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True))
    panels = figure.subplots(1, 2, sharey=True)
    labels = {"steps": "steps", "cpu_seconds": "training CPU time (s)"}
    for axes, (name, label) in zip(panels, labels.items(), strict=True):
        for part in ("train", "held_out"):
            draw_curve(axes, rows[name], rows[f"{part}_bits"], part.replace("_", " "))
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
    panels[0].set_ylabel("bits a prediction")
    legend_beside(panels[-1])


def draw_shares(figure: Figure, path: Path) -> None:
    """Draw the share of each scale, or of each level of a hierarchy, a panel a layer."""
    rows = np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True))
    names, layers = rows.dtype.names or (), np.unique(rows["layer"])
    panels = figure.subplots(1, len(layers), sharey=True, squeeze=False)[0]
    for axes, layer in zip(panels, layers, strict=True):
        axes.set_title(f"layer {layer:.0f}")
        of_layer = rows[rows["layer"] == layer]
        for name in names[2:]:
            draw_curve(axes, of_layer["steps"], of_layer[name], name.replace("_", " "))
        axes.set_ylim(0, 1)
        axes.set_xlabel("steps")
    panels[0].set_ylabel("share (mean over heads and places)")
    legend_beside(panels[-1])


TABLES = {BITS_FILE: (draw_bits, (10.0, 4.2)), SHARES_FILE: (draw_shares, (10.0, 4.2))}
