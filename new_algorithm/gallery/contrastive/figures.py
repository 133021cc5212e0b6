"""The figure of a contrastive run, drawn from its record."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from new_algorithm.plots.style import STYLE_CYCLE, draw_curve, label_epochs
from new_algorithm.record.files import read_csv
from new_algorithm.record.history import read_series

EFFICIENCY_FILE = "label_efficiency.csv"
READ_OUTS = {"probe": "linear probe", "knn": "nearest neighbours"}
GEOMETRY = "alignment", "uniformity"


def draw_label_efficiency(figure: Figure, path: Path) -> None:
    """Accuracy against labels by either read-out; alignment and uniformity over the epochs."""
    panels = figure.subplots(1, 3)
    panels[1].sharey(panels[0])
    rows = read_csv(path)
    for axes, (read_out, title) in zip(panels, READ_OUTS.items(), strict=False):
        for features in dict.fromkeys(row["features"] for row in rows):
            own = [row for row in rows if row["features"] == features]
            x, y = (
                np.array([float(row[name]) for row in own])
                for name in ("labels", f"{read_out}_accuracy_fraction")
            )
            draw_curve(axes, x, y, features)
        axes.set_xscale("log")
        axes.set(title=title, xlabel="labels")
    panels[0].set_ylabel("accuracy (fraction)")
    panels[0].legend()
    _draw_geometry(panels[2], path.parent)


def _draw_geometry(axes: Axes, record: Path) -> None:
    series = read_series(record)
    axes.set(title="embeddings of held-out rows", ylabel="alignment")
    beside = axes.twinx()
    beside.set_ylabel("uniformity")
    for side, name, style in zip((axes, beside), GEOMETRY, STYLE_CYCLE, strict=False):
        side.set_prop_cycle(**{key: [value] for key, value in style.items()})
        draw_curve(side, series["epoch"], series[name], name)
    label_epochs(axes)
    axes.legend(handles=[*axes.lines, *beside.lines])


TABLES = {EFFICIENCY_FILE: (draw_label_efficiency, (13.0, 4.2))}
