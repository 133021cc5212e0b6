"""Differences from the baseline with their intervals, one line a variation (a forest plot)."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from new_algorithm.experiments.effect import Effect
from new_algorithm.experiments.leaderboard import Standing
from new_algorithm.experiments.quantities import Quantity
from new_algorithm.experiments.statistics import Summary

FAR = 6.0  # times the middle distance from zero: such a difference would squash the others
INCHES_A_LINE, INCHES_AROUND = 0.27, 1.0
ROOM = 0.08  # of the width, at either end


def figure_height(lines: int) -> float:
    return INCHES_AROUND + INCHES_A_LINE * lines


def draw_intervals(
    figure: Figure,
    standings: Sequence[Standing],
    quantity: Quantity,
    effect: Effect,
    styles: Mapping[str, dict[str, str]],
) -> None:
    """Draw each effect and its 95% interval, numbers beside; filled where significant.

    A difference far beyond the others is an arrow at the edge: its number stands beside it.
    """
    shown = [one for one in standings if one.comparison]
    effects = [effect.of(one.comparison.test.difference) for one in shown]
    axes = figure.subplots()
    limits = _limits(effects)
    for line, (one, summary) in enumerate(zip(shown, effects, strict=True)):
        colour = styles[one.variation]["color"]
        _draw_line(axes, line, summary, colour, one.comparison.significant, limits)
        _write_numbers(axes, line, summary, quantity)
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_xlim(limits)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_yticks(range(len(shown)), [one.variation for one in shown])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(effect.explanation)


def _draw_line(
    axes: Axes,
    line: int,
    effect: Summary,
    colour: str,
    significant: bool,
    limits: tuple[float, float],
) -> None:
    low, high = limits
    if not low <= effect.mean <= high:
        edge, arrow = (0.98, ">") if effect.mean > 0 else (0.02, "<")  # of the axes' width
        across = axes.get_yaxis_transform()
        axes.plot(edge, line, arrow, color=colour, markersize=7, transform=across)
        return
    if effect.low is not None:
        axes.plot([effect.low, effect.high], [line, line], "-", color=colour)
    face = colour if significant else "white"
    axes.plot(effect.mean, line, "o", color=colour, markerfacecolor=face, markeredgewidth=1.4)


def _write_numbers(axes: Axes, line: int, effect: Summary, quantity: Quantity) -> None:
    text = quantity.show(effect.mean, signed=True)
    if effect.low is not None:
        low, high = (quantity.show(end, signed=True) for end in (effect.low, effect.high))
        text += f"  [{low}, {high}]"
    across = axes.get_yaxis_transform()
    axes.text(1.02, line, text, transform=across, va="center", fontsize="small")


def _limits(effects: Sequence[Summary]) -> tuple[float, float]:
    """Wide enough for zero and for all effects that are not far from the others."""
    distances = np.abs([effect.mean for effect in effects])
    near = distances <= FAR * np.median(distances)
    ends = [
        end
        for effect, is_near in zip(effects, near, strict=True)
        for end in (effect.mean, effect.low, effect.high)
        if is_near and end is not None
    ]
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = ROOM * (high - low) or 1.0
    return low - margin, high + margin
