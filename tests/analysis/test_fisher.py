"""Fisher information beside loops over rows, dense Gauss–Newton matrices, and enumeration."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian, jacrev

from new_algorithm.analysis import diagonals, fisher, likelihood
from new_algorithm.analysis.findings import Settings
from new_algorithm.analysis.spectra import GAUSS_NEWTON, dense, operator
from new_algorithm.back_projection.losses import BERNOULLI, LOGISTIC, SOFTMAX, SQUARED
from new_algorithm.methods.torch_network import torch_objective
from new_algorithm.models.networks import Transformer
from tests.analysis.subjects import flat_function, relu_subject

DATA = ("synthetic", "spirals", "regression")  # softmax, logistic, squared loss
WIDTHS = {SOFTMAX: 4, LOGISTIC: 1, BERNOULLI: 3, SQUARED: 3}


def drawn(loss, rows, seed=0):
    """Outputs (rows, m) and targets of theirs."""
    rng = np.random.default_rng(seed)
    outputs = rng.standard_normal((rows, WIDTHS[loss]))
    return outputs, likelihood.draw(loss, outputs, rng)


def loss_hessians(loss, outputs, targets):
    """∂²(−log p)/∂F² of each row, (n, m, m)."""
    objective = torch_objective(loss)
    rows = zip(torch.from_numpy(outputs), torch.from_numpy(targets), strict=True)
    return np.stack([hessian(lambda f, y=y: objective(f[None], y[None]))(f) for f, y in rows])


@pytest.mark.parametrize("loss", WIDTHS, ids=["softmax", "logistic", "bernoulli", "squared"])
def test_factors_are_of_the_losss_hessian_and_drawn_ones_in_expectation(loss, monkeypatch):
    outputs, targets = drawn(loss, 3)
    expected = loss_hessians(loss, outputs, targets)
    b = likelihood.factors(loss, outputs, np.random.default_rng(0), 1)
    np.testing.assert_allclose(np.einsum("kni,knj->nij", b, b), expected, atol=1e-12)
    monkeypatch.setattr(likelihood, "MOST_EXACT", 0)
    many = 20_000
    b = likelihood.factors(loss, outputs, np.random.default_rng(0), many)
    products = many * np.einsum("kni,knj->knij", b, b)  # of one draw each
    error = products.std(axis=0) / np.sqrt(many)
    assert (np.abs(products.mean(axis=0) - expected) <= 5 * error + 1e-12).all()


def test_labels_of_a_sequence_are_drawn_place_by_place():
    outputs = np.random.default_rng(0).standard_normal((2, 3, 4))  # places 3
    many = 20_000
    b = likelihood.factors(SOFTMAX, outputs, np.random.default_rng(1), many).reshape(many, 2, 12)
    of_places = loss_hessians(SOFTMAX, outputs.reshape(6, 4), np.zeros(6, int)).reshape(2, 3, 4, 4)
    for row in range(2):  # of the mean over places: Λ_t/9 on the diagonal, 0 between places
        expected = np.zeros((3, 4, 3, 4))
        for place in range(3):
            expected[place, :, place] = of_places[row, place] / 9
        np.testing.assert_allclose(b[:, row].T @ b[:, row], expected.reshape(12, 12), atol=1e-3)


def test_residuals_are_minus_each_rows_gradient():
    rng = np.random.default_rng(0)
    outputs, labels = rng.standard_normal((2, 3, 4)), rng.integers(0, 4, (2, 3))
    found = likelihood.row_residual(SOFTMAX, outputs, labels)
    f = torch.from_numpy(outputs).requires_grad_()
    loss = torch_objective(SOFTMAX)(f, torch.from_numpy(labels)) * len(f)
    np.testing.assert_allclose(found, -torch.autograd.grad(loss, f)[0], atol=1e-12)


def row_gradients(network, loss_of_row, rows):
    """(n, parameters), one backward pass each."""
    parameters = list(network.parameters())
    return np.stack(
        [
            torch.cat([g.flatten() for g in torch.autograd.grad(loss_of_row(i), parameters)])
            for i in range(rows)
        ]
    )


@pytest.mark.parametrize("name", DATA)
def test_the_empirical_diagonal_is_that_of_a_loop_over_rows(name, monkeypatch):
    monkeypatch.setattr(fisher, "MOST_NUMBERS", 2000)  # a few rows at a time
    subject = relu_subject(name).in_double()
    x, y = subject.rows("train", 23, 0)

    def loss_of_row(i):
        return subject.objective(subject.network(x[[i]]), y[[i]])

    gradients = row_gradients(subject.network, loss_of_row, 23)
    found = fisher.empirical_fisher(subject, x, y)
    np.testing.assert_allclose(found.diagonal, (gradients**2).mean(axis=0), rtol=1e-9)
    sizes = [m.weight.numel() + m.bias.numel() for m in subject.layers.values()]
    layers = np.add.reduceat(gradients**2, np.cumsum([0, *sizes[:-1]]), axis=1)
    np.testing.assert_allclose(found.traces, layers, rtol=1e-9, atol=1e-20)


@pytest.mark.parametrize("name", DATA)
def test_the_true_diagonal_is_gauss_newtons(name):
    subject = relu_subject(name).in_double()
    x, y = subject.rows("train", 9, 0)
    parameters = {n: p.detach() for n, p in subject.network.named_parameters()}
    jacobians = jacrev(lambda w: functional_call(subject.network, w, (x,)))(parameters)
    j = torch.cat([one.flatten(2) for one in jacobians.values()], dim=2).numpy()  # (n, m, P)
    outputs = subject.network(x).detach().numpy()
    curvature = loss_hessians(subject.loss, outputs, y.numpy())
    expected = np.einsum("nap,nab,nbp->p", j, curvature, j) / len(x)
    found = fisher.true_fisher(subject, x, np.random.default_rng(0))
    np.testing.assert_allclose(found.diagonal, expected, rtol=1e-9, atol=1e-20)


def test_drawn_labels_give_the_true_diagonal_in_expectation(monkeypatch):
    subject = relu_subject(widths=(3,)).in_double()
    x, _ = subject.rows("train", 1, 0)
    exact = fisher.true_fisher(subject, x, np.random.default_rng(0)).traces[0]
    monkeypatch.setattr(likelihood, "MOST_EXACT", 0)
    drawn = fisher.true_fisher(subject, x.expand(4000, -1), np.random.default_rng(0)).traces
    assert (np.abs(drawn.mean(axis=0) - exact) < 5 * fisher.standard_error(drawn)).all()


def convolutional_network():
    network = nn.Sequential(
        *(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    )
    network[1].running_mean += 0.3
    return network, torch.randn(4, 1, 4, 4).double()


def transformer():
    return Transformer(5, 4, 8, 1, 2), torch.randint(0, 5, (4, 4))


@pytest.mark.parametrize("build", [convolutional_network, transformer])
def test_rows_have_gradients_of_their_own_in_other_networks_too(build):
    torch.manual_seed(0)
    network, x = build()
    network = network.double().eval()
    vectors = torch.randn(2, *network(x).shape).double()
    found = fisher.squared_gradients(network, x, vectors)
    squares = [
        row_gradients(network, lambda i, v=v: (network(x[[i]])[0] * v[i]).sum(), len(x)) ** 2
        for v in vectors
    ]
    np.testing.assert_allclose(found.diagonal, sum(squares).mean(axis=0), rtol=1e-8, atol=1e-15)
    assert found.traces.shape == (len(x), len(diagonals.layer_names(network)))


def test_a_batchs_squared_mean_has_the_square_of_the_mean_and_a_share_of_the_variance():
    values, rows, batch = np.array([-1.0, 0.5, 4.0]), 3, 2
    every_batch = np.array(list(itertools.product(values, repeat=batch)))
    truth = (every_batch.mean(axis=1) ** 2).mean()
    assert truth == pytest.approx(values.mean() ** 2 + values.var() / batch)
    every_sample = np.array(list(itertools.product(values, repeat=rows)))
    moments = (every_sample**2).mean(axis=1), every_sample.mean(axis=1) ** 2
    assert fisher.expected_sketch(*moments, rows, batch).mean() == pytest.approx(truth)


def test_the_sketch_is_empirical_for_batches_of_one_and_the_gradient_for_all(monkeypatch):
    monkeypatch.setattr(fisher, "ROWS_AT_A_TIME", 7)
    subject = relu_subject().in_double()
    x, y = subject.rows("train", 20, 0)
    ones = fisher.batch_sketch(subject, x, y, 1)
    np.testing.assert_allclose(ones, fisher.empirical_fisher(subject, x, y).traces, rtol=1e-9)
    subject.objective(subject.network(x), y).backward()
    layers = subject.layers.values()
    whole = [float(m.weight.grad.norm() ** 2 + m.bias.grad.norm() ** 2) for m in layers]
    np.testing.assert_allclose(fisher.batch_sketch(subject, x, y, 20), [whole], rtol=1e-9)
    assert fisher.batch_sketch(subject, x, y, 8).shape == (2, len(whole))


def test_the_largest_entries_are_named_by_their_places():
    subject = relu_subject()
    with torch.no_grad():
        for parameter in subject.network.parameters():
            parameter.flatten()[0] += 9  # the first one of each is among them
            parameter.flatten()[-1] += 8
    values = np.concatenate([p.detach().numpy().ravel() for p in subject.network.parameters()])
    for row in diagonals.largest(subject.network, values):
        parameter = subject.network.get_parameter(row["parameter"])
        place = tuple(int(i) for i in row["place"].split(", "))
        assert parameter[place].item() == row["true_fisher"]
        assert list(subject.layers)[row["layer"] - 1] == row["parameter"].split(".")[0]


def test_shares_rise_to_one_from_the_largest():
    curve = diagonals.shares(np.array([1.0, 6.0, 0.0, 3.0]))
    np.testing.assert_allclose(curve, [[0.25, 0.6], [0.5, 0.9], [0.75, 1.0], [1.0, 1.0]])


def test_the_diagonals_are_recorded_whole_with_their_quantiles_by_layer():
    """Beside a dense Gauss–Newton matrix, and gradients of one row each."""
    subject = relu_subject().in_double()
    found = fisher.analyse(subject, Settings(rows=25, seed=0))
    x, y = subject.rows("train", 25, 0)
    network, objective = subject.network, subject.objective
    theta, outputs = flat_function(network, x)
    jacobian = jacrev(outputs)(theta).numpy()
    curvature = loss_hessians(subject.loss, outputs(theta).numpy(), y.numpy())
    true = np.einsum("nap,nab,nbp->p", jacobian, curvature, jacobian) / 25
    gradients = row_gradients(network, lambda i: objective(network(x[[i]]), y[[i]]), 25)
    known = {"true": true, "empirical": (gradients**2).mean(axis=0)}
    table = next(one.rows for one in found.tables if one.name == "fisher_diagonal")
    sizes = [m.weight.numel() + m.bias.numel() for m in subject.layers.values()]
    for kind, diagonal in known.items():
        np.testing.assert_allclose(found.arrays[f"fisher_{kind}"], diagonal, rtol=1e-9, atol=1e-20)
        own = [row for row in table if row["fisher"] == kind]
        for row, part in zip(own, np.split(diagonal, np.cumsum(sizes)[:-1]), strict=True):
            above = np.log10(np.sort(part[part > 1e-20]))
            assert row["50%"] == pytest.approx(np.median(above))
            assert above[0] <= row["1%"] <= row["25%"] <= row["75%"] <= row["99%"] <= above[-1]
            assert row["zeros"] == pytest.approx(1 - len(above) / len(part))


def test_of_sequences_the_page_says_what_the_gauss_newton_matrix_is():
    assert fisher.told_of_sequences(np.zeros((2, 4))) == []
    (told,) = fisher.told_of_sequences(np.zeros((2, 7, 4)))
    assert "1/7 of the Gauss–Newton matrix" in told


def test_of_sequences_the_true_fisher_is_the_gauss_newton_matrix_over_their_length():
    """F of two places, summed over all four pairs of labels, beside Jᵀ (∂²L/∂F²) J."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Unflatten(1, (2, 2))).double()
    x = torch.randn(1, 3).double()
    theta, outputs = flat_function(network, x)
    jacobian = jacrev(outputs)(theta)[0].flatten(0, 1).numpy()
    f = outputs(theta).detach().numpy()
    p = np.exp(f[0]) / np.exp(f[0]).sum(axis=1, keepdims=True)
    total = 0
    for labels in itertools.product(range(2), repeat=2):
        residual = likelihood.row_residual(SOFTMAX, f, np.array([labels]))
        gradient = jacobian.T @ residual.ravel()
        total += p[0, labels[0]] * p[1, labels[1]] * np.outer(gradient, gradient)
    objective, y = torch_objective(SOFTMAX), torch.zeros(1, 2, dtype=torch.long)
    matrix = dense(operator(GAUSS_NEWTON, network, objective, [(x, y)]))
    np.testing.assert_allclose(total, matrix / 2, atol=1e-12)
