"""A run's network comes back from its record: the same outputs, data and path."""

import json

import numpy as np
import pytest
import torch

from new_algorithm.analysis.subject import outputs_of, read_subject
from new_algorithm.cli.errors import UserError
from new_algorithm.record.layout import Layout
from tests.analysis.subjects import relu_subject

RUNS = {
    "bench_mnist.py": ["--dataset", "spirals", "--hidden-dim", "8"],
    "new_algorithm/n_layer_relu_data.py": ["--dataset", "synthetic", "--widths", "9", "7"],
    "new_algorithm/two_layer_relu_data.py": ["--dataset", "regression", "--hidden-dim", "8"],
    "new_algorithm/attention.py": [
        *("--task", "copies", "--context", "8", "--width", "8", "--layers", "1", "--parts", "5"),
        *("--architecture", "hierarchical", "--scales", "1", "4"),
    ],
}


@pytest.fixture(scope="module", params=RUNS)
def run(request, work_tree, run_script):
    tag = request.param.split("/")[-1].removesuffix(".py")
    done = run_script(request.param, *RUNS[request.param], "--epochs", "2", "--tag", tag)
    assert done.returncode == 0, done.stderr
    return tag, Layout(work_tree)


def test_the_network_has_the_scores_of_the_record(run):
    subject = read_subject(*run)
    x, y = subject.rows("test", 10**6, 0)
    outputs = outputs_of(subject.network, x)
    # of the lowest train loss where a script keeps those, which is the last epoch's here
    loss = float(subject.objective(outputs, y))
    assert loss == pytest.approx(float(subject.series["test_loss"][-1]), rel=1e-4)


def test_the_path_ends_where_the_training_did(run):
    subject = read_subject(*run)
    epochs, networks = zip(*subject.over_time(), strict=True)
    assert epochs[-1] == 2
    assert epochs[0] == 0
    for last, end in zip(networks[-1].parameters(), subject.network.parameters(), strict=True):
        assert torch.equal(last, end)
    first = next(networks[0].parameters())
    assert not torch.equal(first, next(subject.network.parameters()))


def test_the_start_of_a_model_is_that_of_its_seed(run):
    """Training from there for the first epoch gives the first snapshot: the loss is continuous."""
    subject = read_subject(*run)
    x, y = subject.rows("train", 10**6, 0)
    losses = [
        float(subject.objective(outputs_of(network, x), y)) for _, network in subject.over_time()
    ]
    if subject.data.num_classes is not None:  # fresh outputs know nothing of the labels
        assert losses[0] > 0.7 * np.log(subject.data.num_classes)
    assert losses[-1] < losses[0]


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
    if record["data"]["sha256"]:
        record["data"]["sha256"] = dict.fromkeys(record["data"]["sha256"], "0" * 64)
        path.write_text(json.dumps(record), encoding="utf-8")
        with pytest.raises(UserError, match="data are others"):
            read_subject(tag, layout)
    path.write_text(json.dumps(record | {"script": "new_algorithm/measure.py"}), encoding="utf-8")
    with pytest.raises(UserError, match="leaves no network"):
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
    subject = relu_subject()
    single = subject.in_double()
    assert next(single.network.parameters()).dtype == torch.float64
    assert next(single.over_time())[1][0].weight.dtype == torch.float64
    assert single.rows("train", 5, 0)[0].dtype == torch.float64
