"""The look of every figure: colours in a fixed order, distinguished by line and marker as well."""

import io
import re
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from cycler import cycler
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

COLOURS = (
    *("black", "red", "blue", "brown", "purple", "green"),
    *("tab:orange", "tab:pink", "tab:gray", "tab:olive", "tab:cyan"),
)
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
# 11 colours, 4 lines and 9 markers share no factor: the combination repeats after 396 curves.
CYCLE = 36 * cycler(color=COLOURS) + 99 * cycler(linestyle=LINES) + 44 * cycler(marker=MARKERS)
STYLE_CYCLE: tuple[dict[str, str], ...] = tuple(CYCLE)
MARKERS_PER_CURVE = 12
LOG_FROM_RATIO = 10.0  # largest to smallest value
LEGEND_ROWS = 16
# neither the time nor the library goes into a file
UNDATED = {"svg": {"Date": None, "Creator": None, "Format": None, "Type": None}}
HUGE = 1e100  # beyond it the arithmetic of axis limits may overflow


HOUSE_STYLE: dict[str, Any] = {  # for `matplotlib.rc_context`
    "axes.prop_cycle": CYCLE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "figure.figsize": (7.0, 4.2),
    "figure.constrained_layout.use": True,
    "font.size": 10.0,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": "small",
    "lines.linewidth": 1.6,
    "lines.markersize": 5.0,
    "lines.markeredgewidth": 0.0,
    "savefig.dpi": 150,
    "svg.fonttype": "path",  # looks the same where the font is missing
    "svg.hashsalt": "figure",  # otherwise identifiers are drawn at random
}


def draw(
    fill: Callable[[Figure], None],
    size: tuple[float, float] | None = None,
    kind: Literal["png", "svg"] = "png",
) -> bytes:
    """Return a file with a figure in house style that `fill` draws; size in inches.

    The same drawing gives the same bytes.
    """
    drawn = io.BytesIO()
    with rc_context(HOUSE_STYLE):  # type: ignore[arg-type]  # names as text
        figure = Figure(figsize=size)
        fill(figure)
        figure.savefig(drawn, format=kind, metadata=UNDATED.get(kind))
    return _renumbered(drawn.getvalue()) if kind == "svg" else drawn.getvalue()


def draw_curve(axes: Axes, x: np.ndarray, y: np.ndarray, label: str) -> None:
    """One line in the next style of the cycle; NaN, infinite and huge values leave a gap."""
    y = np.where(np.abs(y) < HUGE, y, np.nan)
    axes.plot(x, y, label=label, markevery=max(1, len(x) // MARKERS_PER_CURVE))


def label_epochs(axes: Axes) -> None:
    """Whole numbers on the epoch axis, with room around a single epoch."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    left, right = axes.get_xlim()
    if right - left < 1:
        axes.set_xlim(left - 0.5, right + 0.5)


def log_where_wide(axes: Axes) -> None:
    """A logarithmic y axis if the values are positive and span more than LOG_FROM_RATIO."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    values = values[np.isfinite(values)]
    if not values.size or values.min() <= 0 or values.max() < LOG_FROM_RATIO * values.min():
        return
    axes.set_yscale("log")
    if values.max() < 1e3 * values.min() and values.min() > 1e-4 and values.max() < 1e5:
        plain_log_ticks(axes.yaxis)


def plain_log_ticks(axis: Axis) -> None:
    """1, 2, 5, 10 and so on along a logarithmic axis, written out."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_beside(axes: Axes) -> None:
    """The legend to the right of the axes, in as many columns as it needs."""
    columns = -(-len(axes.get_legend_handles_labels()[1]) // LEGEND_ROWS)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), ncols=columns, handlelength=3.0)


def _renumbered(svg: bytes) -> bytes:
    """Give paths and clips numbers for names.

    Matplotlib's are hashes of positions, of which the last bits differ from layout to layout.
    """
    numbers: dict[bytes, bytes] = {}

    def number(match: re.Match[bytes]) -> bytes:
        return numbers.setdefault(match[0], b"path-%d" % len(numbers))

    return re.sub(rb"\b[a-zA-Z][0-9a-f]{10}\b", number, svg)
