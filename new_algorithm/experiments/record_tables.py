"""The record of an experiment, ploting_data/<tag>/, as the report reads it: checked and grouped.

An experiment leaves experiment.json (its definition, commands and environment), runs.csv (a row a
run), curves.csv (a row an epoch) and, where it searched, trials.csv (a row a trial).
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from new_algorithm.cli.errors import UserError
from new_algorithm.experiments.definition import Experiment, Paper, Task, Variation
from new_algorithm.measurements.lambda_map import MAP_FILE
from new_algorithm.record.files import read_csv
from new_algorithm.record.layout import Layout

EXPERIMENT_FILE, RUNS_FILE, CURVES_FILE = "experiment.json", "runs.csv", "curves.csv"
TRIALS_FILE = "trials.csv"
COLUMNS = {
    RUNS_FILE: (
        "tag task variation seed status epochs settings test_accuracy test_auc test_loss"
        " validation_accuracy validation_auc validation_loss train_accuracy train_loss"
        " train_cpu_seconds train_wall_seconds peak_memory_mb error"
    ),
    CURVES_FILE: (
        "task variation seed epoch samples train_cpu_seconds train_loss"
        " validation_accuracy validation_auc validation_loss"
    ),
    TRIALS_FILE: "task variation trial value state cpu_seconds epochs settings",
}

WORDS = {"tag", "task", "variation", "status", "state", "settings", "error"}  # other columns:
WHOLE = {"seed", "epochs", "epoch", "trial"}  # whole numbers, and the rest any numbers

Row = dict[str, str]
Groups = Mapping[tuple[str, str], list[Row]]  # by task and variation


@dataclass(frozen=True)
class ExperimentRecord:
    """methods: name, source and search space by key. lambda_map: its file, where there is one.

    edges: by "task, variation", the chosen settings that lie at an edge of their space.
    """

    tag: str
    experiment: Experiment
    commands: list[str]
    environment: dict[str, Any]
    methods: dict[str, dict[str, Any]]
    runs: Groups
    curves: Groups
    trials: Groups
    lambda_map: Path | None
    edges: dict[str, list[str]]

    def values(self, task: str, variation: str, column: str) -> dict[int, float]:
        """The finite numbers in `column` of the runs that did not fail, by seed."""
        rows = [row for row in self.runs[task, variation] if row["status"] != "failed"]
        found = {int(row["seed"]): number(row[column]) for row in rows}
        return {seed: value for seed, value in found.items() if value is not None}

    def count(self, status: str, task: str, variation: str) -> int:
        """How many runs ended so: completed, diverged or failed."""
        return sum(row["status"] == status for row in self.runs[task, variation])

    def diverged(self, task: str, variation: str) -> int:
        return self.count("diverged", task, variation)


def number(text: str) -> float | None:
    """The number in a cell; None for an empty cell and for one that is not finite."""
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None


def read_experiment(tag: str, layout: Layout) -> ExperimentRecord:
    """Read ploting_data/<tag>/; UserError names what is missing or unsound, and the remedy."""
    folder = layout.record(tag)
    definition = _read_json(folder / EXPERIMENT_FILE, layout)
    try:
        experiment = _experiment(definition["experiment"])
        parts = {name: definition[name] for name in ("commands", "environment", "methods")}
    except (KeyError, TypeError) as error:
        raise _unsound(folder / EXPERIMENT_FILE, f"entry {error} is missing", layout) from error
    trials = folder / TRIALS_FILE
    record = ExperimentRecord(
        tag,
        experiment,
        **parts,
        runs=_group(_read_rows(folder / RUNS_FILE, layout)),
        curves=_group(_read_rows(folder / CURVES_FILE, layout)),
        trials=_group(_read_rows(trials, layout) if trials.exists() else ()),
        lambda_map=_lambda_map(experiment, layout),
        edges=definition.get("edges", {}),
    )
    _check_runs(record, folder / RUNS_FILE, layout)
    return record


def _experiment(entries: dict[str, Any]) -> Experiment:
    """The inverse of `dataclasses.asdict` and JSON, which knows lists alone."""
    tasks = tuple(
        Task(**task | {key: tuple(task[key]) for key in ("widths", "metrics")})
        for task in entries["tasks"]
    )
    variations = tuple(Variation(**variation) for variation in entries["variations"])
    paper = entries.get("paper")
    if paper is not None:
        paper = Paper(**paper | {"deviations": tuple(paper["deviations"])})
    lists = {name: tuple(entries.get(name, ())) for name in ("seeds", "caveats")}
    parts = {"tasks": tasks, "variations": variations, "paper": paper}
    return Experiment(**entries | lists | parts)


def _read_json(path: Path, layout: Layout) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _unsound(path, "cannot be read", layout) from error
    except ValueError as error:
        raise _unsound(path, "is not JSON", layout) from error
    if not isinstance(value, dict):
        raise _unsound(path, "is not a JSON object", layout)
    return value


def _read_rows(path: Path, layout: Layout) -> list[Row]:
    try:
        rows = read_csv(path)
    except (OSError, UnicodeDecodeError) as error:
        raise _unsound(path, "cannot be read", layout) from error
    needed = COLUMNS[path.name].split()
    for line, row in enumerate(rows, start=2):
        if missing := [name for name in needed if row.get(name) is None]:
            raise _unsound(path, f"line {line}: no {', '.join(missing)}", layout)
        for name in needed:
            read = int if name in WHOLE else float if name not in WORDS else str
            try:
                read(row[name] or 0)
            except ValueError as error:
                problem = f"line {line}: {name} {row[name]!r} is not a number"
                raise _unsound(path, problem, layout) from error
    return rows


def _group(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["task"], row["variation"]), []).append(row)
    return groups


def _check_runs(record: ExperimentRecord, path: Path, layout: Layout) -> None:
    """Every variation has one run of each seed on each task: none left out, none counted twice."""
    experiment = record.experiment
    for task in experiment.tasks:
        for variation in experiment.variations:
            where = f"{task.name}, {variation.name}"
            rows = record.runs.get((task.name, variation.name), [])
            if sorted(int(row["seed"]) for row in rows) != sorted(experiment.seeds):
                raise _unsound(path, f"{where}: not one run of each seed", layout)
            if odd := {row["status"] for row in rows} - {"completed", "diverged", "failed"}:
                raise _unsound(path, f"{where}: unknown status {min(odd)!r}", layout)


def _lambda_map(experiment: Experiment, layout: Layout) -> Path | None:
    if experiment.lambda_map is None:
        return None
    path = layout.record(experiment.lambda_map) / MAP_FILE
    return path if path.is_file() else None


def _unsound(path: Path, problem: str, layout: Layout) -> UserError:
    return UserError(
        f"{layout.relative(path)}: {problem}: run the experiment again, finished runs are kept"
    )
