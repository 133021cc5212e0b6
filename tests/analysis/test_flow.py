"""What reaches the layers, beside autograd and the textbook sweep."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from new_algorithm.analysis import flow
from new_algorithm.analysis.findings import Settings
from new_algorithm.analysis.subject import is_relu_network
from new_algorithm.back_projection import reference
from new_algorithm.back_projection.losses import SOFTMAX
from new_algorithm.methods.torch_network import folded_weights, torch_objective
from tests.analysis.subjects import relu_subject
from tests.analysis.test_fisher import DATA


def rows_of(subject, x, y):
    return flow.flow(subject.network, subject.layers, subject.objective, x, y)


@pytest.mark.parametrize("name", DATA)
def test_gradients_and_residuals_are_those_of_the_textbook_sweep(name, monkeypatch):
    monkeypatch.setattr(flow, "ROWS_AT_A_TIME", 7)
    subject = relu_subject(name).in_double()
    x, y = subject.rows("train", 30, 0)
    weights = folded_weights(subject.network)
    inputs = np.hstack([x.numpy(), np.ones((30, 1))])
    residual = subject.loss.residual(reference.forward(weights, inputs)[1][-1], y.numpy())
    endless = [(1.0, np.inf)] * len(weights)
    sweep = reference.sweep(weights, inputs, residual, endless, pass_residual=False)
    for row, step in zip(rows_of(subject, x, y), sweep, strict=True):
        gradient, delta = -step.moment, step.delta
        expected = {
            "gradient_mean": gradient.mean(),
            "gradient_sd": gradient.std(),
            "gradient_norm": np.linalg.norm(gradient),
            "gradient_zeros": (gradient == 0).mean(),
            "delta_mean": delta.mean(),
            "delta_sd": delta.std(),
            "delta_norm": np.sqrt(np.square(delta).sum(axis=1).mean()),
            "delta_zeros": (delta == 0).mean(),
            "dead_units": (delta == 0).all(axis=0).sum(),
        }
        assert {name: row[name] for name in expected} == pytest.approx(
            expected, rel=1e-8, abs=1e-12
        )


def test_a_unit_that_no_row_activates_is_dead_and_has_no_gradient():
    subject = relu_subject().in_double()
    x, y = subject.rows("train", 30, 0)
    before = rows_of(subject, x, y)[0]
    with torch.no_grad():
        subject.network[0].bias[2] = -1e6
    after = rows_of(subject, x, y)[0]
    assert after["dead_units"] == before["dead_units"] + 1
    assert after["gradient_zeros"] == pytest.approx(1 / 5)  # its column of W̃
    assert after["delta_zeros"] >= 1 / 5


def test_of_a_convolution_the_residuals_sum_up_to_the_biases_gradients():
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    ).double()
    with torch.no_grad():
        network[0].bias[1] = -1e3  # a dead channel
    x, y = torch.randn(6, 1, 4, 4).double(), torch.randint(0, 3, (6,))
    objective = torch_objective(SOFTMAX)
    convolution, linear = flow.flow(network, {"0": network[0], "3": network[3]}, objective, x, y)
    objective(network(x), y).backward()
    entries = 2 * 2 * 2  # of Δ, a row
    assert convolution["delta_mean"] * entries == pytest.approx(-float(network[0].bias.grad.sum()))
    assert (convolution["dead_units"], linear["dead_units"]) == (1, 0)
    norm = torch.cat([p.grad.flatten() for p in network[3].parameters()]).norm()
    assert linear["gradient_norm"] == pytest.approx(float(norm))


def test_a_layer_that_is_never_used_has_no_row():
    network = nn.Linear(3, 2)
    x, y = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
    layers = {"used": network, "unused": nn.Linear(3, 3)}
    (row,) = flow.flow(network, layers, torch_objective(SOFTMAX), x, y)
    assert row["module"] == "used"


def test_epochs_are_thinned_from_the_first_to_the_last():
    subject = relu_subject(epochs=20)
    epochs = [epoch for epoch, _ in flow.networks_over_time(subject)]
    assert epochs == [0, 4, 8, 12, 16, 20]
    record = subject.record | {"final_metrics": {"epoch": 20, "saved_epoch": 3}}
    ((epoch, network),) = flow.networks_over_time(replace(subject, snapshots={}, record=record))
    assert (epoch, network) == (3, subject.network)


def test_angles_are_of_relu_networks_alone():
    assert is_relu_network(relu_subject().network)
    assert is_relu_network(nn.Sequential(nn.Linear(2, 1)))
    assert not is_relu_network(nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)))
    assert not is_relu_network(nn.Linear(2, 1))


def test_each_table_has_a_row_an_epoch_and_layer():
    found = flow.analyse(relu_subject(), Settings(rows=30, seed=0))
    for table in found.tables:
        places = [(row["epoch"], row["layer"]) for row in table.rows]
        assert places == [(epoch, layer) for epoch in range(3) for layer in (1, 2, 3)]


@pytest.mark.parametrize("pass_down", ["whole", "left"])
def test_what_a_run_passes_down_has_the_size_that_the_textbook_sweep_gives_it(pass_down):
    subject = relu_subject().in_double()
    config = {"lambda_h_layers": [0.5], "lambda_w_layers": [0.3], "pass_down": pass_down}
    record = {**subject.record, "config": subject.record["config"] | config}
    found = flow.analyse(replace(subject, record=record), Settings(rows=30, seed=0))
    table = found.tables[0].rows
    x, y = subject.rows("train", 30, 0)
    inputs = np.hstack([x.numpy(), np.ones((30, 1))])
    for epoch, network in subject.over_time():
        weights = folded_weights(network)
        residual = subject.loss.residual(reference.forward(weights, inputs)[1][-1], y.numpy())
        of_layers = [(0.3, 0.5)] * len(weights)
        left = pass_down == "left"
        sweep = reference.sweep(weights, inputs, residual, of_layers, pass_residual=left)
        rows = [row for row in table if row["epoch"] == epoch]
        for row, step in zip(rows, sweep, strict=True):
            norm = np.sqrt(np.square(step.delta).sum(axis=1).mean())
            assert row["passed_norm"] == pytest.approx(norm, rel=1e-6)
            assert row["passed_zeros"] == pytest.approx((step.delta == 0).mean())
    said = [sentence for sentence in found.sentences if "its norm a row at epoch 2" in sentence]
    assert len(said) == 1
    plain = flow.analyse(subject, Settings(rows=30, seed=0))
    assert "passed_norm" not in plain.tables[0].rows[0]
