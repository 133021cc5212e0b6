"""What a run recorded of each layer, layer by layer over time, as maps."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from new_algorithm.plots.series import Series
from new_algorithm.plots.style import label_epochs


@dataclass(frozen=True)
class Quantity:
    """One map: the array it shows, its title, and whether its colours are logarithmic."""

    name: str
    title: str
    logarithmic: bool


QUANTITIES = (
    Quantity("layer_norms", "‖W̃‖", True),
    Quantity("change_norms", "‖η δW̃‖ of a sweep", True),
    Quantity("predicted_decrease", "decrease of the loss, predicted", True),
    Quantity("actual_decrease", "decrease of the loss, actual", True),
    Quantity("residual_taken", "share of Δ that δW̃ would take", False),
    Quantity("residual_passed", "‖Δ‖ below over ‖Δ‖ above", True),
    Quantity("active_share", "share of active hidden units", False),
    Quantity("gram_condition", r"condition number of $G + \lambda_w I$", True),
)


def has_layer_maps(series: Series) -> bool:
    """Whether a run has recorded diagnostics of its layers."""
    return all(quantity.name in series for quantity in QUANTITIES)


def draw_layer_maps(figure: Figure, series: Series) -> None:
    """Fill the figure with a map a quantity, epochs to the right and layers upwards."""
    panels = figure.subplots(2, 4, sharex=True, sharey=True)
    for axes, quantity in zip(panels.flat, QUANTITIES, strict=True):
        _draw_map(axes, series["epoch"], series[quantity.name], quantity)
    for axes in panels[-1]:
        label_epochs(axes)
    for axes in panels[:, 0]:
        axes.set_ylabel("layer")


def _draw_map(axes: Axes, epochs: np.ndarray, values: np.ndarray, quantity: Quantity) -> None:
    values = np.ma.masked_invalid(values)
    if quantity.name == "active_share":
        values[:, -1] = np.ma.masked  # the output layer is linear
    if quantity.logarithmic:
        values = np.ma.masked_less_equal(values, 0)
    layers = np.arange(values.shape[1] + 1) + 0.5  # edges of the cells
    edges = np.append(epochs - 0.5, epochs[-1] + 0.5)
    drawn = values.count() > 0
    mesh = axes.pcolormesh(
        edges,
        layers,
        values.T,
        cmap="viridis",
        norm=LogNorm() if quantity.logarithmic and drawn else Normalize(),
        rasterized=True,
    )
    axes.grid(visible=False)
    axes.set_title(quantity.title, fontsize="small")
    axes.figure.colorbar(mesh, ax=axes)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
