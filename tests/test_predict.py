"""predict.py as a user runs it: on tables of their own, from the record alone."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from datasets import load_dataset
from datasets.dataset import Split
from new_algorithm.cli.errors import UserError
from new_algorithm.predict import Config, answer
from new_algorithm.record.layout import Layout
from tests.processes import assert_one_clear_line

DEEP = "new_algorithm/n_layer_relu_data.py"
TWO = "new_algorithm/two_layer_relu_data.py"
BENCH = "bench_mnist.py"
CULTIVARS = ("barolo, riserva", "grignolino", "bärbera")
TASKS = {  # target, and the flags of a training
    "wine": ("cultivar", ("--missing", "median", "--held-out", "validation")),
    "cancer": ("tumour", ()),
    "diabetes": ("progression", ("--task", "regression", "--held-out", "validation")),
}


def wine():
    data = load_wine()
    columns = {name.replace("/", "_"): x.tolist() for name, x in zip_columns(data)}
    columns["alcohol"][5] = ""
    region = np.random.default_rng(0).choice(["hills, east", "plain", "coast"], len(data.target))
    return columns | {"region": region, "cultivar": [CULTIVARS[i] for i in data.target]}


def cancer():
    data = load_breast_cancer()
    names = ("malignant", "benign")
    return dict(zip_columns(data)) | {"tumour": [names[i] for i in data.target]}


def diabetes():
    data = load_diabetes(scaled=False)
    return dict(zip_columns(data)) | {"progression": data.target}


def zip_columns(data):
    return zip(data.feature_names, data.data.T, strict=True)


def write(path, columns, rows=None):
    table = list(zip(*columns.values(), strict=True))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(table if rows is None else [table[row] for row in np.flatnonzero(rows)])
    return path


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The folder with the tables of all tasks."""
    folder = tmp_path_factory.mktemp("tables")
    for name, columns in (("wine", wine()), ("cancer", cancer()), ("diabetes", diabetes())):
        write(folder / f"{name}.csv", columns)
    return folder


@pytest.fixture(scope="module")
def trained(tables, work_tree, run_script):
    """trained(script, task) -> the tag of such a run, made once, and its record."""
    made = {}

    def train(script, task):
        tag = f"{task}_{script.split('/')[-1].removesuffix('.py')}"
        if tag not in made:
            target, flags = TASKS[task]
            own = ("--optimizer", "adam", "--lr", "1e-2") if script == BENCH else ()
            size = ("--hidden-dim", 16, "--batch-size", 16, "--epochs", 4)
            file = tables / f"{task}.csv"
            names = ("--dataset", file, "--target", target, "--tag", tag)
            finished = run_script(script, *names, *size, *flags, *own)
            assert finished.returncode == 0, finished.stderr
            made[tag] = json.loads((work_tree / "ploting_data" / tag / "run.json").read_text())
        return tag, made[tag]

    return train


@pytest.fixture
def held_out_rows(tables, tmp_path):
    """held_out_rows(task) -> a file of the rows on which the run was evaluated."""

    def make(task):
        target, flags = TASKS[task]
        columns = {"wine": wine, "cancer": cancer, "diabetes": diabetes}[task]()
        strata = np.zeros(len(columns[target]))
        if task != "diabetes":
            strata = np.unique(columns[target], return_inverse=True)[1]
        split = Split("validation" if "--held-out" in flags else "test")
        _, held_out = split.draw(tables / f"{task}.csv", strata)
        return write(tmp_path / "held_out.csv", columns, held_out)

    return make


@pytest.fixture
def ask(work_tree, capsys):
    """ask(tag, file, **flags) -> what is printed, scores as numbers by name."""

    def run(tag, file, **flags):
        answer(Config(of=tag, file=file, **flags), Layout(work_tree))
        told = capsys.readouterr().out
        scores = [line for line in told.splitlines() if line.startswith("Scores over")]
        pairs = scores[0].split(": ")[1].split(", ") if scores else []
        return told, {name: float(value) for name, value in (pair.split("=") for pair in pairs)}

    return run


@pytest.mark.parametrize(
    ("script", "task"),
    [(DEEP, "wine"), (TWO, "wine"), (BENCH, "wine"), (DEEP, "cancer"), (DEEP, "diabetes")],
)
def test_scores_are_those_that_the_run_recorded(script, task, trained, held_out_rows, ask):
    tag, record = trained(script, task)
    metrics, file = record["final_metrics"], held_out_rows(task)
    _, scores = ask(tag, file, weights="last")
    held = record["data"]["held_out"]
    if task == "diabetes":
        sd = record["data"]["target_sd"][0]
        expected = sd * np.sqrt(2 * metrics[f"{held}_loss"])
        assert scores == {"rmse": pytest.approx(expected, rel=1e-5)}
        return
    assert scores["accuracy"] == pytest.approx(metrics[f"{held}_accuracy_fraction"], abs=1e-6)
    assert ("auc" in scores) == (task == "cancer")
    if "auc" in scores:
        assert scores["auc"] == pytest.approx(metrics["test_auc"], abs=1e-5)


