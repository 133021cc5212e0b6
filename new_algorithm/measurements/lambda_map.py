"""Figure of accuracy and train loss over λ_w and λ_h, from a run's recorded file."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

SHOWN_ACCURACIES = 0.03  # below the best by more: the darkest colour
MAP_FILE = "lambda_map.csv"  # hidden_layers, lambda_w, lambda_h, accuracy, train_loss


def draw_lambda_map(figure: Figure, path: Path) -> None:
    """Draw a row of panels a depth: accuracy and train loss, each cell with its number."""
    rows = np.genfromtxt(path, delimiter=",", names=True)
    depths = np.unique(rows["hidden_layers"])
    panels = figure.subplots(len(depths), 2, squeeze=False)
    for line, depth in zip(panels, depths, strict=True):
        of_depth = rows[rows["hidden_layers"] == depth]
        title = f"{depth:.0f} hidden layers"
        best = of_depth["accuracy"].max()
        near_best = Normalize(max(best - SHOWN_ACCURACIES, of_depth["accuracy"].min()), best)
        _draw_panel(line[0], of_depth, "accuracy", f"{title}: validation accuracy", near_best)
        _draw_panel(line[1], of_depth, "train_loss", f"{title}: train loss (nats)", LogNorm())


def _draw_panel(axes: Axes, rows: np.ndarray, name: str, title: str, norm: Normalize) -> None:
    lambda_w, lambda_h = (np.unique(rows[column]) for column in ("lambda_w", "lambda_h"))
    grid = np.full((len(lambda_w), len(lambda_h)), np.nan)
    for row in rows:
        at = np.searchsorted(lambda_w, row["lambda_w"]), np.searchsorted(lambda_h, row["lambda_h"])
        grid[at] = row[name]
    colours = "viridis" if name == "accuracy" else "viridis_r"  # the better the brighter
    image = axes.imshow(grid, origin="lower", aspect="auto", cmap=colours, norm=norm)
    for (i, j), value in np.ndenumerate(grid):
        bright = (norm(value) > 0.5) == (name == "accuracy")
        colour = "black" if bright else "white"
        axes.text(j, i, f"{value:.3f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(lambda_h)), [f"{value:g}".replace("inf", "∞") for value in lambda_h])
    axes.set_yticks(range(len(lambda_w)), [f"{value:g}" for value in lambda_w])
    axes.set_xlabel(r"$\lambda_h$, relative")
    axes.set_ylabel(r"$\lambda_w$, relative")
    axes.grid(visible=False)
    axes.set_title(title)
    axes.figure.colorbar(image, ax=axes)
