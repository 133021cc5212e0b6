"""Figure of a search for settings: what mattered, and every trial, from a run's recorded file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from new_algorithm.experiments.search import FEWEST_TRIALS, importances, is_scale
from new_algorithm.record.files import read_csv

SEARCH_FILE = "search_trials.csv"  # trial, value, state, cpu_seconds, epochs, settings
PANELS_IN_A_ROW = 3
JITTER = 0.15  # to either side of a category's place
BELOW = 0.08  # of the values' span: how far below the worst the diverged trials are marked


def draw_search(figure: Figure, path: Path) -> None:
    """Draw each setting's importance, and for each one all trials' values against it."""
    rows = read_csv(path)
    tried = [json.loads(row["settings"]) for row in rows]
    values = np.array([float(row["value"]) for row in rows])  # −inf where it diverged
    names = list(tried[0])
    columns = min(len(names), PANELS_IN_A_ROW)
    lines = -(-len(names) // columns)
    figure.set_size_inches(4.0 + 3.0 * columns, max(3.4, 2.8 * lines))
    widths = (4.0, 3.0 * columns)
    ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=widths)
    _draw_importances(left.add_subplot(), importances(tried, values.tolist()))
    panels = right.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for axes, name in zip(panels, names, strict=False):
        _draw_setting(axes, name, [settings[name] for settings in tried], values)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        axes.set_ylabel("value, higher is better")
    handles, labels = panels[0].get_legend_handles_labels()
    right.legend(handles, labels, loc="outside upper center", ncols=len(labels))


def _draw_importances(axes: Axes, shares: dict[str, float]) -> None:
    axes.set_title("what mattered")
    if not shares:
        reason = f"not to be told from these trials\n(it takes {FEWEST_TRIALS} that differ)"
        axes.text(0.5, 0.5, reason, ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    names = list(shares)[::-1]
    axes.barh(names, [shares[name] for name in names], height=0.6)
    axes.set_xlabel("importance (share, PED-ANOVA)")
    axes.grid(visible=False, axis="y")


def _draw_setting(axes: Axes, name: str, tried: list[Any], values: np.ndarray) -> None:
    x, sound = _positions(axes, tried), np.isfinite(values)
    axes.plot(x[sound], values[sound], "o", color="black", alpha=0.6, label="trial")
    bottom = 0.0
    if sound.any():
        best = int(np.argmax(values))
        axes.plot(x[best], values[best], "*", color="red", markersize=13, label="best")
        bottom = values[sound].min() - BELOW * (np.ptp(values[sound]) or 1.0)
    if not sound.all():
        height = np.full((~sound).sum(), bottom)
        axes.plot(x[~sound], height, "x", color="purple", mew=1.5, ms=6, label="diverged")
    axes.set_xlabel(name)


def _positions(axes: Axes, tried: list[Any]) -> np.ndarray:
    """Numbers as they are on a logarithmic axis; words side by side, their trials spread."""
    if is_scale(tried):
        axes.set_xscale("log")
        return np.array(tried)
    words = sorted(set(tried), key=_by_number)
    axes.set_xticks(range(len(words)), words)
    axes.set_xlim(-0.5, len(words) - 0.5)
    places = np.array([words.index(word) for word in tried], dtype=float)
    return places + np.random.default_rng(0).uniform(-JITTER, JITTER, len(places))


def _by_number(text: str) -> tuple[float, str]:
    try:
        return float(text.split()[0]), text
    except ValueError:
        return np.inf, text
