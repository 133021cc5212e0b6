"""A table of one's own in every training script, as a user has it: texts, gaps, sorted rows."""

import csv
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets import load_dataset
from datasets.new_rows import open_new_rows, recorded_preprocessing
from new_algorithm.analysis.subject import read_subject
from new_algorithm.back_projection.network import append_ones, forward
from new_algorithm.cli.errors import UserError
from new_algorithm.record.layout import Layout
from new_algorithm.record.run import Run
from tests.processes import assert_one_clear_line

BENCH = "bench_mnist.py"
DATA = "new_algorithm/two_layer_relu_data.py"
DEEP = "new_algorithm/n_layer_relu_data.py"
SEARCH = "new_algorithm/search_settings.py"
FLAGS = {BENCH: ("--optimizer", "adam", "--num-layers", "2"), DATA: (), DEEP: ("--num-layers", "2")}
SMALL = ("--hidden-dim", "16", "--epochs", "6", "--batch-size", "20")
TABLE = ("--target", "species", "--missing", "median", "--drop", "name")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """300 rows sorted by class, by two numbers and a text; one value in 20 is missing."""
    rng = np.random.default_rng(0)
    kinds = np.repeat(["setosa", "versicolor", "virginica"], 100)
    rows = [["name", "length", "habitat", "species", "width"]]
    for i, kind in enumerate(kinds.tolist()):
        place = i // 100
        length, width = rng.normal(2 * place, 0.7), rng.normal(-place, 0.7)
        habitat = ("dry", "wet", "wood")[place if rng.random() < 0.7 else rng.integers(3)]
        fields = [f"{length:.4f}", habitat, kind, f"{width:.4f}"]
        gaps = [rng.random() < 0.05 and field != kind for field in fields]
        rows.append([f"no {i}", *("NA" if gap else f for f, gap in zip(fields, gaps, strict=True))])
    path = tmp_path_factory.mktemp("tables") / "flowers.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    return path


@pytest.fixture(scope="module", params=FLAGS)
def run(request, path, run_script, work_tree):
    """The folder of a run's record, of each script."""
    tag = f"table_{Path(request.param).stem}"
    flags = ("--dataset", path, *TABLE, *SMALL, *FLAGS[request.param], "--tag", tag)
    finished = run_script(request.param, *flags)
    assert finished.returncode == 0, finished.stderr
    return work_tree / "ploting_data" / tag


def test_a_table_is_learned(run):
    record = json.loads((run / "run.json").read_text())
    data, scores = record["data"], record["final_metrics"]
    assert record["status"] == "completed"
    assert data["name"] == "flowers.csv"
    assert data["target"] == ["species"]
    assert data["labels"] == ["setosa", "versicolor", "virginica"]
    assert data["counts"] == {"train": 240, "test": 60}
    assert data["class_shares"] == {"largest": 0.3333, "smallest": 0.3333}
    assert {"habitat=dry", "habitat is missing", "width is missing"} < set(
        data["preprocessing"]["features"]
    )
    assert "name" not in [column["name"] for column in data["preprocessing"]["columns"]]
    assert scores["test_accuracy_fraction"] > 0.8


def test_the_record_alone_tells_the_classes_of_new_rows(run, path):
    data = json.loads((run / "run.json").read_text())["data"]
    preprocessing = recorded_preprocessing(data)
    tables = [table for table, _ in open_new_rows(path, preprocessing, []).blocks]
    x = preprocessing.transform(np.concatenate(tables))
    with np.load(run / "weights.npz") as archive:
        weights = [archive[f"layer_{i}"] for i in range(1, len(archive.files) + 1)]
    said = np.array(data["labels"])[forward(weights, append_ones(x))[1].argmax(axis=1)]
    with path.open(newline="") as file:
        true = np.array([row["species"] for row in csv.DictReader(file, delimiter=";")])
    assert np.mean(said == true) > 0.8
    loaded = load_dataset(str(path), target=["species"], missing="median", drop=["name"])
    assert {tuple(row) for row in loaded.x_test.tolist()} < {tuple(row) for row in x.tolist()}


def test_a_search_takes_a_table_and_decides_on_every_class(path, run_script, work_tree):
    finished = run_script(
        *(SEARCH, BENCH, "--trials", "1", "--tag", "table_search", "--vary", "lr=1e-2,1e-1", "--"),
        *("--dataset", path, *TABLE, *SMALL),
    )
    assert finished.returncode == 0, finished.stderr
    assert "all of class" not in finished.stderr
    record = json.loads((work_tree / "ploting_data/table_search_trial_1/run.json").read_text())
    assert record["data"]["counts"] == {"train": 200, "validation": 40}
    assert record["data"]["chance_accuracy"] < 0.36


def test_a_run_on_a_table_is_loaded_again_for_an_analysis(run):
    subject = read_subject(run.name, Layout(run.parents[1]))
    assert subject.data.num_classes == 3
    assert len(subject.data.x_test) == 60


@pytest.mark.parametrize("script", FLAGS)
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), ("--target", "name, length, habitat, species, width")),
        (("--target", "specis"), ("did you mean 'species'",)),
        (("--target", "species", "--drop", "name"), ("row ", "column ", "--missing median")),
        (("--target", "species", "--missing", "median"), ("'name'", "--drop name")),
    ],
)
def test_mistakes_are_told_before_anything_is_recorded(script, flags, words, path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [script, "--dataset", str(path), *flags])
    monkeypatch.setattr(Run, "open", None)
    with pytest.raises(UserError) as refusal:
        importlib.import_module(script.removesuffix(".py").replace("/", ".")).main()
    for word in ("flowers.csv", *words):
        assert word in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_mistake_is_one_line_and_status_2(path, run_script):
    finished = run_script(DEEP, "--dataset", path, "--target", "specis")
    assert_one_clear_line(finished, "flowers.csv", "did you mean 'species'")
