"""The tables of a report, cell by cell, for the HTML page and its Markdown twin."""

from collections.abc import Sequence

import numpy as np

from new_algorithm.experiments.experiment import AnyTask
from new_algorithm.experiments.leaderboard import Comparison, Standing
from new_algorithm.experiments.quantities import (
    CPU_SECONDS,
    PEAK_MEMORY,
    WALL_SECONDS,
    Quantity,
    metric,
    scored_quantities,
)
from new_algorithm.experiments.record_tables import ExperimentRecord
from new_algorithm.experiments.statistics import Summary
from new_algorithm.record.pages import Cell, Table

NOT_TESTABLE = "not testable"
NOTHING = "–"
MOST_COLUMNS = 6  # of tasks, in a page's width


def overview_table(record: ExperimentRecord, leaderboards: dict[str, list[Standing]]) -> Table:
    """A row a variation, a column a task: mean ± half of the 95% interval; best mean rank first.

    The other way round where there are many tasks.
    """
    quantities = [metric(task.metrics[0]) for task in record.experiment.tasks]
    header = [f"{task}: {one.name}" for task, one in zip(leaderboards, quantities, strict=True)]
    places = [
        {one.variation: (place, one) for place, one in enumerate(standings, start=1)}
        for standings in leaderboards.values()
    ]
    ranks = {
        one.name: float(np.mean([by_name[one.name][0] for by_name in places]))
        for one in record.experiment.variations
    }
    rows: list[list[Cell | str]] = []
    for name in sorted(ranks, key=lambda one: ranks[one]):
        standings = [by_name[name][1] for by_name in places]
        scores = map(_plus_minus, standings, quantities)
        rows.append([name, *scores, f"{ranks[name]:.1f}"])
    header = ["method", *header, "mean rank"]
    if len(leaderboards) <= MOST_COLUMNS:
        return Table(header, rows)
    names, *columns = zip(*rows, strict=True)
    turned = [[title, *cells] for title, cells in zip(header[1:], columns, strict=True)]
    return Table(["task", *map(str, names)], turned)


def _plus_minus(one: Standing, quantity: Quantity) -> Cell:
    if one.summary is None:
        return Cell(NOTHING)
    text = quantity.show(one.summary.mean)
    if one.summary.high is not None:
        text += f" ± {quantity.show(one.summary.high - one.summary.mean)}"
    return Cell(text, strong=one.among_best)


def leaderboard_table(
    record: ExperimentRecord, task: AnyTask, standings: Sequence[Standing]
) -> Table:
    """A row a variation: score, difference, tests, then what it cost."""
    experiment = record.experiment
    first, *means = scored_quantities(task)
    costs = [CPU_SECONDS, WALL_SECONDS, PEAK_MEMORY]
    header = [
        "part" if experiment.is_ablation else "method",
        *(first.name, "sd"),
        "importance" if experiment.is_ablation else f"difference from {experiment.baseline}",
        *("p, t", "p, Wilcoxon", "p, permutation", "d"),
        *(quantity.name for quantity in means),
        *("epochs", "CPU s", "wall s", "peak MB", "diverged"),
    ]
    rows = []
    for one in standings:
        pair = task.name, one.variation
        epochs = sorted({row["epochs"] or 0 for row in record.runs[pair]})
        rows.append(
            [
                Cell(one.variation, strong=one.among_best),
                _score(one, first),
                first.show(one.summary.sd if one.summary else None),
                *_tests(one.comparison, first, experiment.is_ablation),
                *(_mean(record, pair, quantity) for quantity in means),
                "–".join(map(str, dict.fromkeys((epochs[0], epochs[-1])))),
                *(_mean(record, pair, quantity) for quantity in costs),
                f"{record.count('diverged', *pair)}/{len(experiment.seeds)}",
            ]
        )
    return Table(header, rows, notes=_notes(standings))


def with_interval(summary: Summary, quantity: Quantity, signed: bool = False) -> Cell:
    """Mean, and the 95% interval where there is one."""
    return Cell(quantity.show(summary.mean, signed), quantity.interval(summary, signed))


def show_p(p: float | None) -> str:
    if p is None:
        return NOT_TESTABLE
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _score(one: Standing, quantity: Quantity) -> Cell:
    if one.summary is None:
        return Cell(NOTHING)
    text, interval, _ = with_interval(one.summary, quantity)
    counted = f" ({one.summary.count} runs)" if one.unscored else ""
    return Cell(text, interval + counted, one.among_best)


