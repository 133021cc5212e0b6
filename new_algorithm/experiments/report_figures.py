"""The figures of a report as vector files: the same record gives the same bytes."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from new_algorithm.experiments.definition import Task, slug
from new_algorithm.experiments.depth_figure import depth_rows, draw_depth
from new_algorithm.experiments.leaderboard import Standing
from new_algorithm.experiments.learning_curves import draw_learning_curves
from new_algorithm.experiments.quantities import Effect, Quantity, effect, metric
from new_algorithm.experiments.record_tables import ExperimentRecord
from new_algorithm.experiments.statistics import Summary
from new_algorithm.measurements.lambda_map import draw_lambda_map
from new_algorithm.plots.style import STYLE_CYCLE, draw
from new_algorithm.record.figures import save_figure

MOST_CURVES = 8  # besides the baseline: more cannot be told apart


@dataclass(frozen=True)
class Picture:
    """A figure of the report: the stem of its file, what it shows, and the file."""

    name: str
    caption: str
    svg: Path

    def inline(self) -> str:
        """The <svg> element, its identifiers made its own: a page holds many figures."""
        text = self.svg.read_text(encoding="utf-8")
        element = text[text.index("<svg") :]
        return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{self.name}-", element)


def styles(record: ExperimentRecord) -> dict[str, dict[str, str]]:
    """Colour, line and marker of each variation, the same in every figure; baseline first."""
    names = [variation.name for variation in record.experiment.variations]
    names.sort(key=lambda name: name != record.experiment.baseline)
    return dict(zip(names, STYLE_CYCLE, strict=False))


def file_stem(name: str) -> str:
    """Return `name` as part of a file's name."""
    return re.sub(r"[_-]+", "_", slug(name).lower())


def draw_task(
    record: ExperimentRecord, task: Task, standings: Sequence[Standing], folder: Path
) -> list[Picture]:
    """Draw the differences from the baseline and the learning curves of `task` into `folder`."""
    baseline, look = record.experiment.baseline, styles(record)
    pictures = []
    compared = sum(one.comparison is not None for one in standings)
    if compared:
        quantity = metric(task.metrics[0])
        shown_as = effect(record.experiment, quantity)
        fill = partial(
            draw_intervals, standings=standings, quantity=quantity, effect=shown_as, styles=look
        )
        caption = (
            f"{task.name}: {shown_as.name} against {baseline}, mean and 95% interval over seeds. "
            "Filled: significant by the paired t test after Holm's correction. An arrow stands for "
            "one far beyond the others."
        )
        size = (7.5, figure_height(compared))
        pictures.append(_save(f"differences_{file_stem(task.name)}", caption, fill, size, folder))
    if any((task.name, one.variation) in record.curves for one in standings):
        shown = [one.variation for one in standings[:MOST_CURVES]]
        if baseline not in shown:
            shown.append(baseline)
        fill = partial(
            draw_learning_curves, record=record, task=task, variations=shown, styles=look
        )
        caption = (
            f"{task.name}: learning curves, mean and 95% band over the runs that reached the epoch."
        )
        if any(record.diverged(task.name, name) for name in shown):
            caption += " ×: some runs ended there."
        if len(shown) < len(standings):
            caption += f" The first {MOST_CURVES} of the table, and {baseline}."
        pictures.append(_save(f"curves_{file_stem(task.name)}", caption, fill, (10.0, 6.0), folder))
    return pictures


def draw_against_depth(record: ExperimentRecord, folder: Path) -> Picture | None:
    """Draw accuracy and train loss against depth, where the tasks differ in nothing else."""
    rows = depth_rows(record)
    if not rows:
        return None
    caption = "Test accuracy and train loss against depth, mean and standard deviation over seeds."
    return _save("depth", caption, partial(draw_depth, rows=rows), (10.0, 4.2), folder)


def draw_map(record: ExperimentRecord, folder: Path) -> Picture:
    """Draw the λ map that the experiment names into `folder`."""
    caption = (
        f"Validation accuracy and train loss over λ_w and λ_h; run {record.experiment.lambda_map}."
    )
    fill = partial(draw_lambda_map, path=record.lambda_map)
    return _save("lambda_map", caption, fill, (11.0, 8.0), folder)


def _save(
    name: str,
    caption: str,
    fill: Callable[[Figure], None],
    size: tuple[float, float],
    folder: Path,
) -> Picture:
    path = save_figure(folder / f"{name}.svg", draw(fill, size, "svg"))
    return Picture(name, caption, path)


FAR = 6.0  # times the middle distance from zero: such a difference would squash the others
INCHES_A_LINE, INCHES_AROUND = 0.27, 1.0
ROOM = 0.08  # of the width, at either end


def figure_height(lines: int) -> float:
    return INCHES_AROUND + INCHES_A_LINE * lines


def draw_intervals(
    figure: Figure,
    standings: Sequence[Standing],
    quantity: Quantity,
    effect: Effect,
    styles: Mapping[str, dict[str, str]],
) -> None:
    """Draw each effect and its 95% interval, numbers beside; filled where significant.

    A difference far beyond the others is an arrow at the edge: its number stands beside it.
    """
    shown = [one for one in standings if one.comparison]
    effects = [effect.of(one.comparison.test.difference) for one in shown]
    axes = figure.subplots()
    limits = _limits(effects)
    for line, (one, summary) in enumerate(zip(shown, effects, strict=True)):
        colour = styles[one.variation]["color"]
        _draw_line(axes, line, summary, colour, one.comparison.significant, limits)
        _write_numbers(axes, line, summary, quantity)
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_xlim(limits)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_yticks(range(len(shown)), [one.variation for one in shown])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(effect.explanation)


def _draw_line(
    axes: Axes,
    line: int,
    effect: Summary,
    colour: str,
    significant: bool,
    limits: tuple[float, float],
) -> None:
    low, high = limits
    if not low <= effect.mean <= high:
        edge, arrow = (0.98, ">") if effect.mean > 0 else (0.02, "<")  # of the axes' width
        across = axes.get_yaxis_transform()
        axes.plot(edge, line, arrow, color=colour, markersize=7, transform=across)
        return
    if effect.low is not None:
        axes.plot([effect.low, effect.high], [line, line], "-", color=colour)
    face = colour if significant else "white"
    axes.plot(effect.mean, line, "o", color=colour, markerfacecolor=face, markeredgewidth=1.4)


def _write_numbers(axes: Axes, line: int, effect: Summary, quantity: Quantity) -> None:
    text = quantity.show(effect.mean, signed=True)
    if effect.low is not None:
        low, high = (quantity.show(end, signed=True) for end in (effect.low, effect.high))
        text += f"  [{low}, {high}]"
    across = axes.get_yaxis_transform()
    axes.text(1.02, line, text, transform=across, va="center", fontsize="small")


def _limits(effects: Sequence[Summary]) -> tuple[float, float]:
    """Wide enough for zero and for all effects that are not far from the others."""
    distances = np.abs([effect.mean for effect in effects])
    near = distances <= FAR * np.median(distances)
    ends = [
        end
        for effect, is_near in zip(effects, near, strict=True)
        for end in (effect.mean, effect.low, effect.high)
        if is_near and end is not None
    ]
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = ROOM * (high - low) or 1.0
    return low - margin, high + margin
