"""What back projection believes of a layer's curvature, against formulae, differences, limits."""

import numpy as np
import pytest

from new_algorithm.analysis.beliefs import (
    Point,
    beliefs,
    bend,
    decreases,
    folded,
    overlap,
    promises,
    unfolded,
)
from new_algorithm.analysis.directions import penalties_of
from new_algorithm.analysis.spectra import GAUSS_NEWTON, dense, leading_eigenpairs, operator
from new_algorithm.analysis.subject import is_relu_network
from new_algorithm.back_projection.eigenbasis import leading_eigenbasis
from new_algorithm.back_projection.layer_problem import gram
from new_algorithm.back_projection.losses import softmax
from new_algorithm.back_projection.network import append_ones, forward
from new_algorithm.methods.torch_network import folded_weights
from tests.analysis.subjects import relu_subject

NAMES = ["synthetic", "spirals", "regression"]


def believed(point, config):
    """Of a run with this configuration."""
    return beliefs(point, penalties_of({"config": config, "script": ""}, len(point.weights)))


def point_of(subject):
    x, y = subject.rows("train", 10**6, 0)
    matrix = operator(GAUSS_NEWTON, subject.network, subject.objective, [(x, y)])
    return Point(folded_weights(subject.network), x.numpy(), y.numpy(), subject.loss, matrix)


def block_of(subject, point, index):
    """The operator of a layer's Gauss–Newton block."""
    own = list(subject.network[2 * index].parameters())
    x, y = subject.rows("train", 10**6, 0)
    return operator(GAUSS_NEWTON, subject.network, subject.objective, [(x, y)], own)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_block_is_the_formula_with_masks(index):
    subject = relu_subject(widths=(5, 4))
    point = point_of(subject)
    activations, output = forward(point.weights, append_ones(point.x))
    p = softmax(output)
    d_in, d_out = point.weights[index].shape
    known = np.zeros((d_in, d_out, d_in, d_out))
    for i in range(len(p)):
        jacobian = np.eye(d_out)  # of F_i in row i of Z_l, as (d_out, outputs)
        for inputs, weight in zip(
            activations[index + 1 :], point.weights[index + 1 :], strict=True
        ):
            jacobian = (jacobian * (inputs[i, :-1] > 0)) @ weight[:-1]
        middle = jacobian @ (np.diag(p[i]) - np.outer(p[i], p[i])) @ jacobian.T
        h = activations[index][i]
        known += np.einsum("a,b,op->aobp", h, h, middle) / len(p)
    block = dense(block_of(subject, point, index))
    rows = folded(block, d_out)  # B's columns as W̃: (d, d_in, d_out)
    back = np.stack([folded(rows[:, a, o][:, None], d_out)[0] for a, o in np.ndindex(d_in, d_out)])
    np.testing.assert_allclose(back.reshape(d_in, d_out, d_in, d_out), known, atol=1e-12)


def test_folding_and_unfolding_are_inverse():
    vector = np.arange(12.0)
    np.testing.assert_array_equal(unfolded(folded(vector[:, None], 3)[0]), vector)


@pytest.mark.parametrize("name", NAMES)
def test_slopes_are_those_of_the_loss(name):
    point = point_of(relu_subject(name))
    eps = 1e-5
    found = believed(point, {})
    for index, belief in enumerate(found):
        up, down = decreases(point, {index: belief.change}, np.array([eps, -eps]))
        assert (up - down) / (2 * eps) == pytest.approx(belief.slope, rel=1e-5)
    up, down = decreases(point, {i: b.change for i, b in enumerate(found)}, np.array([eps, -eps]))
    assert (up - down) / (2 * eps) == pytest.approx(sum(b.slope for b in found), rel=1e-5)


@pytest.mark.parametrize(
    ("config", "relative", "absolute"),
    [
        ({}, 1, 0),
        ({"lambda_w_layers": [3.0, 0.5, 0.1]}, None, 0),
        ({"lambda_w_layers": [3.0, 0.5, 0.1], "absolute_penalties": True}, 0, None),
    ],
)
def test_changes_solve_the_layers_problem_with_the_penalty_of_the_run(config, relative, absolute):
    point = point_of(relu_subject())
    activations, _ = forward(point.weights, append_ones(point.x))
    given = config.get("lambda_w_layers", [0, 0, 0])
    for inputs, belief, one in zip(activations, believed(point, config), given, strict=True):
        g = gram(inputs)
        penalty = (one if relative is None else relative) * np.trace(g) / len(g)
        penalty += one if absolute is None else absolute
        left = g @ belief.change + penalty * belief.change
        np.testing.assert_allclose(left, belief.moment, atol=1e-12)


