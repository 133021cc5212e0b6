"""Accuracy and train loss over the penalties λ_w and λ_h of hidden layers, at two depths."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from datasets import load_dataset
from new_algorithm.back_projection.step_control import STEP_BOUNDS
from new_algorithm.cli.progress import progress
from new_algorithm.methods.back_projection import train_with
from new_algorithm.methods.back_projection_defaults import input_and_hidden
from new_algorithm.methods.back_projection_settings import Settings
from new_algorithm.methods.method import Problem
from new_algorithm.record.files import Row

INPUT_LAMBDA_W = 3.0  # relative
DEPTHS = (2, 8)  # hidden layers of 64
LAMBDA_W = (0.01, 0.1, 1.0, 10.0, 100.0)
LAMBDA_H = (0.1, 1.0, 10.0, 100.0, np.inf)
EPOCHS = 2
SHOWN_ACCURACIES = 0.03  # below the best; anything lower has the darkest colour
MAP_FILE = "lambda_map.csv"  # hidden_layers, lambda_w, lambda_h, accuracy, train_loss


def measure(seeds: Sequence[int]) -> list[Row]:
    """Train on MNIST with every pair of penalties; return means over the seeds, on validation."""
    data = load_dataset("mnist", held_out="validation")
    rows: list[Row] = []
    jobs = list(product(DEPTHS, LAMBDA_W, LAMBDA_H))
    for layers, lambda_w, lambda_h in progress(jobs, "map", len(jobs)):
        settings = Settings(
            lambda_w_layers=input_and_hidden(INPUT_LAMBDA_W, lambda_w, layers),
            lambda_h_layers=(lambda_h,),
            hidden_penalty="passed-down",
            outer="momentum",
            step_bounds=STEP_BOUNDS,
            weight_decay=0.0,
            decoupled_decay=0.0,
        )
        scores = []
        for seed in seeds:
            *_, last = train_with(settings, Problem(data, (64,) * layers, EPOCHS, seed))
            scores.append(last.scores())
        rows.append(
            {
                "hidden_layers": layers,
                "lambda_w": lambda_w,
                "lambda_h": lambda_h,
                "accuracy": float(np.mean([held_out.accuracy for _, held_out in scores])),
                "train_loss": float(np.mean([train.loss for train, _ in scores])),
            }
        )
    return rows


def draw_lambda_map(figure: Figure, path: Path) -> None:
    """Draw accuracy and train loss, a row of panels for each depth, each cell with its number."""
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
    colours = "viridis" if name == "accuracy" else "viridis_r"  # brighter is better
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
