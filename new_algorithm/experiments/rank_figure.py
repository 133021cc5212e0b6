"""The critical-difference diagram of Demšar (JMLR 7, 2006), Figure 1: mean ranks on a line."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from new_algorithm.experiments.ranks import alike

STEP = 0.5  # between the lines of two names, in ranks' heights
BAR_STEP = 0.16  # between two bars
ABOVE = 0.9  # the axis, room for the critical difference


def draw_ranks(
    figure: Figure,
    names: Sequence[str],
    mean_ranks: Sequence[float],
    difference: float,
    styles: Mapping[str, dict[str, str]],
) -> None:
    """Draw the methods by their mean ranks, the best on the left, and bars over those whose ranks
    are no more than `difference` apart."""
    axes = figure.subplots()
    axes.set_axis_off()
    count = len(names)
    order = np.argsort(mean_ranks, kind="stable")
    ordered = [float(mean_ranks[at]) for at in order]
    bars = alike(ordered, difference)
    _draw_scale(axes, count, difference)
    for level, (first, last) in enumerate(bars, start=1):
        ends = ordered[first] - 0.04, ordered[last] + 0.04
        _draw_line(axes, ends, [-BAR_STEP * level] * 2, linewidth=3.5)
    top = BAR_STEP * (len(bars) + 1) + 0.2
    left = (count + 1) // 2
    for place, (at, rank) in enumerate(zip(order, ordered, strict=True)):
        is_left = place < left
        line = place if is_left else count - 1 - place
        height, end = -top - STEP * line, 0.9 if is_left else count + 0.1
        colour = styles[names[at]]["color"]
        _draw_line(axes, [rank, rank, end], [0, height, height], colour)
        axes.plot(rank, 0, "o", color=colour, clip_on=False)
        side = "right" if is_left else "left"
        text = f"{names[at]}  {rank:.2f}" if is_left else f"{rank:.2f}  {names[at]}"
        axes.text(end + (-0.05 if is_left else 0.05), height, text, ha=side, va="center")
    axes.set_xlim(1 - 0.45 * count, count + 0.45 * count)
    axes.set_ylim(-top - STEP * left, ABOVE)


def _draw_scale(axes: Axes, count: int, difference: float) -> None:
    """The line of ranks, and above it how long the critical difference is."""
    _draw_line(axes, [1, count], [0, 0])
    for rank in range(1, count + 1):
        _draw_line(axes, [rank, rank], [0, 0.08])
        axes.text(rank, 0.14, str(rank), ha="center", va="bottom", fontsize="small")
    ends, height = [1, 1 + difference], 0.6
    _draw_line(axes, ends, [height, height])
    for end in ends:
        _draw_line(axes, [end, end], [height - 0.05, height + 0.05])
    middle = 1 + difference / 2
    axes.text(middle, height + 0.06, f"CD = {difference:.2f}", ha="center", fontsize="small")


def _draw_line(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    colour: str = "black",
    linewidth: float = 1.2,
) -> None:
    """Without the markers and dashes of the style's cycle, which are for curves."""
    axes.plot(x, y, "-", color=colour, marker="", linewidth=linewidth, solid_capstyle="butt")
