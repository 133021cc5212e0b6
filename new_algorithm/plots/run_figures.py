"""Figures of one run, drawn from its recorded series."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from new_algorithm.plots.layer_maps import draw_layer_maps, has_layer_maps
from new_algorithm.plots.series import Series, held_out_name
from new_algorithm.plots.style import draw, draw_curve, label_epochs, legend_beside, log_where_wide

MOST_LAYERS_NAMED = 48


def run_figures(series: Series, title: str, loss_unit: str | None) -> Iterator[tuple[str, bytes]]:
    """Yield the figures of a run as .png files, each with its name; none of an empty series."""
    if not series:
        return
    for name, fill in _drawings(series).items():
        yield name, draw(partial(_draw_one, fill, title, series, loss_unit))
    if has_layer_maps(series):
        yield "layer_maps", draw(partial(draw_layer_maps, series=series), (13.0, 6.0))


def _draw_one(
    fill: Callable[[Axes, Series, str | None], None],
    title: str,
    series: Series,
    loss_unit: str | None,
    figure: Figure,
) -> None:
    axes = figure.add_subplot(title=title)
    fill(axes, series, loss_unit)
    label_epochs(axes)
    legend_beside(axes)


def _drawings(series: Series) -> dict[str, Callable[[Axes, Series, str | None], None]]:
    drawings: dict[str, Callable[[Axes, Series, str | None], None]] = {
        "loss": _draw_loss,
        "layer_norms": _draw_layer_norms,
    }
    if any(name.endswith("_accuracy") for name in series):
        drawings["accuracy"] = _draw_accuracy
    if "cg_iterations" in series and series["cg_iterations"].any():
        drawings["cg_iterations"] = _draw_cg_iterations
    return drawings


def _draw_loss(axes: Axes, series: Series, loss_unit: str | None) -> None:
    _draw_train_and_held_out(axes, series, "loss")
    axes.set_ylabel(f"loss ({loss_unit})" if loss_unit else "loss")
    log_where_wide(axes)


def _draw_accuracy(axes: Axes, series: Series, loss_unit: str | None) -> None:
    _draw_train_and_held_out(axes, series, "accuracy")
    axes.set_ylabel("accuracy (fraction)")


def _draw_layer_norms(axes: Axes, series: Series, loss_unit: str | None) -> None:
    _draw_layers(axes, series["epoch"], series["layer_norms"])
    axes.set_ylabel("Frobenius norm of the weights")
    log_where_wide(axes)


def _draw_cg_iterations(axes: Axes, series: Series, loss_unit: str | None) -> None:
    _draw_layers(axes, series["epoch"], series["cg_iterations"])
    axes.set_ylabel("conjugate-gradient iterations")
    axes.margins(y=0.1)
    axes.set_ylim(bottom=0)


def _draw_train_and_held_out(axes: Axes, series: Series, quantity: str) -> None:
    for part in ("train", held_out_name(series)):
        if f"{part}_{quantity}" in series:
            draw_curve(axes, series["epoch"], series[f"{part}_{quantity}"], part)


def _draw_layers(axes: Axes, epochs: np.ndarray, values: np.ndarray) -> None:
    named = values.shape[1] <= MOST_LAYERS_NAMED  # a longer legend leaves no room for the curves
    for layer, column in enumerate(values.T, start=1):
        draw_curve(axes, epochs, column, f"layer {layer}" if named else f"_{layer}")
