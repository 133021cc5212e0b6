"""The figures of a report as vector files: the same record gives the same bytes."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from new_algorithm.experiments.effect import effect
from new_algorithm.experiments.experiment import Task
from new_algorithm.experiments.interval_plot import draw_intervals, figure_height
from new_algorithm.experiments.leaderboard import Standing
from new_algorithm.experiments.learning_curves import draw_learning_curves
from new_algorithm.experiments.quantities import metric
from new_algorithm.experiments.record_tables import ExperimentRecord
from new_algorithm.measurements.lambda_map import draw_lambda_map
from new_algorithm.plots.curves import save_figure
from new_algorithm.plots.house_style import STYLE_CYCLE, house_style

MOST_CURVES = 8  # besides the baseline: more cannot be told apart


@dataclass(frozen=True)
class Picture:
    """A figure of the report: the stem of its files, what it shows, and its files."""

    name: str
    caption: str
    svg: Path
    pdf: Path

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


def slug(name: str) -> str:
    """`name` as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("×", "x")).strip("_")


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
        draw = partial(
            draw_intervals, standings=standings, quantity=quantity, effect=shown_as, styles=look
        )
        caption = (
            f"{task.name}: {shown_as.name} against {baseline}, mean and 95% interval over seeds. "
            "Filled: significant by the paired t test after Holm's correction. An arrow stands for "
            "one far beyond the others."
        )
        size = (7.5, figure_height(compared))
        pictures.append(_save(f"differences_{slug(task.name)}", caption, draw, size, folder))
    if any((task.name, one.variation) in record.curves for one in standings):
        shown = [one.variation for one in standings[:MOST_CURVES]]
        if baseline not in shown:
            shown.append(baseline)
        draw = partial(
            draw_learning_curves, record=record, task=task, variations=shown, styles=look
        )
        caption = (
            f"{task.name}: learning curves, mean and 95% band over the runs that reached the epoch."
        )
        if any(record.diverged(task.name, name) for name in shown):
            caption += " ×: some runs ended there."
        if len(shown) < len(standings):
            caption += f" The first {MOST_CURVES} of the table, and {baseline}."
        pictures.append(_save(f"curves_{slug(task.name)}", caption, draw, (10.0, 6.0), folder))
    return pictures


def draw_map(record: ExperimentRecord, folder: Path) -> Picture:
    """Draw the λ map that the experiment names into `folder`."""
    caption = (
        f"Validation accuracy and train loss over λ_w and λ_h; run {record.experiment.lambda_map}."
    )
    draw = partial(draw_lambda_map, path=record.lambda_map)
    return _save("lambda_map", caption, draw, (11.0, 8.0), folder)


def _save(
    name: str,
    caption: str,
    draw: Callable[[Figure], None],
    size: tuple[float, float],
    folder: Path,
) -> Picture:
    paths = {kind: folder / f"{name}.{kind}" for kind in ("svg", "pdf")}
    with matplotlib.rc_context(house_style()):
        figure = Figure(figsize=size)
        draw(figure)
        for path in paths.values():
            save_figure(figure, path)
    return Picture(name, caption, paths["svg"], paths["pdf"])