def _tests(found: Comparison | None, quantity: Quantity, is_ablation: bool) -> list[Cell | str]:
    """The difference or importance, three p values and Cohen's d; dashes for the baseline."""
    if found is None:
        return [NOTHING] * 5
    effect = quantity.worsening(found.difference) if is_ablation else found.difference
    size = NOTHING if found.cohens_d is None else f"{found.cohens_d:+.2f}".replace("-", "−")
    p_values = map(show_p, (found.t_p, found.wilcoxon_p, found.permutation_p))
    return [with_interval(effect, quantity, signed=True), *p_values, size]


def _mean(record: ExperimentRecord, pair: tuple[str, str], quantity: Quantity) -> str:
    values = [*record.values(*pair, quantity.column).values()]
    return quantity.show(float(np.mean(values)) if values else None)


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


def search_table(record: ExperimentRecord, task: AnyTask) -> Table:
    """A row a variation: its trials on the validation rows, and the settings that they chose."""
    best = metric(task.metrics[0], "validation")
    rows, edges = [], []
    for name in (variation.name for variation in record.experiment.variations):
        trials = record.trials.get((task.name, name), [])
        highest = max((one["value"] for one in trials if one["value"] is not None), default=None)
        if highest is not None and best.less_is_better:
            highest = -highest  # of a loss trials hold the negative
        settings = dict.fromkeys(row["settings"] for row in record.runs[task.name, name])
        rows.append(
            [
                name,
                " | ".join(settings),
                str(len(trials)),
                str(sum(one["state"] == "diverged" for one in trials)),
                best.show(highest),
                CPU_SECONDS.show(sum(one["cpu_seconds"] or 0.0 for one in trials)),
            ]
        )
        if at_an_edge := record.edges.get(f"{task.name}, {name}"):
            edges.append(f"{name}'s {' and '.join(at_an_edge)}")
    header = ["method", "settings", "trials", "diverged", f"best {best.name}", "CPU s"]
    # what a wider search might have found
    notes = [f"At an edge of what could be tried: {', '.join(edges)}."] if edges else []
    return Table(header, rows, texts=2, notes=notes)


def space_table(record: ExperimentRecord) -> Table:
    """A row a method: where it is from, and what its search may try."""
    rows = [
        [
            method["name"],
            method["source"],
            "; ".join(f"{name}: {text}" for name, text in method["space"].items()) or NOTHING,
        ]
        for method in record.methods.values()
    ]
    return Table(["method", "source", "search space"], rows, texts=3)


def runs_table(record: ExperimentRecord) -> Table:
    """Every run by its tag."""
    deciding = {task.name: metric(task.metrics[0]) for task in record.experiment.tasks}
    rows = [
        [
            *(row[name] for name in ("tag", "task", "variation")),
            row["status"] + (f": {row['error']}" if row["error"] else ""),
            str(row["seed"]),
            deciding[row["task"]].show(row[deciding[row["task"]].column]),
        ]
        for runs in record.runs.values()
        for row in runs
    ]
    return Table(["tag", "task", "method", "status", "seed", "first metric"], rows, texts=4)


def environment_table(record: ExperimentRecord) -> Table:
    """Commit, machine, threads and packages."""
    facts = record.environment
    git, host = facts.get("git") or {}, facts.get("host") or {}
    memory = host.get("memory_bytes")
    machine = [
        host.get("cpu"),
        f"{host.get('cores')} cores, {host.get('cores_usable')} usable",
        f"{memory / 2**30:.1f} GiB" if memory else None,
    ]
    packages = facts.get("packages") or {}
    rows = [
        ["commit", git.get("commit", "unknown") + (", with changes" if git.get("dirty") else "")],
        ["machine", ", ".join(filter(None, machine))],
        ["system", f"{host.get('os')}, Python {host.get('python')}"],
        ["threads", threads(record) or "unknown"],
        ["packages", ", ".join(f"{name} {version}" for name, version in packages.items())],
    ]
    return Table(["", ""], rows, texts=2)


def threads(record: ExperimentRecord) -> str:
    """Each BLAS and OpenMP library with its threads."""
    pools = record.environment.get("thread_pools") or []
    return ", ".join(
        dict.fromkeys(f"{pool.get('internal_api')} {pool.get('num_threads')}" for pool in pools)
    )
