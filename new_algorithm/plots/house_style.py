"""The look of every figure: colours in a fixed order, told apart by line and marker as well."""

from itertools import cycle, islice
from typing import Any

from cycler import cycler

HOUSE_COLOURS = ("black", "red", "blue", "brown", "purple", "green")
TAB10_REST = ("tab:orange", "tab:pink", "tab:gray", "tab:olive", "tab:cyan")
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")

# 11 colours, 4 lines and 9 markers share no factor: the combination repeats after 396 curves.
STYLE_CYCLE: tuple[dict[str, str], ...] = tuple(
    {"color": colour, "linestyle": line, "marker": marker}
    for colour, line, marker in islice(
        zip(cycle(HOUSE_COLOURS + TAB10_REST), cycle(LINES), cycle(MARKERS), strict=False), 396
    )
)


def house_style() -> dict[str, Any]:
    """Settings for `matplotlib.rc_context`."""
    keys = ("color", "linestyle", "marker")
    cycles = (cycler(**{key: [style[key] for style in STYLE_CYCLE]}) for key in keys)
    colours, lines, markers = cycles
    return {
        "axes.prop_cycle": colours + lines + markers,
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
    }
