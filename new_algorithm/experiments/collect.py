"""The record of an experiment, gathered from the records of its runs: tables that stand alone.

experiment.json, runs.csv, curves.csv and trials.csv are what the report is made of and what is
published; the folders of single runs, of which there may be hundreds, need not be.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from new_algorithm.experiments.experiment import Experiment, run_tag
from new_algorithm.experiments.quantities import columns_of_runs, without_units
from new_algorithm.experiments.record_tables import (
    CURVES_FILE,
    EXPERIMENT_FILE,
    RUNS_FILE,
    TRIALS_FILE,
    columns_of,
)
from new_algorithm.experiments.search import at_an_edge
from new_algorithm.experiments.trainable import Chosen
from new_algorithm.experiments.tuning import trainable_of
from new_algorithm.plots.series import Series
from new_algorithm.record.files import Row, read_json, read_record, save_csv, save_json
from new_algorithm.record.history import read_series
from new_algorithm.record.layout import Layout


def collect(
    experiment: Experiment,
    chosen: Mapping[tuple[str, str], Chosen],
    layout: Layout,
    folder: Path,
    command: str,
) -> None:
    """Write the tables into `folder` from the runs below `layout`.

    command: the one that was given now; those before it are kept.
    """
    runs: list[Row] = []
    curves: list[Row] = []
    records: list[dict[str, Any]] = []
    trained = {
        (task.name, one.name): trainable_of(task, one, layout, threads=1)
        for task, one in product(experiment.tasks, experiment.variations)
    }
    named = columns_of_runs(experiment)
    columns = columns_of(experiment)
    for (task, variation), seed in product(trained, experiment.seeds):
        tag, one = run_tag(task, variation, seed), trained[task, variation]
        about: Row = {"task": task, "variation": variation, "seed": seed}
        record = read_record(layout.record(tag)) or {}
        records.append(record)
        known = {"tag": f"{layout.group}/{tag}", **about, **one.facts(record)}
        runs.append(_run_row(columns[RUNS_FILE], known, record, named))
        series = read_series(layout.record(tag))
        samples = one.samples(record, series.get("epoch", np.array([])))
        if samples is not None:
            series["samples"] = samples
        curves += _curve_rows(columns[CURVES_FILE], about, series, named)
    save_csv(folder / RUNS_FILE, runs)
    save_csv(folder / CURVES_FILE, curves or [dict.fromkeys(columns[CURVES_FILE], "")])
    searched = {pair: found for pair, found in chosen.items() if found.trials}
    trials = [
        {"task": task, "variation": variation, **row}
        for (task, variation), found in searched.items()
        for row in found.trials
    ]
    if trials:
        save_csv(folder / TRIALS_FILE, trials)
    earlier = read_json(folder / EXPERIMENT_FILE) or {}  # of a call that did a part of the runs
    facts = {
        "experiment": definition_of(experiment),
        "commands": list(dict.fromkeys([*earlier.get("commands", ()), command])),
        "environment": _environment(records),
        "edges": {
            ", ".join(pair): at_an_edge(trained[pair].space, found.settings)
            for pair, found in searched.items()
        },
        "methods": dict(one.about() for one in trained.values()),
    }
    save_json(folder / EXPERIMENT_FILE, facts)


def definition_of(experiment: Experiment) -> dict[str, Any]:
    """Return what `read_entries` makes an experiment of: a task with a model has no widths."""
    facts = asdict(experiment)
    for task in facts["tasks"]:
        if not task.get("widths", True):
            del task["widths"]
    return facts


def _environment(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Of all runs: they may come from several commits, and load different libraries."""
    states = [record.get("git") or {"commit": "unknown", "dirty": False} for record in records]
    pools = [pool for record in records for pool in record.get("thread_pools", ())]
    return {
        "packages": records[-1].get("packages"),
        "host": records[-1].get("host"),
        "git": {
            "commit": ", ".join(dict.fromkeys(state["commit"] for state in states)),
            "dirty": any(state["dirty"] for state in states),
        },
        "thread_pools": list({json.dumps(pool): pool for pool in pools}.values()),
    }


def _run_row(
    columns: Sequence[str], known: Row, record: dict[str, Any], named: Mapping[str, str]
) -> Row:
    """What is known of a run, and the numbers that it recorded.

    named: metrics by their columns.
    """
    known = {**known, "status": record.get("status", "missing"), "error": record.get("error") or ""}
    metrics = without_units(record.get("final_metrics", {}))
    return {name: known.get(name, _found(metrics, name, named)) for name in columns}


def _curve_rows(
    columns: Sequence[str], about: Row, series: Series, named: Mapping[str, str]
) -> list[Row]:
    """A row an epoch, with what is recorded of it."""
    rows = []
    for at in range(len(series.get("epoch", ()))):
        numbers = {name: values[at] for name, values in series.items() if values.ndim == 1}
        rows.append({name: about.get(name, _found(numbers, name, named)) for name in columns})
    return rows


def _found(numbers: Mapping[str, Any], column: str, named: Mapping[str, str]) -> Any:
    """The number of a column; of a script's metric that may go by its bare name."""
    value = numbers.get(column, numbers.get(named.get(column, column), ""))
    return _number(value)


def _number(value: Any) -> Any:
    """A number of NumPy's as Python's; a loss that is not finite, a string in JSON, as nothing."""
    if isinstance(value, str):
        return ""
    value = np.asarray(value).item()
    return value if np.isfinite(value) else ""
