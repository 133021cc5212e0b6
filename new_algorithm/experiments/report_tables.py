"""The tables of a report, cell by cell, for the HTML page and its Markdown twin."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from new_algorithm.experiments.definition import Task
from new_algorithm.experiments.leaderboard import Comparison, Standing
from new_algorithm.experiments.quantities import (
    CPU_SECONDS,
    PEAK_MEMORY,
    TRAIN_LOSS,
    WALL_SECONDS,
    Effect,
    Quantity,
    effect,
    is_ablation,
    metric,
)
from new_algorithm.experiments.record_tables import ExperimentRecord, number
from new_algorithm.experiments.statistics import Summary

TESTS = ("t_p", "wilcoxon_p", "permutation_p")
NOT_TESTABLE = "not testable"


@dataclass(frozen=True)
class Cell:
    """interval: what stands smaller beside the text. strong: in bold."""

    text: str
    interval: str = ""
    strong: bool = False

    def markdown(self) -> str:
        text = f"**{self.text}**" if self.strong else self.text
        return f"{text} {self.interval}".strip()


@dataclass(frozen=True)
class Table:
    """texts: how many columns from the left are words, aligned left; the others are numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    texts: int = 1
    notes: list[str] = field(default_factory=list)

    def markdown_rows(self) -> list[list[str]]:
        return [[cell.markdown() for cell in row] for row in self.rows]


def overview_table(record: ExperimentRecord, leaderboards: dict[str, list[Standing]]) -> Table:
    """A row a variation, a column a task: mean ± half of the 95% interval; best mean rank first."""
    ranks = {
        one.name: float(np.mean([_place(table, one.name) for table in leaderboards.values()]))
        for one in record.experiment.variations
    }
    quantities = {task.name: metric(task.metrics[0]) for task in record.experiment.tasks}
    header = ["method", *(f"{name}: {quantities[name].name}" for name in leaderboards), "mean rank"]
    rows = [
        [
            Cell(name),
            *(
                _plus_minus(table[_place(table, name) - 1], quantities[task])
                for task, table in leaderboards.items()
            ),
            Cell(f"{ranks[name]:.1f}"),
        ]
        for name in sorted(ranks, key=lambda one: ranks[one])
    ]
    return Table(header, rows)


def _place(standings: Sequence[Standing], variation: str) -> int:
    """The place of a variation, from 1."""
    return 1 + [one.variation for one in standings].index(variation)


def _plus_minus(one: Standing, quantity: Quantity) -> Cell:
    if one.summary is None:
        return Cell("–")
    text = quantity.show(one.summary.mean)
    if one.summary.high is not None:
        text += f" ± {quantity.show(one.summary.high - one.summary.mean)}"
    return Cell(text, strong=one.among_best)


def leaderboard_table(record: ExperimentRecord, task: Task, standings: Sequence[Standing]) -> Table:
    """A row a variation: score, difference, tests, then what it cost."""
    first, *others = map(metric, task.metrics)
    shown_as = effect(record.experiment, first)
    means = [*others, TRAIN_LOSS]
    costs = [CPU_SECONDS, WALL_SECONDS, PEAK_MEMORY]
    header = [
        "part" if is_ablation(record.experiment) else "method",
        first.name,
        "sd",
        f"{shown_as.name} from {record.experiment.baseline}"
        if shown_as.name == "difference"
        else shown_as.name,
        *("p, t", "p, Wilcoxon", "p, permutation", "d"),
        *(quantity.name for quantity in means),
        *("epochs", "CPU s", "wall s", "peak MB", "diverged"),
    ]
    rows = []
    for one in standings:
        name = one.variation
        rows.append(
            [
                Cell(name, strong=one.among_best),
                _score(one, first),
                Cell(_spread(one.summary, first)),
                *_tests(one.comparison, first, shown_as),
                *(Cell(_mean(record, task, name, quantity)) for quantity in means),
                Cell(_epochs(record, task, name)),
                *(Cell(_mean(record, task, name, quantity)) for quantity in costs),
                Cell(f"{record.diverged(task.name, name)}/{len(record.experiment.seeds)}"),
            ]
        )
    return Table(header, rows, notes=_notes(standings))


def with_interval(summary: Summary, quantity: Quantity, signed: bool = False) -> Cell:
    """Mean, and the 95% interval where there is one."""
    interval = ""
    if summary.low is not None:
        ends = (quantity.show(end, signed) for end in (summary.low, summary.high))
        interval = f"[{', '.join(ends)}]"
    return Cell(quantity.show(summary.mean, signed), interval)


def show_p(p: float | None) -> str:
    if p is None:
        return NOT_TESTABLE
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _score(one: Standing, quantity: Quantity) -> Cell:
    if one.summary is None:
        return Cell("–")
    cell = with_interval(one.summary, quantity)
    counted = f" ({one.summary.count} runs)" if one.unscored else ""
    return Cell(cell.text, cell.interval + counted, strong=one.among_best)


def _spread(summary: Summary | None, quantity: Quantity) -> str:
    return quantity.show(summary.sd if summary else None)