@pytest.mark.parametrize("task", ["wine", "diabetes"])
def test_the_best_weights_have_the_best_recorded_score(
    task, trained, held_out_rows, ask, work_tree
):
    tag, record = trained(DEEP, task)
    folder, best = work_tree / "ploting_data" / tag, record["final_metrics"]["best_epoch"]
    told, scores = ask(tag, held_out_rows(task))
    assert f"best_weights.npz, epoch {best} of 4" in told
    if task == "wine":
        series = np.load(folder / "validation_accuracy.npy")
        assert scores["accuracy"] == pytest.approx(series.max(), abs=1e-6)
    else:
        lowest = np.load(folder / "validation_loss.npy").min()
        sd = record["data"]["target_sd"][0]
        assert scores["rmse"] == pytest.approx(sd * np.sqrt(2 * lowest), rel=1e-5)
    assert series_argbest(folder, task) == best


def series_argbest(folder, task):
    if task == "diabetes":
        return int(np.load(folder / "validation_loss.npy").argmin()) + 1
    rows = zip(
        np.load(folder / "validation_accuracy.npy"),
        -np.load(folder / "validation_loss.npy"),
        strict=True,
    )
    ordered = list(rows)
    return ordered.index(max(ordered)) + 1


def test_labels_come_back_as_they_were_written_with_their_probabilities(
    trained, tables, ask, tmp_path
):
    tag, record = trained(DEEP, "wine")
    output = tmp_path / "out.csv"
    ask(tag, tables / "wine.csv", output=output)
    rows = read(output)
    assert len(rows) == 178
    labels = record["data"]["labels"]
    assert labels == sorted(CULTIVARS)
    probabilities = np.array([[float(row[f"probability_{one}"]) for one in labels] for row in rows])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert [row["prediction"] for row in rows] == [labels[i] for i in probabilities.argmax(axis=1)]
    truth = wine()["cultivar"]
    assert (
        np.mean([row["prediction"] == own for row, own in zip(rows, truth, strict=True)]) > 0.8
    )  # by chance 0.4


def test_values_come_in_the_targets_units_and_need_no_target(trained, ask, tmp_path):
    tag, _ = trained(DEEP, "diabetes")
    columns = diabetes()
    truth = columns.pop("progression")
    new, output = write(tmp_path / "new.csv", columns), tmp_path / "out.csv"
    with pytest.raises(UserError, match="no target 'progression' to compare with: add --output"):
        ask(tag, new)
    told, scores = ask(tag, new, output=output)
    assert not scores
    assert "Wrote 442 predictions" in told
    values = np.array([float(row["prediction"]) for row in read(output)])
    assert np.corrcoef(values, truth)[0, 1] > 0.6
    assert abs(values.mean() - truth.mean()) < 0.2 * truth.std()


def test_the_order_of_columns_does_not_matter_and_their_names_do(
    trained, tables, ask, tmp_path, capsys
):
    tag, _ = trained(DEEP, "wine")
    columns = wine()
    turned = dict(reversed(columns.items())) | {"comment": ["none"] * 178}
    outputs = [tmp_path / "one.csv", tmp_path / "other.csv"]
    ask(tag, tables / "wine.csv", output=outputs[0])
    ask(tag, write(tmp_path / "turned.csv", turned), output=outputs[1])
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    columns["Alcohol %"] = columns.pop("alcohol")
    with pytest.raises(UserError, match=r"missing: alcohol; unknown to it: Alcohol %;"):
        ask(tag, write(tmp_path / "renamed.csv", columns), output=tmp_path / "none.csv")
    assert not (tmp_path / "none.csv").exists()


def test_what_the_network_does_not_know_is_told(trained, work_tree, tmp_path, capsys):
    tag, _ = trained(DEEP, "wine")
    columns = wine() | {"comment": ["none"] * 178}
    columns["region"] = ["moon", *columns["region"][1:]]
    columns["cultivar"] = ["merlot", "", *columns["cultivar"][2:]]
    file = write(tmp_path / "odd.csv", columns)
    answer(Config(of=tag, file=file), Layout(work_tree))
    told = capsys.readouterr()
    assert "Scores over 177 rows" in told.out
    assert "1 texts of column 'region' are none that the network knows" in told.err
    assert "1 rows have labels unknown to the network, counted wrong" in told.err
    assert "ignored: comment" in told.err


