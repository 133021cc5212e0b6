"""The record of an experiment, ploting_data/<tag>/, as the report reads it: checked and grouped.

An experiment leaves experiment.json (its definition, commands and environment), runs.csv (a row a
run), curves.csv (a row an epoch) and, where it searched, trials.csv (a row a trial).
"""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from new_algorithm.cli.errors import UserError
from new_algorithm.experiments.entries import read_entries
from new_algorithm.experiments.experiment import Experiment
from new_algorithm.experiments.quantities import columns_of_curves, columns_of_runs
from new_algorithm.measurements.lambda_map import MAP_FILE
from new_algorithm.record.files import Row, read_csv
from new_algorithm.record.fitting import UNFIT
from new_algorithm.record.layout import Layout
from new_algorithm.record.reservation import kind_of

EXPERIMENT_FILE, RUNS_FILE, CURVES_FILE = "experiment.json", "runs.csv", "curves.csv"
TRIALS_FILE = "trials.csv"
COLUMNS = {
    file: names.split()
    for file, names in {
        RUNS_FILE: "tag task variation seed status epochs settings test_accuracy test_auc test_loss"
        " validation_accuracy validation_auc validation_loss train_accuracy train_loss"
        " train_cpu_seconds train_wall_seconds peak_memory_mb error",
        CURVES_FILE: "task variation seed epoch samples train_cpu_seconds train_loss"
        " validation_accuracy validation_auc validation_loss",
        TRIALS_FILE: "task variation trial value state cpu_seconds epochs settings",
    }.items()
}

WORDS = {"tag", "task", "variation", "status", "state", "settings", "error"}  # other columns:
WHOLE = {"seed", "epochs", "epoch", "trial"}  # whole numbers, and the rest any numbers

# by task and variation; cells that are no words are numbers, None where empty or not finite
Groups = Mapping[tuple[str, str], list[Row]]


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
        """The numbers in `column` of the runs that did not fail, by seed."""
        rows = [row for row in self.runs[task, variation] if row["status"] != "failed"]
        return {row["seed"]: row[column] for row in rows if row[column] is not None}

    def count(self, status: str, task: str, variation: str) -> int:
        """How many runs ended so: completed, diverged or failed."""
        return sum(row["status"] == status for row in self.runs[task, variation])


def columns_of(experiment: Experiment) -> dict[str, list[str]]:
    """Return the columns of each table; those of runs and curves have the tasks' metrics too."""
    more = {RUNS_FILE: columns_of_runs(experiment), CURVES_FILE: columns_of_curves(experiment)}
    return {
        file: list(dict.fromkeys([*columns, *more.get(file, ())]))
        for file, columns in COLUMNS.items()
    }


def read_experiment(tag: str, layout: Layout) -> ExperimentRecord:
    """Read ploting_data/<tag>/; UserError names what is missing or unsound, and the remedy."""
    kind = kind_of(layout.record(tag))
    if not layout.record(tag).is_dir() or kind not in (None, "experiment"):
        there = f"a {kind}" if kind else "nothing"
        raise UserError(
            f"{layout.relative(layout.records)}/ holds {there} of the name {tag}: name an "
            "experiment"
        )
    folder = layout.record(tag)
    with _reading(folder / EXPERIMENT_FILE, layout) as path:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(facts, dict):
            raise UserError("is not a JSON object")
        experiment = read_entries(Experiment, facts["experiment"], "experiment")
        known: dict[str, Any] = {
            name: facts[name] for name in ("commands", "environment", "methods")
        }
    for name, columns in columns_of(experiment).items():
        with _reading(folder / name, layout) as path:
            searched = name != TRIALS_FILE or path.exists()
            known[path.stem] = _groups(path, columns) if searched else {}
    with _reading(folder / RUNS_FILE, layout):
        _check_runs(experiment, known["runs"])
    lambda_map = layout.record(experiment.lambda_map or "") / MAP_FILE
    return ExperimentRecord(
        tag,
        experiment,
        **known,
        lambda_map=lambda_map if lambda_map.is_file() else None,
        edges=facts.get("edges", {}),
    )


@contextmanager
def _reading(path: Path, layout: Layout) -> Iterator[Path]:
    """Let what goes wrong with the file inside be a UserError that names it and the remedy."""
    try:
        yield path
    except (OSError, csv.Error, UserError, *UNFIT) as error:
        problem = "is not JSON" if isinstance(error, json.JSONDecodeError) else "cannot be read"
        if isinstance(error, KeyError):
            problem = f"entry {error} is missing"
        if isinstance(error, UserError):
            problem = str(error)
        raise UserError(
            f"{layout.relative(path)}: {problem}: run the experiment again, finished runs are kept"
        ) from error


def _groups(path: Path, columns: Sequence[str]) -> dict[tuple[str, str], list[Row]]:
    """The rows of a table by task and variation; UserError for what is missing or no number."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for line, texts in enumerate(read_csv(path), start=2):
        if missing := [name for name in columns if texts.get(name) is None]:
            raise UserError(f"line {line}: no {', '.join(missing)}")
        row = {name: _cell(name, texts[name], line) for name in columns}
        groups.setdefault((row["task"], row["variation"]), []).append(row)
    return groups


def _cell(name: str, text: str, line: int) -> Any:
    if name in WORDS:
        return text
    try:
        value = int(text) if text and name in WHOLE else float(text or math.nan)
    except ValueError as error:
        raise UserError(f"line {line}: {name} {text!r} is not a number") from error
    return value if math.isfinite(value) else None


def _check_runs(experiment: Experiment, runs: Groups) -> None:
    """Every variation has one run of each seed on each task: none left out, none counted twice."""
    for task, variation in product(experiment.tasks, experiment.variations):
        where = f"{task.name}, {variation.name}"
        rows = runs.get((task.name, variation.name), [])
        if Counter(row["seed"] for row in rows) != Counter(experiment.seeds):
            raise UserError(f"{where}: not one run of each seed")
        if odd := {row["status"] for row in rows} - {"completed", "diverged", "failed"}:
            raise UserError(f"{where}: unknown status {min(odd)!r}")
