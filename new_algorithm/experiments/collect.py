"""The record of an experiment, gathered from the records of its runs: tables that stand alone.

experiment.json, runs.csv, curves.csv and trials.csv are what the report is made of and what is
published; the folders of single runs, of which there may be hundreds, need not be.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from new_algorithm.experiments.definition import Experiment
from new_algorithm.experiments.record_tables import (
    COLUMNS,
    CURVES_FILE,
    EXPERIMENT_FILE,
    RUNS_FILE,
    TRIALS_FILE,
)
from new_algorithm.experiments.search import at_an_edge, describe_space
from new_algorithm.experiments.single_run import run_tag
from new_algorithm.experiments.tuning import Chosen, open_space
from new_algorithm.methods.registry import METHODS
from new_algorithm.plots.series import Series
from new_algorithm.record.files import Row, read_json, read_record, save_csv, save_json
from new_algorithm.record.history import read_series
from new_algorithm.record.layout import Layout
from new_algorithm.record.note import show

UNITS = ("_fraction", "_nats")  # of metrics in run.json


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
    for task, variation, seed in product(experiment.tasks, experiment.variations, experiment.seeds):
        tag = run_tag(task.name, variation.name, seed)
        about: Row = {"task": task.name, "variation": variation.name, "seed": seed}
        record = read_record(layout.record(tag)) or {}
        records.append(record)
        runs.append(_run_row({"tag": f"{layout.group}/{tag}", **about}, record))
        curves += _curve_rows(about, record, read_series(layout.record(tag)))
    save_csv(folder / RUNS_FILE, runs)
    save_csv(folder / CURVES_FILE, curves or [dict.fromkeys(COLUMNS[CURVES_FILE], "")])
    searched = {pair: found for pair, found in chosen.items() if found.trials}
    trials = [
        {"task": task, "variation": variation, **row}
        for (task, variation), found in searched.items()
        for row in found.trials
    ]
    if trials:
        save_csv(folder / TRIALS_FILE, trials)
    tasks = {task.name: task for task in experiment.tasks}
    variations = {variation.name: variation for variation in experiment.variations}
    methods = {variation.method: METHODS[variation.method] for variation in experiment.variations}
    earlier = read_json(folder / EXPERIMENT_FILE) or {}  # of a call that did a part of the runs
    facts = {
        "experiment": definition_of(experiment),
        "commands": list(dict.fromkeys([*earlier.get("commands", ()), command])),
        "environment": _environment(records),
        "edges": {
            f"{task}, {variation}": at_an_edge(
                open_space(variations[variation], tasks[task]), found.settings
            )
            for (task, variation), found in searched.items()
        },
        "methods": {
            key: {"name": one.name, "source": one.source, "space": describe_space(one.space)}
            for key, one in methods.items()
        },
    }
    save_json(folder / EXPERIMENT_FILE, facts)


def definition_of(experiment: Experiment) -> dict[str, Any]:
    """Return what `read_entries` makes an experiment of: a task with a model has no widths."""
    facts = asdict(experiment)
    for task in facts["tasks"]:
        if not task["widths"]:
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


def _run_row(about: Row, record: dict[str, Any]) -> Row:
    metrics = record.get("final_metrics", {})
    for unit in UNITS:
        metrics = {name.removesuffix(unit): value for name, value in metrics.items()}
    config = record.get("config", {})
    known: Row = {
        **about,
        "status": record.get("status", "missing"),
        "epochs": config.get("epochs", ""),
        "settings": show(config.get("settings", {})),
        "error": record.get("error") or "",
    }
    return {name: known.get(name, _number(metrics.get(name, ""))) for name in COLUMNS[RUNS_FILE]}


def _curve_rows(about: Row, record: dict[str, Any], series: Series) -> list[Row]:
    rows = record.get("data", {}).get("counts", {}).get("train", 0)
    series = {**series, "samples": rows * series.get("epoch", np.array([]))}
    names = [name for name in COLUMNS[CURVES_FILE] if name not in about]
    return [
        about | {name: _number(series[name][at]) if name in series else "" for name in names}
        for at in range(len(series["samples"]))
    ]


def _number(value: Any) -> Any:
    """A number of NumPy's as Python's; a loss that is not finite, a string in JSON, as nothing."""
    if isinstance(value, str):
        return ""
    value = np.asarray(value).item()
    return value if np.isfinite(value) else ""
