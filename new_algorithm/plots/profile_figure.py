"""The figure of a profile: phases, layers, and rates beside the machine's, from its tables."""

import csv
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from new_algorithm.plots.style import COLOURS

PROFILE_FILE = "profile.csv"  # beside which profile_phases.csv and profile_layers.csv lie
PROFILE_SIZE = (14.0, 5.0)  # inches
DRAWN = 12  # phases, and layers

Rows = list[dict[str, str]]


def draw_profile(figure: Figure, path: Path) -> None:
    """Draw what the tables of the folder of `path` hold, times in milliseconds a step."""
    phases = _read(path.with_name("profile_phases.csv"))[:DRAWN]
    layers = _read(path.with_name("profile_layers.csv"))
    layers = sorted(layers, key=lambda row: -float(row["all_ms"]))[:DRAWN]
    left, middle, right = figure.subplots(1, 3)
    _draw_phases(left, phases)
    colours = {row["phase"]: colour for row, colour in zip(phases, COLOURS * 2, strict=False)}
    if layers:
        _draw_layers(middle, _in_order(layers), colours)
    else:
        middle.set_axis_off()
    _draw_rates(right, _in_order(layers) or phases, "layer" if layers else "phase")


def _draw_phases(axes: Axes, phases: Rows) -> None:
    names = [row["phase"] for row in phases]
    axes.barh(names, [float(row["ms"]) for row in phases], color=[*COLOURS * 2][: len(names)])
    axes.invert_yaxis()
    axes.set(title="phases", xlabel="ms a step")


def _draw_layers(axes: Axes, layers: Rows, colours: dict[str, str]) -> None:
    names, ends = [row["layer"] for row in layers], [0.0] * len(layers)
    spare = iter(COLOURS[::-1])
    for column in (column for column in layers[0] if column.endswith(" ms")):
        phase = column.removesuffix(" ms")
        lengths = [float(row[column]) for row in layers]
        colour = colours.get(phase) or next(spare)
        axes.barh(names, lengths, left=ends, label=phase, color=colour)
        ends = [end + length for end, length in zip(ends, lengths, strict=True)]
    axes.invert_yaxis()
    axes.set(title="layers", xlabel="ms a step")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)


def _draw_rates(axes: Axes, rows: Rows, name: str) -> None:
    names = [row[name] for row in rows]
    if name == "layer":
        rates = [float(row["machine_gflops"]) for row in rows]
        axes.barh(names, rates, color="tab:gray", alpha=0.4, label="the machine, this product")
    label = "achieved in all of it"
    axes.barh(names, [float(row["gflops"]) for row in rows], height=0.5, color="red", label=label)
    axes.invert_yaxis()
    axes.set(title="products", xlabel="GFLOP/s")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12))


def _in_order(rows: Rows) -> Rows:
    return sorted(rows, key=lambda row: int(row["number"]))


def _read(path: Path) -> Rows:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [row | {"number": str(place)} for place, row in enumerate(csv.DictReader(file))]