def test_a_bad_field_leaves_no_file_and_nothing_is_overwritten(trained, tables, ask, tmp_path):
    tag, _ = trained(DEEP, "wine")
    columns = wine()
    columns["ash"][100] = "much"
    bad, output = write(tmp_path / "bad.csv", columns), tmp_path / "out.csv"
    with pytest.raises(UserError, match=r"row 101 below the header, column 'ash': 'much' is not"):
        ask(tag, bad, output=output)
    assert list(tmp_path.iterdir()) == [bad]
    output.write_text("precious")
    with pytest.raises(UserError, match="exists: choose another name, or add --overwrite"):
        ask(tag, tables / "wine.csv", output=output)
    assert output.read_text() == "precious"
    with pytest.raises(UserError, match="that is the file of new rows"):
        ask(tag, tables / "wine.csv", output=tables / "wine.csv", overwrite=True)
    ask(tag, tables / "wine.csv", output=output, overwrite=True)
    assert output.read_text() != "precious"


LOADING = """
import json, sys
import torch
assert not any(name.split(".")[0] in ("new_algorithm", "datasets") for name in sys.modules)
files = {"about": ""}
program = torch.export.load(sys.argv[1], extra_files=files)
about = json.loads(files["about"])
rows = torch.tensor(json.loads(sys.argv[2]), dtype=torch.float64)
print(json.dumps([about, program.module()(rows).tolist()]))
"""


def test_what_is_exported_needs_nothing_of_this_repository(trained, tables, ask, tmp_path):
    tag, _ = trained(DEEP, "wine")
    path, output = tmp_path / "wine.pt2", tmp_path / "out.csv"
    ask(tag, tables / "wine.csv", output=output, export=("torch", path))
    with pytest.raises(UserError, match="exists: choose another name"):
        ask(tag, None, export=("torch", path))
    columns = {name: list(values) for name, values in wine().items()}
    regions = sorted(set(columns["region"]))
    columns["region"] = [regions.index(region) for region in columns["region"]]
    names = list(columns)[:-1]
    rows = [
        [float(columns[name][row]) if columns[name][row] != "" else None for name in names]
        for row in range(40)
    ]
    text = json.dumps(rows).replace("null", "NaN")
    finished = subprocess.run(
        [sys.executable, "-I", "-c", LOADING, str(path), text],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    about, said = json.loads(finished.stdout)
    assert [column["name"] for column in about["columns"]] == names
    written = [[float(row[name]) for name in about["outputs"]] for row in read(output)[:40]]
    np.testing.assert_allclose(said, written, atol=1e-5)


def test_a_network_trained_on_arrays_takes_arrays(work_tree, run_script, ask, tmp_path):
    finished = run_script(DEEP, "--dataset", "synthetic", "--num-layers", 2, "--epochs", 1,
        "--hidden-dim", 16, "--train-limit", 600, "--tag", "arrays")  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    data = load_dataset("synthetic")
    scale = data.preprocessing
    x = data.x_test * np.array(scale.sds) + np.array(scale.means)
    np.savez(tmp_path / "new.npz", x=x, y=data.y_test)
    _, scores = ask("arrays", tmp_path / "new.npz")
    record = json.loads((work_tree / "ploting_data" / "arrays" / "run.json").read_text())
    expected = record["final_metrics"]["test_accuracy_fraction"]
    assert scores["accuracy"] == pytest.approx(expected, abs=1.5 / len(x))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"of": "absent", "file": Path("x.csv")}, "absent: .*run.json is missing"),
        ({"of": "../t", "file": Path("x.csv")}, "TAG '..' is not allowed"),
        ({}, "nothing to do: name a FILE with new rows, or --export"),
        ({"output": Path("x.csv")}, "nothing to do"),
        ({"output": Path("x.csv"), "export": ("onnx", Path("x"))}, "--output is for predictions"),
        ({"file": Path("x.csv"), "output": Path("no/such/x.csv")}, "there is no such folder"),
    ],
)
def test_mistakes_are_told(flags, words, work_tree):
    with pytest.raises(UserError, match=words):
        answer(Config(**{"of": "wine"} | flags), Layout(work_tree))


def test_a_mistake_is_one_line(run_script):
    finished = run_script("new_algorithm/predict.py", "absent", "x.csv")
    assert_one_clear_line(finished, "absent", "run.json is missing")


def test_runs_without_a_network_are_told(trained, work_tree, ask):
    _, record = trained(DEEP, "cancer")
    folder = work_tree / "ploting_data" / "changed"
    folder.mkdir(exist_ok=True)
    for changed, words in (
        (record | {"script": "new_algorithm/measure.py"}, "measure.py leaves no network that"),
        (record | {"data": record["data"] | {"preprocessing": None}}, "does not say how rows were"),
        (record, r"weights\.npz is missing \(it is never committed\): run `python .*` again"),
    ):
        if changed["data"]["preprocessing"] is None:
            del changed["data"]["preprocessing"]
        (folder / "run.json").write_text(json.dumps(changed))
        with pytest.raises(UserError, match=words):
            ask("changed", None, export=("torch", folder / "x.pt2"))
