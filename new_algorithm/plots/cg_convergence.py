"""Figure of conjugate-gradient solves beside the Chebyshev bound, from a run's recorded file."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from new_algorithm.plots.style import draw_curve, legend_beside

CONVERGENCE_SIZE = (10.0, 4.2)  # inches
CONVERGENCE_FILE = "cg_convergence.csv"  # sweep, layer, iteration, error_a_norm, chebyshev_bound


def draw_convergence(figure: Figure, path: Path) -> None:
    """Draw one panel a layer from the file at `path`: each sweep's error, its bound dotted."""
    rows = np.genfromtxt(path, delimiter=",", names=True)
    layers = np.unique(rows["layer"])
    panels = figure.subplots(1, len(layers), sharey=True, squeeze=False)[0]
    for axes, layer in zip(panels, layers, strict=True):
        axes.set_title(f"layer {layer:.0f}")
        for sweep in np.unique(rows["sweep"]):
            solve = rows[(rows["layer"] == layer) & (rows["sweep"] == sweep)]
            draw_curve(axes, solve["iteration"], solve["error_a_norm"], f"sweep {sweep:.0f}")
            axes.plot(
                solve["iteration"],
                solve["chebyshev_bound"],
                color=axes.lines[-1].get_color(),
                linestyle=":",
                marker="",
                linewidth=1.0,
            )
        axes.set_yscale("log")
        axes.set_xlabel("conjugate-gradient iteration")
    panels[0].set_ylabel("error in the A-norm, relative; bound dotted")
    legend_beside(panels[-1])
