"""Figures of one run, drawn from its recorded files alone."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from new_algorithm.experiments.search_figure import SEARCH_FILE, draw_search
from new_algorithm.measurements.depth_figure import DEPTH_FILE, draw_depth
from new_algorithm.measurements.lambda_map import MAP_FILE, draw_lambda_map
from new_algorithm.measurements.scaling_figure import (
    NODES_FILE,
    RANKS_FILE,
    ROWS_FILE,
    draw_expected_times,
    draw_rank_scaling,
    draw_row_scaling,
)
from new_algorithm.plots.cg_convergence import CONVERGENCE_FILE, draw_convergence
from new_algorithm.plots.curves import (
    draw_curve,
    label_epochs,
    legend_beside,
    log_where_wide,
    save_figure,
)
from new_algorithm.plots.house_style import house_style
from new_algorithm.plots.layer_maps import draw_layer_maps, has_layer_maps
from new_algorithm.record.history import Series, held_out_name, read_series
from new_algorithm.record.layout import Layout
from new_algorithm.record.record_json import read_record

Record = dict[str, Any]

MOST_LAYERS_NAMED = 48
FROM_FILES = (  # tables that some scripts leave, how they are drawn, and inches
    (CONVERGENCE_FILE, draw_convergence, (10.0, 4.2)),
    (MAP_FILE, draw_lambda_map, (11.0, 8.0)),
    (DEPTH_FILE, draw_depth, (10.0, 4.2)),
    (ROWS_FILE, draw_row_scaling, (12.0, 4.2)),
    (RANKS_FILE, draw_rank_scaling, None),
    (NODES_FILE, draw_expected_times, (10.0, 5.0)),
    (SEARCH_FILE, draw_search, None),
)
AS_VECTORS_TOO = (SEARCH_FILE,)


def draw_run(tag: str, layout: Layout) -> list[Path]:
    """Draw figures/<tag>/*.png from ploting_data/<tag>/; no path where nothing is recorded."""
    folder, series = layout.record(tag), read_series(layout.record(tag))
    paths = []
    if series:
        record = read_record(folder) or {}
        for name, draw in _drawings(series).items():
            paths.append(_save(name, tag, layout, partial(_draw_one, draw, tag, series, record)))
    if has_layer_maps(series):
        drawing = partial(draw_layer_maps, series=series)
        paths.append(_save("layer_maps", tag, layout, drawing, figsize=(13.0, 6.0)))
    for file, draw, size in FROM_FILES:
        if (folder / file).exists():
            drawing = partial(draw, path=folder / file)
            paths.append(_save(Path(file).stem, tag, layout, drawing, figsize=size))
            if file in AS_VECTORS_TOO:
                paths.append(_save(Path(file).stem, tag, layout, drawing, size, kind="svg"))
    return paths


def _save(
    name: str,
    tag: str,
    layout: Layout,
    draw: Callable[[Figure], None],
    figsize: tuple[float, float] | None = None,
    kind: str = "png",
) -> Path:
    path = layout.figures(tag) / f"{name}.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(house_style()):
        figure = Figure(figsize=figsize)
        draw(figure)
        save_figure(figure, path)
    return path


def _draw_one(
    draw: Callable[[Axes, Series, Record], None],
    tag: str,
    series: Series,
    record: Record,
    figure: Figure,
) -> None:
    axes = figure.add_subplot(title=tag)
    draw(axes, series, record)
    label_epochs(axes)
    legend_beside(axes)


def _drawings(series: Series) -> dict[str, Callable[[Axes, Series, Record], None]]:
    drawings = {"loss": _draw_loss, "layer_norms": _draw_layer_norms}
    if any(name.endswith("_accuracy") for name in series):
        drawings["accuracy"] = _draw_accuracy
    if "cg_iterations" in series and series["cg_iterations"].any():
        drawings["cg_iterations"] = _draw_cg_iterations
    return drawings


def _draw_loss(axes: Axes, series: Series, record: Record) -> None:
    _draw_train_and_held_out(axes, series, "loss")
    unit = record.get("loss_unit")
    axes.set_ylabel(f"loss ({unit})" if unit else "loss")
    log_where_wide(axes)


def _draw_accuracy(axes: Axes, series: Series, record: Record) -> None:
    _draw_train_and_held_out(axes, series, "accuracy")
    axes.set_ylabel("accuracy (fraction)")


def _draw_layer_norms(axes: Axes, series: Series, record: Record) -> None:
    _draw_layers(axes, series["epoch"], series["layer_norms"])
    axes.set_ylabel("Frobenius norm of the weights")
    log_where_wide(axes)


def _draw_cg_iterations(axes: Axes, series: Series, record: Record) -> None:
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
