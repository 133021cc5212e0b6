"""Figures of one run and of several, drawn from what is recorded of them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from new_algorithm.plots.series import Series, held_out_name
from new_algorithm.plots.style import draw, draw_curve, label_epochs, legend_beside, log_where_wide

MOST_LAYERS_NAMED = 48
MAPS = {  # the arrays of (epochs, layers) that are drawn as maps, and their titles
    "layer_norms": "‖W̃‖",
    "change_norms": "‖η δW̃‖ of a sweep",
    "predicted_decrease": "decrease of the loss, predicted",
    "actual_decrease": "decrease of the loss, actual",
    "residual_taken": "share of Δ that δW̃ would take",
    "residual_passed": "‖Δ‖ below over ‖Δ‖ above",
    "active_share": "share of active hidden units",
    "gram_condition": r"condition number of $G + \lambda_w I$",
}
SHARES = ("residual_taken", "active_share")  # all other maps have logarithmic colours
CONVERGENCE_FILE = "cg_convergence.csv"  # sweep, layer, iteration, error_a_norm, chebyshev_bound
CONVERGENCE_SIZE = (10.0, 4.2)  # inches
COMPARISON_SIZE = (10.0, 7.0)

Curves = dict[str, np.ndarray]  # over the epochs, by the labels in the legend
Runs = dict[str, tuple[Series, str | None]]  # series and unit of the loss, by tag


def run_figures(series: Series, title: str, loss_unit: str | None) -> Iterator[tuple[str, bytes]]:
    """Yield the figures of a run as .png files, each with its name; none of an empty series."""
    if not series:
        return

    def parts(quantity: str) -> Curves:
        names = {part: f"{part}_{quantity}" for part in ("train", held_out_name(series))}
        return {part: series[name] for part, name in names.items() if name in series}

    def layers(name: str) -> Curves:
        columns = series[name].T if name in series else np.empty(0)
        named = len(columns) <= MOST_LAYERS_NAMED  # a longer legend leaves no room for the curves
        return {f"layer {i}" if named else f"_{i}": y for i, y in enumerate(columns, start=1)}

    drawings = {
        "loss": (f"loss ({loss_unit})" if loss_unit else "loss", parts("loss")),
        "layer_norms": ("Frobenius norm of the weights", layers("layer_norms")),
        "accuracy": ("accuracy (fraction)", parts("accuracy")),
        "cg_iterations": ("conjugate-gradient iterations", layers("cg_iterations")),
    }
    for name, (label, curves) in drawings.items():
        if curves and (name != "cg_iterations" or series[name].any()):
            yield name, draw(partial(_draw_curves, name, label, curves, series["epoch"], title))
    if MAPS.keys() <= series.keys():
        yield "layer_maps", draw(partial(draw_layer_maps, series=series), (13.0, 6.0))


def _draw_curves(
    name: str, label: str, curves: Curves, epochs: np.ndarray, title: str, figure: Figure
) -> None:
    axes = figure.add_subplot(title=title, ylabel=label)
    for curve, values in curves.items():
        draw_curve(axes, epochs, values, curve)
    if name in ("loss", "layer_norms"):
        log_where_wide(axes)
    if name == "cg_iterations":
        axes.margins(y=0.1)
        axes.set_ylim(bottom=0)
    label_epochs(axes)
    legend_beside(axes)


def draw_layer_maps(figure: Figure, series: Series) -> None:
    """Fill the figure with the maps, epochs to the right and layers upwards."""
    panels = figure.subplots(2, 4, sharex=True, sharey=True)
    for axes, name in zip(panels.flat, MAPS, strict=True):
        _draw_map(axes, series["epoch"], series[name], name)
    for axes in panels[-1]:
        label_epochs(axes)
    for axes in panels[:, 0]:
        axes.set_ylabel("layer")


def _draw_map(axes: Axes, epochs: np.ndarray, values: np.ndarray, name: str) -> None:
    values = np.ma.masked_invalid(values)
    if name == "active_share":
        values[:, -1] = np.ma.masked  # the output layer is linear
    norm: Normalize = Normalize()
    if name not in SHARES:
        values = np.ma.masked_less_equal(values, 0)
        norm = LogNorm() if values.count() else norm
    layers = np.arange(values.shape[1] + 1) + 0.5  # edges of the cells
    edges = np.append(epochs - 0.5, epochs[-1] + 0.5)
    mesh = axes.pcolormesh(edges, layers, values.T, cmap="viridis", norm=norm, rasterized=True)
    axes.grid(visible=False)
    axes.set_title(MAPS[name], fontsize="small")
    axes.figure.colorbar(mesh, ax=axes)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def draw_convergence(figure: Figure, path: Path) -> None:
    """Conjugate-gradient solves of the file at `path`, a panel a layer: errors, bounds dotted."""
    rows = np.genfromtxt(path, delimiter=",", names=True)
    layers = np.unique(rows["layer"])
    panels = figure.subplots(1, len(layers), sharey=True, squeeze=False)[0]
    for axes, layer in zip(panels, layers, strict=True):
        axes.set_title(f"layer {layer:.0f}")
        for sweep in np.unique(rows["sweep"]):
            solve = rows[(rows["layer"] == layer) & (rows["sweep"] == sweep)]
            draw_curve(axes, solve["iteration"], solve["error_a_norm"], f"sweep {sweep:.0f}")
            colour = axes.lines[-1].get_color()
            dotted = {"color": colour, "linestyle": ":", "marker": "", "linewidth": 1.0}
            axes.plot(solve["iteration"], solve["chebyshev_bound"], **dotted)
        axes.set_yscale("log")
        axes.set_xlabel("conjugate-gradient iteration")
    panels[0].set_ylabel("error in the A-norm, relative; bound dotted")
    legend_beside(panels[-1])


def draw_comparison(figure: Figure, runs: Runs) -> None:
    """Accuracy and loss of several runs against epochs and against CPU seconds.

    The upper row shows the held-out accuracy, or the held-out loss unless all runs have one.
    """
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    accuracies = all(f"{held_out_name(series)}_accuracy" in series for series, _ in runs.values())
    _draw_row(panels[0], runs, "held_out_accuracy" if accuracies else "held_out_loss")
    _draw_row(panels[1], runs, "train_loss")
    label_epochs(panels[1][0])
    panels[1][1].set_xlabel("training CPU time (s)")
    handles, labels = panels[0][0].get_legend_handles_labels()
    columns = max(1, min(len(labels), 100 // max(map(len, labels))))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, handlelength=3.0)


def _draw_row(panels: list[Axes], runs: Runs, quantity: str) -> None:
    parts, units = [], []
    for tag, (series, loss_unit) in runs.items():
        name = quantity.replace("held_out", held_out_name(series))
        draw_curve(panels[0], series["epoch"], series[name], tag)
        draw_curve(panels[1], series["train_cpu_seconds"], series[name], tag)
        parts.append(name.split("_")[0])
        units.append("fraction" if name.endswith("_accuracy") else loss_unit)
    label = f"{' or '.join(dict.fromkeys(parts))} {quantity.split('_')[-1]}"
    known = " or ".join(filter(None, dict.fromkeys(units)))
    panels[0].set_ylabel(f"{label} ({known})" if known else label)
    if quantity.endswith("_loss"):
        log_where_wide(panels[0])
