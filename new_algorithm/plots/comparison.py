"""Several runs in one figure: accuracy and loss against epochs and against CPU seconds."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from new_algorithm.plots.series import Series, held_out_name
from new_algorithm.plots.style import draw_curve, label_epochs, log_where_wide

Runs = dict[str, tuple[Series, str | None]]  # series and unit of the loss, by tag
SIZE = (10.0, 7.0)  # inches


def draw_comparison(figure: Figure, runs: Runs) -> None:
    """Fill the figure.

    The upper row shows the held-out accuracy, or the held-out loss unless all runs have one.
    """
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    _draw_row(panels[0], runs, _held_out_quantity(runs))
    _draw_row(panels[1], runs, "train_loss")
    label_epochs(panels[1][0])
    panels[1][1].set_xlabel("training CPU time (s)")
    handles, labels = panels[0][0].get_legend_handles_labels()
    columns = max(1, min(len(labels), 100 // max(map(len, labels))))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, handlelength=3.0)


def _held_out_quantity(runs: Runs) -> str:
    have = all(f"{held_out_name(series)}_accuracy" in series for series, _ in runs.values())
    return "held_out_accuracy" if have else "held_out_loss"


def _draw_row(panels: list[Axes], runs: Runs, quantity: str) -> None:
    parts: dict[str, None] = {}  # as ordered sets
    units: dict[str | None, None] = {}
    for tag, (series, loss_unit) in runs.items():
        name = quantity.replace("held_out", held_out_name(series))
        draw_curve(panels[0], series["epoch"], series[name], tag)
        draw_curve(panels[1], series["train_cpu_seconds"], series[name], tag)
        parts[name.split("_")[0]] = None
        units["fraction" if name.endswith("_accuracy") else loss_unit] = None
    label = f"{' or '.join(parts)} {quantity.split('_')[-1]}"
    known = " or ".join(filter(None, units))
    panels[0].set_ylabel(f"{label} ({known})" if known else label)
    if quantity.endswith("_loss"):
        log_where_wide(panels[0])
