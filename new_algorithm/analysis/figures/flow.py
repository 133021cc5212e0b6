"""What reaches each layer, and where its steps point, a line an epoch."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from new_algorithm.analysis.figures import column
from new_algorithm.plots.style import draw_curve, log_where_wide
from new_algorithm.record.files import read_csv

Rows = list[dict[str, str]]
COSINES = {
    "step_gradient": "back projection, gradient",
    "gauss_newton_gradient": "Gauss–Newton, gradient",
    "step_gauss_newton": "back projection, Gauss–Newton",
}


def draw_flow(figure: Figure, path: Path) -> None:
    rows = read_csv(path)
    shown = {"gradient": "the gradient", "delta": "Δ", "passed": "Δ as passed down"}
    kinds = [kind for kind in shown if f"{kind}_norm" in rows[0]]
    panels = figure.subplots(2, len(kinds), sharex=True)
    for (norms, zeros), kind in zip(panels.T, kinds, strict=True):
        _lines(norms, rows, f"{kind}_norm")
        log_where_wide(norms)
        norms.set_ylabel(f"norm of {shown[kind]}" + ("" if kind == "gradient" else ", a row"))
        _lines(zeros, rows, f"{kind}_zeros")
        zeros.set(ylabel=f"zeros of {shown[kind]}", ylim=(-0.03, 1.03))
        _label_layers(zeros)
    panels[0, 0].legend()


def draw_angles(figure: Figure, path: Path) -> None:
    rows = read_csv(path)
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (name, title) in zip(panels, COSINES.items(), strict=True):
        _lines(axes, rows, name)
        axes.set_title(title)
        _label_layers(axes)
    panels[0].set_ylabel("cosine")
    panels[0].legend()


def draw_passed_down(figure: Figure, path: Path) -> None:
    rows = read_csv(path)
    run, tried = figure.subplots(1, 2, sharey=True)
    own, *others = list(rows[0])[2:]  # after epoch and layer
    _lines(run, rows, own)
    run.set(title="as the run passes Δ down", ylabel="cosine with minus the gradient")
    last = [row for row in rows if row["epoch"] == rows[-1]["epoch"]]
    for name in others:
        label = name.replace("λ_h", r"$\lambda_h$")
        draw_curve(tried, column(last, "layer"), column(last, name), label)
    tried.set_title(rf"with other $\lambda_h$, epoch {rows[-1]['epoch']}")
    for axes in (run, tried):
        axes.axhline(0, color="tab:gray", linewidth=0.8)
        _label_layers(axes)
        axes.legend()


def _lines(axes: Axes, rows: Rows, name: str) -> None:
    for epoch in dict.fromkeys(row["epoch"] for row in rows):
        of_epoch = [row for row in rows if row["epoch"] == epoch]
        draw_curve(axes, column(of_epoch, "layer"), column(of_epoch, name), f"epoch {epoch}")


def _label_layers(axes: Axes) -> None:
    axes.set_xlabel("layer")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
