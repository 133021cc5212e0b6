"""The figures of a report as vector files: the same record gives the same bytes."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from new_algorithm.experiments.across_tasks import AcrossTasks
from new_algorithm.experiments.depth_figure import depth_rows, draw_depth
from new_algorithm.experiments.experiment import AnyTask, slug
from new_algorithm.experiments.leaderboard import Standing
from new_algorithm.experiments.learning_curves import draw_learning_curves
from new_algorithm.experiments.quantities import Quantity, metric
from new_algorithm.experiments.rank_figure import draw_ranks
from new_algorithm.experiments.ranks import critical_difference
from new_algorithm.experiments.record_tables import ExperimentRecord
from new_algorithm.experiments.statistics import Summary
from new_algorithm.measurements.lambda_map import draw_lambda_map
from new_algorithm.plots.style import STYLE_CYCLE, draw
from new_algorithm.record.figures import save_figure

MOST_CURVES = 8  # besides the baseline: more cannot be distinguished


class Picture(NamedTuple):
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
    record: ExperimentRecord, task: AnyTask, standings: Sequence[Standing], folder: Path
) -> list[Picture]:
    """Draw the differences from the baseline and the learning curves of `task` into `folder`."""
    pictures = []
    if compared := {one.variation: one.comparison for one in standings if one.comparison}:
        quantity, is_ablation = metric(task.metrics[0]), record.experiment.is_ablation
        less = quantity.less_is_better
        if is_ablation:
            name, turned = "importance", quantity.worsening
            terms = "variation − baseline" if less else "baseline − variation"
            label = f"importance: {terms} in {quantity.name}"
        else:
            name, turned = "difference", lambda difference: difference
            way = "less is better" if less else "more is better"
            label = f"{quantity.name}: difference from the baseline ({way})"
        fill = partial(
            draw_intervals,
            effects={name: turned(found.difference) for name, found in compared.items()},
            significant={name for name, found in compared.items() if found.significant},
            quantity=quantity,
            label=label,
            styles=styles(record),
        )
        caption = (
            f"{task.name}: {name} against {record.experiment.baseline}, mean and 95% interval over "
            "seeds. Filled: significant by the paired t test after Holm's correction. An arrow "
            "stands for one far beyond the others."
        )
        size = (7.5, INCHES_AROUND + INCHES_A_LINE * len(compared))
        pictures.append(_save(f"differences_{file_stem(task.name)}", caption, fill, size, folder))
    if any(_has_curve(record, task, one.variation) for one in standings):
        pictures.append(_draw_curves(record, task, [one.variation for one in standings], folder))
    return pictures


def _has_curve(record: ExperimentRecord, task: AnyTask, variation: str) -> bool:
    """Whether there is more than the one epoch of a model that is fitted at once."""
    rows = record.curves.get((task.name, variation), [])
    return any(row["epoch"] != 1 for row in rows)


def _draw_curves(
    record: ExperimentRecord, task: AnyTask, ranked: Sequence[str], folder: Path
) -> Picture:
    baseline = record.experiment.baseline
    shown = list(dict.fromkeys([*ranked[:MOST_CURVES], baseline]))
    fill = partial(
        draw_learning_curves, record=record, task=task, variations=shown, styles=styles(record)
    )
    caption = (
        f"{task.name}: learning curves, mean and 95% band over the runs that reached the epoch."
    )
    if any(record.count("diverged", task.name, name) for name in shown):
        caption += " ×: some runs ended there."
    if len(shown) < len(ranked):
        caption += f" The first {MOST_CURVES} of the table, and {baseline}."
    return _save(f"curves_{file_stem(task.name)}", caption, fill, (10.0, 6.0), folder)


def draw_against_depth(record: ExperimentRecord, folder: Path) -> Picture | None:
    """Draw accuracy and train loss against depth, where the tasks differ in nothing else."""
    if not (rows := depth_rows(record)):
        return None
    caption = "Test accuracy and train loss against depth, mean and standard deviation over seeds."
    return _save("depth", caption, partial(draw_depth, rows=rows), (10.0, 4.2), folder)


def draw_over_tasks(record: ExperimentRecord, found: AcrossTasks, folder: Path) -> Picture:
    """Draw the mean ranks over all tasks, and what cannot be told apart."""
    tasks, methods = found.ranks.shape
    fill = partial(
        draw_ranks,
        names=found.variations,
        mean_ranks=found.ranks.mean(axis=0).tolist(),
        difference=critical_difference(methods, tasks),
        styles=styles(record),
    )
    caption = (
        f"Mean ranks over {tasks} tasks, the best on the left. A bar joins methods that Nemenyi's "
        "test does not tell apart at the 5% level; CD is its critical difference."
    )
    return _save("mean_ranks", caption, fill, (9.0, 1.6 + 0.3 * methods), folder)


def draw_map(record: ExperimentRecord, folder: Path) -> Picture | None:
    """Draw the λ map that the experiment names into `folder`, where there is one."""
    if record.lambda_map is None:
        return None
    caption = (
        f"Validation accuracy and train loss over λ_w and λ_h; run {record.experiment.lambda_map}."
    )
    fill = partial(draw_lambda_map, path=record.lambda_map)
    return _save("lambda_map", caption, fill, (11.0, 8.0), folder)


def _save(
    name: str, caption: str, fill: Callable[[Figure], None], size: tuple[float, float], folder: Path
) -> Picture:
    path = save_figure(folder / f"{name}.svg", draw(fill, size, "svg"))
    return Picture(name, caption, path)


FAR = 6.0  # times the middle distance from zero: such a difference would flatten the others
INCHES_A_LINE, INCHES_AROUND = 0.27, 1.0
ROOM = 0.08  # of the width, at either end


def draw_intervals(
    figure: Figure,
    effects: Mapping[str, Summary],
    significant: Collection[str],
    quantity: Quantity,
    label: str,
    styles: Mapping[str, dict[str, str]],
) -> None:
    """Draw each effect and its 95% interval, numbers beside; filled where significant.

    A difference far beyond the others is an arrow at the edge: its number stands beside it.
    """
    axes = figure.subplots()
    low, high = _limits([*effects.values()])
    across = axes.get_yaxis_transform()  # x in parts of the axes' width
    for line, (name, effect) in enumerate(effects.items()):
        colour = styles[name]["color"]
        if low <= effect.mean <= high:
            if effect.low is not None and effect.high is not None:
                axes.plot([effect.low, effect.high], [line, line], "-", color=colour)
            face = colour if name in significant else "white"
            axes.plot(effect.mean, line, "o", color=colour, mfc=face, mew=1.4)
        else:
            edge, arrow = (0.98, ">") if effect.mean > 0 else (0.02, "<")
            axes.plot(edge, line, arrow, color=colour, markersize=7, transform=across)
        numbers = (quantity.show(effect.mean, signed=True), quantity.interval(effect, signed=True))
        text = "  ".join(filter(None, numbers))
        axes.text(1.02, line, text, transform=across, va="center", fontsize="small")
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylim(len(effects) - 0.5, -0.5)
    axes.set_yticks(range(len(effects)), [*effects])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)


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
