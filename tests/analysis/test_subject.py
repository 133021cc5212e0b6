"""A run's network comes back from its record: the same outputs, data and path."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from new_algorithm.analysis import capacity, errors, fisher, flow, landscape
from new_algorithm.analysis.findings import Settings
from new_algorithm.analysis.subject import outputs_of, read_subject
from new_algorithm.cli.errors import UserError
from new_algorithm.gallery.attention.shape import Shape
from new_algorithm.gallery.attention.tasks import sequence_model
from new_algorithm.gallery.contrastive.encoders import image_encoder
from new_algorithm.methods.method import Problem
from new_algorithm.methods.torch_network import TorchTraining, arrays_of
from new_algorithm.models.model import MODELS
from new_algorithm.record.layout import Layout
from new_algorithm.record.snapshots import read_arrays, snapshots
from tests.analysis.subjects import relu_subject
from tests.real_data import MNIST_FOLDER, needs_mnist

TWICE = ("--epochs", "2")
SHORT = ("--dataset", "strokes", "--train-limit", "100")
RUNS = {
    "bench_mnist.py": [*TWICE, "--dataset", "spirals", "--hidden-dim", "8"],
    "n_layer_relu_data.py": [*TWICE, "--dataset", "synthetic", "--widths", "9", "7"],
    "two_layer_relu_data.py": [*TWICE, "--dataset", "regression", "--hidden-dim", "8"],
    "two_layer_relu.py": [*TWICE, "--observe", "1", "--hidden-dim", "6", "--rows", "90"],
    "attention.py": [
        *(*TWICE, "--task", "copies", "--context", "8", "--width", "8", "--layers", "1"),
        *("--parts", "5", "--architecture", "hierarchical", "--scales", "1", "4"),
    ],
    "torch_benchmark.py": [
        *(*TWICE, "--model", "autoencoder", "--train-limit", "300"),
        *("--optimizer", "momentum", "--data-dir", MNIST_FOLDER),
    ],
    "contrastive.py": [
        *(*TWICE, *SHORT, "--width", "2", "--queue", "50", "--batch-size", "50"),
        *("--labels", "50"),
    ],
    "meta_learning.py": ["--iterations", "2", "--test-tasks", "3", "--further-steps", "0"],
    "architecture_search.py": [
        *(*TWICE, *SHORT, "--test-limit", "100", "--nodes", "1", "--channels", "2"),
        *("--search-epochs", "1", "--hypergradient", "first-order"),
    ],
}
NEEDS = {"torch_benchmark.py": [needs_mnist]}
OF_ONE_SCRIPT = [pytest.param(name, marks=NEEDS.get(name, [])) for name in RUNS]


@pytest.fixture(scope="module")
def made(work_tree, run_script):
    """made("attention.py") -> the tag of a run and where it lies; each is made once."""
    tags = {}

    def run(name):
        if name not in tags:
            script = name if name == "bench_mnist.py" else f"new_algorithm/{name}"
            tags[name] = name.removesuffix(".py")
            done = run_script(script, *RUNS[name], "--tag", tags[name])
            assert done.returncode == 0, done.stderr
        return tags[name], Layout(work_tree)

    return run


@pytest.fixture(params=OF_ONE_SCRIPT)
def run(request, made):
    return made(request.param)


def scores(subject, part="test"):
    x, y = subject.rows(part, 10**6, 0)
    outputs = outputs_of(subject.network, x)
    accuracy = subject.loss.accuracy and subject.loss.accuracy(
        outputs.flatten(0, -2).numpy(), y.flatten().numpy()
    )
    return float(subject.objective(outputs, y)), accuracy


def test_the_network_has_the_scores_of_the_record(run):
    tag, layout = run
    subject = read_subject(tag, layout)
    loss, accuracy = scores(subject)
    recorded = {name: values[-1] for name, values in subject.series.items()}
    # of the lowest train loss where a script keeps those, which is the last epoch's here
    assert subject.epoch == 2
    if accuracy is not None:
        assert accuracy == pytest.approx(recorded["test_accuracy"], abs=1e-6)
    if tag == "meta_learning":  # the record's is a mean over tasks; of the first there are curves
        with (layout.record(tag) / "adapted_curves.csv").open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["task"] == "1"]
        true, found = (
            np.array([float(row["y"]) for row in rows if row["curve"] == curve])
            for curve in ("true", "adapted")
        )
        assert loss == pytest.approx(np.square(true - found).mean() / 2, rel=1e-4)
    elif tag != "contrastive":  # whose loss is another one, the contrastive
        assert loss == pytest.approx(float(recorded["test_loss"]), rel=1e-4)


def test_the_path_ends_where_the_training_did(run):
    subject = read_subject(*run)
    epochs, networks = zip(*subject.over_time(), strict=True)
    assert epochs == (0, 1, 2)
    for last, end in zip(networks[-1].parameters(), subject.network.parameters(), strict=True):
        assert torch.equal(last, end)
    for start, end in zip(networks[0].parameters(), subject.network.parameters(), strict=True):
        if start.dim() > 1:
            assert not torch.equal(start, end)


def same_arrays(one, other):
    assert one.keys() == other.keys()
    return all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "name", ["attention.py", pytest.param("torch_benchmark.py", marks=needs_mnist)]
)
def test_a_model_starts_where_its_training_does(name, made):
    subject = read_subject(*made(name))
    model = MODELS["autoencoder"]
    if name == "attention.py":
        shape = Shape("hierarchical", 8, 1, subject.record["config"]["heads"], (1, 4), "soft")
        model = sequence_model("copies", shape, 8, 32, 0)
    for seed, alike in ((0, True), (1, False)):
        training = TorchTraining(Problem(subject.data, (), 2, seed, model=model))
        trained = arrays_of(training.model.state_dict())
        assert same_arrays(subject.drawn(), trained) is alike
        assert same_arrays(subject.snapshots[0](), trained) is alike


@pytest.mark.parametrize("name", ["bench_mnist.py", "two_layer_relu_data.py", "two_layer_relu.py"])
def test_the_draw_of_the_seed_is_the_start_that_was_kept(name, made):
    tag, layout = made(name)
    kept = read_arrays(snapshots(layout.record(tag))[0])
    assert same_arrays(read_subject(tag, layout).drawn(), kept)


def test_the_classifier_of_a_contrastive_run_starts_from_the_seeds_encoder(made):
    subject = read_subject(*made("contrastive.py"))
    torch.manual_seed(0)
    fresh = image_encoder(28, 2).state_dict()
    start = subject.snapshots[0]()
    for name, value in fresh.items():
        np.testing.assert_array_equal(start[f"0.{name}"], value)


@pytest.mark.parametrize(
    "name", ["two_layer_relu.py", "contrastive.py", "meta_learning.py", "architecture_search.py"]
)
def test_parts_take_other_networks_or_say_why_not(name, made, monkeypatch):
    monkeypatch.setattr(landscape, "SIDE", 5)
    subject = read_subject(*made(name))
    for module in (errors, flow, fisher, landscape, capacity):
        found = module.analyse(subject, Settings(20, 0))
        assert found.sentences, module
        assert all(table.rows for table in found.tables), module


def test_the_end_is_the_last_epoch_and_of_older_runs_that_of_the_lowest_train_loss(made):
    tag, layout = made("n_layer_relu_data.py")
    subject = read_subject(tag, layout)
    assert "epoch 2, the last that was recorded: weights.npz has it." in subject.about
    assert "validation" not in subject.about
    folder = layout.record(tag)
    shutil.copytree(folder, layout.record("worse_at_last"))
    other = layout.record("worse_at_last")
    shutil.copy(folder / "snapshots" / "1.npz", other / "weights.npz")
    record = json.loads((other / "run.json").read_text("utf-8"))
    record["final_metrics"]["saved_epoch"] = 1
    (other / "run.json").write_text(json.dumps(record), encoding="utf-8")
    worse = read_subject("worse_at_last", layout)
    assert worse.epoch == 1
    assert "epoch 1, of 2, that of the lowest train loss" in worse.about
    assert "The last epoch kept, where paths of snapshots end, is 2." in worse.about
    assert scores(worse)[0] == pytest.approx(float(worse.series["test_loss"][0]), rel=1e-4)


def test_a_run_of_an_experiment_is_read_from_its_folder(made):
    tag, layout = made("bench_mnist.py")
    own = layout.record("experiment") / "task.variation.0"
    shutil.copytree(layout.record(tag), own, ignore=shutil.ignore_patterns("snapshots"))
    subject = read_subject("experiment/task.variation.0", layout)
    assert scores(subject) == scores(read_subject(tag, layout))
    assert subject.snapshots == {}
    (own / "weights.npz").unlink()
    with pytest.raises(UserError, match="again, then name task") as told:
        read_subject("experiment/task.variation.0", layout)
    assert subject.record["command"] in str(told.value)
    record = subject.record | {"script": "new_algorithm/compare_methods.py"}
    (own / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UserError, match=r"compare_methods\.py keeps no weights .* train .* alone"):
        read_subject("experiment/task.variation.0", layout)
    whole = layout.record("experiment") / "run.json"
    whole.write_text(json.dumps(record | {"kind": "experiment"}), encoding="utf-8")
    with pytest.raises(UserError, match="name a run in its folder, as experiment/RUN"):
        read_subject("experiment", layout)


def test_gathered_pairs_have_no_network_of_their_own(made):
    tag, layout = made("architecture_search.py")
    folder = layout.record("gathered")
    folder.mkdir()
    record = json.loads((layout.record(tag) / "run.json").read_text("utf-8"))
    record["config"]["gather"] = ["one", "two"]
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UserError, match="name one of one, two"):
        read_subject("gathered", layout)


def test_weights_that_are_missing_and_other_data_are_named(run, tmp_path):
    tag, layout = run
    folder = layout.record(tag)
    weights = folder / "weights.npz"
    moved = weights.rename(tmp_path / "weights.npz")
    with pytest.raises(UserError, match=r"weights\.npz is missing"):
        read_subject(tag, layout)
    weights.write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"weights\.npz cannot be read"):
        read_subject(tag, layout)
    moved.rename(weights)
    path = folder / "run.json"
    text = path.read_text(encoding="utf-8")
    record = json.loads(text)
    if record["data"].get("sha256"):
        record["data"]["sha256"] = dict.fromkeys(record["data"]["sha256"], "0" * 64)
        path.write_text(json.dumps(record), encoding="utf-8")
        with pytest.raises(UserError, match="data are others"):
            read_subject(tag, layout)
    path.write_text(json.dumps(record | {"script": "new_algorithm/measure.py"}), encoding="utf-8")
    with pytest.raises(UserError, match="keeps no weights"):
        read_subject(tag, layout)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"run\.json is missing"):
        read_subject("absent", layout)


def test_rows_are_drawn_by_the_seed_and_are_the_datas():
    subject = relu_subject(rows=50)
    chosen = subject.chosen("train", 7, 3)
    assert len(set(chosen)) == 7
    np.testing.assert_array_equal(chosen, subject.chosen("train", 7, 3))
    assert not np.array_equal(chosen, subject.chosen("train", 7, 4))
    x, y = subject.rows("train", 7, 3)
    np.testing.assert_array_equal(x, subject.data.x_train[chosen])
    np.testing.assert_array_equal(y, subject.data.y_train[chosen])
    assert len(subject.rows("test", 1000, 0)[0]) == 50


def test_in_double_all_is_float64_and_the_original_stays():
    single = relu_subject(dtype=np.float32)
    double = single.in_double()
    assert next(double.network.parameters()).dtype == torch.float64
    assert next(double.over_time())[1][0].weight.dtype == torch.float64
    assert double.rows("train", 5, 0)[0].dtype == torch.float64
    assert next(single.network.parameters()).dtype == torch.float32
    assert next(single.over_time())[1][0].weight.dtype == torch.float32
    assert single.rows("train", 5, 0)[0].dtype == torch.float32
