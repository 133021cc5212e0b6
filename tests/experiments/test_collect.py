"""The tables of an experiment say what its runs' own files say."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from new_algorithm.experiments import single_run as single_run_module
from new_algorithm.experiments.collect import collect
from new_algorithm.experiments.experiment import run_tag
from new_algorithm.experiments.record_tables import COLUMNS, columns_of
from new_algorithm.experiments.search import describe_space
from new_algorithm.experiments.single_run import SingleRunConfig, single_run
from new_algorithm.experiments.trainable import Chosen
from new_algorithm.methods.registry import METHODS
from new_algorithm.record.layout import REPOSITORY, Layout
from tests.experiments.tiny_experiments import TASK, Pretender, json_of, rows_of, tiny

COMMAND = "python new_algorithm/compare_methods.py tiny"
TRIAL = {"trial": 1, "value": 0.5, "state": "complete", "cpu_seconds": 0.1, "epochs": 2}
UNITS = {"accuracy": "_fraction", "loss": "_nats"}


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """An experiment of a method that trains, one that diverges after an epoch, one at once."""
    root = tmp_path_factory.mktemp("collected")
    layout = Layout(root, "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(single_run_module, "warm_up", lambda *_: None)
        for name, last in (("late", 1), ("early", 0)):
            pretender = Pretender(breaks=lambda settings, epoch, last=last: epoch > last)
            patch.setitem(METHODS, name, pretender.method(name))
        experiment = tiny("foof", "late", "early")
        chosen = {}
        for variation in experiment.variations:
            settings = METHODS[variation.method].defaults
            row = TRIAL | {"settings": '{"batch_size": 32}'}
            chosen[TASK.name, variation.name] = Chosen(settings, 2, [row])
            for seed in experiment.seeds:
                config = SingleRunConfig(
                    tag=run_tag(TASK.name, variation.name, seed),
                    seed=seed,
                    task=TASK,
                    variation=variation.name,
                    method=variation.method,
                    settings=settings,
                    epochs=2,
                )
                single_run(config, layout, REPOSITORY / "new_algorithm" / "compare_methods.py")
        folder = root / "tables"
        folder.mkdir()
        collect(experiment, chosen, layout, folder, COMMAND)
    return SimpleNamespace(experiment=experiment, layout=layout, folder=folder)


def test_a_row_for_each_run_with_the_numbers_of_its_record(collected):
    rows = rows_of(collected.folder / "runs.csv")
    assert list(rows[0]) == COLUMNS["runs.csv"]
    names = [variation.name for variation in collected.experiment.variations]
    assert [(row["variation"], row["seed"]) for row in rows] == [
        (name, seed) for name in names for seed in "01"
    ]
    for row in rows:
        record = json_of(collected.layout.records.parent / row["tag"] / "run.json")
        metrics = record["final_metrics"]
        assert row["status"] == record["status"]
        assert row["error"] == (record["error"] or "")
        assert int(row["epochs"]) == record["config"]["epochs"]
        compared = 0
        for column, cell in row.items():
            part, _, metric = column.partition("_")
            unit = UNITS.get(metric, "") if part != "test" else ""
            if column in ("test_accuracy", "test_loss") or column + unit in metrics:
                value = metrics.get(column + unit)
                assert (float(cell) if cell else None) == value, column
                compared += value is not None
        assert compared >= (9 if row["variation"] == METHODS["foof"].name else 1)


def test_divergence_is_a_row_like_any_other(collected):
    rows = {row["variation"]: row for row in rows_of(collected.folder / "runs.csv")}
    assert {name: row["status"] for name, row in rows.items()} == {
        METHODS["foof"].name: "completed",
        "late": "diverged",
        "early": "diverged",
    }
    assert float(rows["late"]["test_loss"]) > 0
    assert rows["early"]["test_loss"] == ""
    assert "epoch 1: as planned" in rows["early"]["error"]


def test_a_row_for_each_epoch_with_the_numbers_of_the_arrays(collected):
    rows = rows_of(collected.folder / "curves.csv")
    assert list(rows[0]) == COLUMNS["curves.csv"]
    for variation, epochs in zip(collected.experiment.variations, (2, 1, 0), strict=True):
        for seed in (0, 1):
            own = [
                row
                for row in rows
                if (row["variation"], row["seed"]) == (variation.name, str(seed))
            ]
            assert [row["epoch"] for row in own] == ["1", "2"][:epochs]
            assert [int(row["samples"]) for row in own] == [300, 600][:epochs]
            folder = collected.layout.record(run_tag(TASK.name, variation.name, seed))
            arrays = ("train_loss", "train_cpu_seconds", "validation_loss", "validation_accuracy")
            for name in arrays if own else ():
                column = [float(row[name]) for row in own]
                np.testing.assert_array_equal(column, np.load(folder / f"{name}.npy"), name)
            assert all(row["validation_auc"] == "" for row in own)


def test_trials_definition_and_methods(collected):
    trials = rows_of(collected.folder / "trials.csv")
    assert list(trials[0]) == COLUMNS["trials.csv"]
    assert [row["variation"] for row in trials] == [
        variation.name for variation in collected.experiment.variations
    ]
    facts = json_of(collected.folder / "experiment.json")
    assert facts["commands"] == [COMMAND]
    assert facts["experiment"]["seeds"] == [0, 1]
    assert facts["methods"]["foof"]["source"] == METHODS["foof"].source
    assert facts["methods"]["foof"]["space"] == describe_space(METHODS["foof"].space)
    assert set(facts["environment"]) == {"git", "packages", "thread_pools", "host"}


def test_commands_commits_and_libraries_are_those_of_all_calls_and_runs(collected, tmp_path):
    root, folder = tmp_path / "root", tmp_path / "tables"
    shutil.copytree(collected.layout.root, root)
    folder.mkdir()
    layout = Layout(root, "tiny")
    first = layout.record(run_tag(TASK.name, METHODS["foof"].name, 0)) / "run.json"
    record = json_of(first)
    record["git"] = {"commit": "another", "dirty": False}
    record["thread_pools"] = [{"internal_api": "mkl", "num_threads": 1}]
    first.write_text(json.dumps(record))
    experiment = tiny("foof")
    for command in ("one", "two", "one"):
        collect(experiment, {}, layout, folder, command)
    facts = json_of(folder / "experiment.json")
    assert facts["commands"] == ["one", "two"]
    second = json_of(first.parents[1] / run_tag(TASK.name, METHODS["foof"].name, 1) / "run.json")
    own = (second["git"] or {"commit": "unknown"})["commit"]
    assert facts["environment"]["git"]["commit"] == f"another, {own}"
    pools = facts["environment"]["thread_pools"]
    assert {"internal_api": "mkl", "num_threads": 1} in pools
    assert all(pool in pools for pool in second["thread_pools"])


def test_the_metrics_that_a_task_names_have_columns():
    """Of those that are no one else's: older tables, which lack them, are read all the same."""
    plain = columns_of(tiny("foof"))
    assert plain == {file: [*columns] for file, columns in COLUMNS.items()}
    task = replace(TASK, metrics=("squared_error", "loss"))
    found = columns_of(tiny("foof", tasks=(task,)))
    more = {file: set(found[file]) - set(plain[file]) for file in found}
    assert more == {
        "runs.csv": {"test_squared_error", "validation_squared_error"},
        "curves.csv": {"validation_squared_error"},
        "trials.csv": set(),
    }


def test_a_run_that_is_missing_is_said_to_be(collected, tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    collect(tiny("foof", seeds=(0, 7)), {}, collected.layout, folder, COMMAND)
    assert [row["status"] for row in rows_of(folder / "runs.csv")] == ["completed", "missing"]
    assert not (folder / "trials.csv").exists()