def _tests(comparison: Comparison | None, quantity: Quantity, shown_as: Effect) -> list[Cell]:
    """The difference, three p values and Cohen's d; dashes for the baseline."""
    if comparison is None:
        return [Cell("–")] * 5
    size = comparison.cohens_d
    return [
        with_interval(shown_as.of(comparison.difference), quantity, signed=True),
        *(Cell(show_p(getattr(comparison, name))) for name in TESTS),
        Cell("–" if size is None else f"{size:+.2f}".replace("-", "−")),
    ]


def _mean(record: ExperimentRecord, task: Task, variation: str, quantity: Quantity) -> str:
    values = record.values(task.name, variation, quantity.column)
    return quantity.show(float(np.mean([*values.values()])) if values else None)


def _epochs(record: ExperimentRecord, task: Task, variation: str) -> str:
    found = sorted({int(row["epochs"] or 0) for row in record.runs[task.name, variation]})
    return str(found[0]) if len(found) == 1 else f"{found[0]}–{found[-1]}"


def _notes(standings: Sequence[Standing]) -> list[str]:
    """Why something was not tested, and over how many runs a mean is."""
    untested: dict[str, list[str]] = {}
    for one in standings:
        if one.comparison and one.comparison.reason:
            untested.setdefault(one.comparison.reason, []).append(one.variation)
    notes = [f"Not testable ({why}): {', '.join(names)}." for why, names in untested.items()]
    notes += [
        f"{one.variation}: {one.unscored} of its runs left no score; what is left may flatter it, "
        "so it is listed last and not tested."
        for one in standings
        if one.unscored
    ]
    return notes


def search_table(record: ExperimentRecord, task: Task) -> Table:
    """A row a variation: its trials on the validation rows, and the settings that they chose."""
    experiment = record.experiment
    best = metric(task.metrics[0], "validation")
    rows = []
    for variation in experiment.variations:
        trials = record.trials.get((task.name, variation.name), [])
        values = [value for row in trials if (value := number(row["value"])) is not None]
        spent = sum(number(row["cpu_seconds"]) or 0.0 for row in trials)
        highest = max(values, default=None)  # of a loss trials hold the negative
        if highest is not None and best.less_is_better:
            highest = -highest
        rows.append(
            [
                Cell(variation.name),
                Cell(_settings(record, task, variation.name)),
                Cell(str(len(trials))),
                Cell(str(sum(row["state"] == "diverged" for row in trials))),
                Cell(best.show(highest)),
                Cell(CPU_SECONDS.show(spent)),
            ]
        )
    header = ["method", "settings", "trials", "diverged", f"best {best.name}", "CPU s"]
    return Table(header, rows, texts=2, notes=_edge_notes(record, task))


def _edge_notes(record: ExperimentRecord, task: Task) -> list[str]:
    """What a wider search might have found."""
    found = [
        f"{one.name}'s {' and '.join(names)}"
        for one in record.experiment.variations
        if (names := record.edges.get(f"{task.name}, {one.name}"))
    ]
    return [f"At an edge of what could be tried: {', '.join(found)}."] * bool(found)


def _settings(record: ExperimentRecord, task: Task, variation: str) -> str:
    rows = record.runs[task.name, variation]
    return " | ".join(dict.fromkeys(row["settings"] for row in rows))


def space_table(record: ExperimentRecord) -> Table:
    """A row a method: where it is from, and what its search may try."""
    rows = [
        [
            Cell(method["name"]),
            Cell(method["source"]),
            Cell("; ".join(f"{name}: {text}" for name, text in method["space"].items()) or "–"),
        ]
        for method in record.methods.values()
    ]
    return Table(["method", "source", "search space"], rows, texts=3)


def runs_table(record: ExperimentRecord) -> Table:
    """Every run by its tag."""
    rows = []
    for task in record.experiment.tasks:
        quantity = metric(task.metrics[0])
        for variation in record.experiment.variations:
            rows += [
                [
                    *(Cell(row[name]) for name in ("tag", "task", "variation")),
                    Cell(row["status"] + (f": {row['error']}" if row["error"] else "")),
                    Cell(row["seed"]),
                    Cell(quantity.show(number(row[quantity.column]))),
                ]
                for row in record.runs[task.name, variation.name]
            ]
    return Table(["tag", "task", "method", "status", "seed", "first metric"], rows, texts=4)


def environment_table(record: ExperimentRecord) -> Table:
    """Commit, machine, threads and packages."""
    facts = record.environment
    git, host = facts.get("git") or {}, facts.get("host") or {}
    commit = f"{git.get('commit', 'unknown')}{', with changes' if git.get('dirty') else ''}"
    memory = host.get("memory_bytes")
    machine = [
        host.get("cpu"),
        f"{host.get('cores')} cores, {host.get('cores_usable')} usable",
        f"{memory / 2**30:.1f} GiB" if memory else None,
    ]
    packages = facts.get("packages") or {}
    rows = {
        "commit": commit,
        "machine": ", ".join(filter(None, machine)),
        "system": f"{host.get('os')}, Python {host.get('python')}",
        "threads": threads(record) or "unknown",
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
    }
    return Table(["", ""], [[Cell(key), Cell(value)] for key, value in rows.items()], texts=2)


def threads(record: ExperimentRecord) -> str:
    """Each BLAS and OpenMP library with its threads."""
    pools = record.environment.get("thread_pools") or []
    return ", ".join(
        dict.fromkeys(f"{pool.get('internal_api')} {pool.get('num_threads')}" for pool in pools)
    )