def test_layer_1s_model_is_that_of_the_runs_eigenvectors():
    """In all of them the same as on the inputs; in few the change is among them, and the slope
    along it is the model's curvature."""
    subject = relu_subject()
    point, penalties = point_of(subject), penalties_of(subject.record, 3)
    plain = beliefs(point, penalties)[0]
    whole = beliefs(point, penalties, leading_eigenbasis(point.x, 21)[0])[0]
    np.testing.assert_allclose(whole.change, plain.change, atol=1e-10)
    np.testing.assert_allclose(whole.of_g[0], plain.of_g[0], atol=1e-10)
    basis = leading_eigenbasis(point.x, 4)[0]
    few = beliefs(point, penalties, basis)[0]
    values, q = few.of_g
    assert (np.diff(values) >= 0).all()
    np.testing.assert_allclose(q @ (q.T @ few.change), few.change, atol=1e-12)
    damping = basis.mean_eigenvalue  # λ_w is 1
    curvature = (values[:, None] + damping) * (q.T @ few.change)
    assert few.slope == pytest.approx(np.vdot(q.T @ few.change, curvature))
    vectors = np.einsum("i,o->io", q[:, -1], np.eye(5)[0])[None]
    assert overlap(vectors, q) == (pytest.approx(1), pytest.approx(1 / 21))


@pytest.mark.parametrize("name", NAMES)
def test_the_bend_is_the_quadratic_form_with_what_is_between_layers(name):
    point = point_of(relu_subject(name))
    whole = dense(point.gauss_newton)
    found = believed(point, {})
    parts = [unfolded(belief.change) for belief in found]
    vector = np.concatenate(parts)
    changes = {i: belief.change for i, belief in enumerate(found)}
    assert bend(point, changes) == pytest.approx(vector @ whole @ vector)
    alone = np.concatenate([np.zeros_like(parts[0]), parts[1], np.zeros_like(parts[2])])
    assert bend(point, {1: changes[1]}) == pytest.approx(alone @ whole @ alone)


def test_gauss_newton_is_right_to_second_order_in_the_last_layer():
    """There F is linear in the weights, and the Gauss–Newton matrix the Hessian."""
    point = point_of(relu_subject())
    last = len(point.weights) - 1
    belief = believed(point, {})[last]
    errors = []
    for eta in (1e-2, 5e-3):
        (row,) = promises(point, "last", {last: belief}, np.array([eta]))
        assert abs(row["gauss_newton"] - row["actual"]) < abs(row["slope"] - row["actual"]) / 10
        errors.append(abs(row["gauss_newton"] - row["actual"]))
    assert errors[0] / errors[1] == pytest.approx(8, rel=0.1)  # the third order is what is left


def test_of_one_linear_layer_with_squared_loss_the_model_is_exact():
    subject = relu_subject("regression", widths=())
    point = point_of(subject)
    config = {"lambda_w_layers": [0.0], "absolute_penalties": True}
    (belief,) = believed(point, config)
    etas = np.array([0.1, 0.5, 1.0, 2.0, 3.0])
    for row in promises(point, "all", {0: belief}, etas):
        assert row["model"] == pytest.approx(row["actual"])
        assert row["gauss_newton"] == pytest.approx(row["actual"])
    g, q = belief.of_g
    d_out = belief.change.shape[1]
    for count in (d_out, 2 * d_out):
        pairs = leading_eigenpairs(block_of(subject, point, 0), count, 0)
        np.testing.assert_allclose(pairs.values[::-1], np.repeat(g[::-1], d_out)[:count])
        share, chance = overlap(folded(pairs.vectors, d_out), q)
        assert share == pytest.approx(1)
        assert chance == pytest.approx(count / d_out / len(q))


def test_overlap_of_random_directions_is_what_chance_gives_and_of_the_wrong_ones_none():
    rng = np.random.default_rng(0)
    d_in, d_out, k = 9, 4, 6
    q = np.linalg.qr(rng.standard_normal((d_in, d_in)))[0]
    shares = []
    for _ in range(200):
        vectors = np.linalg.qr(rng.standard_normal((d_in * d_out, k)))[0]
        share, chance = overlap(folded(vectors, d_out), q)
        shares.append(share)
    assert chance == 2 / 9  # six directions need two of G's
    assert np.mean(shares) == pytest.approx(chance, rel=0.05)
    lowest = np.einsum("ir,os->rsio", q[:, :1], np.eye(d_out)).reshape(d_out, d_in, d_out)
    assert overlap(lowest, q)[0] == pytest.approx(0, abs=1e-12)


def test_only_plain_relu_networks_are_taken_for_such():
    from torch import nn

    assert is_relu_network(relu_subject().network)
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    assert not is_relu_network(nn.Sequential(one, nn.Tanh(), two))
    assert not is_relu_network(nn.Sequential(one, two))
    assert not is_relu_network(one)
