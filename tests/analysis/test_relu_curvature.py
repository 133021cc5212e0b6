"""Products of ReLU networks' curvature matrices beside dense ones of autograd."""

import numpy as np
import pytest
import torch
from torch.func import hessian

from new_algorithm.analysis.curvature import blocks, layer_blocks, spectrum
from new_algorithm.analysis.likelihood import times_hessian
from new_algorithm.analysis.relu_curvature import ReluMatrix
from new_algorithm.analysis.spectra import GAUSS_NEWTON, HESSIAN, dense
from new_algorithm.methods.torch_network import torch_objective
from tests.analysis.subjects import flat_function, relu_subject
from tests.analysis.test_fisher import DATA, WIDTHS, drawn, loss_hessians
from tests.analysis.test_spectra import oracle, problem, relu

ROWS = 30


@pytest.mark.parametrize("loss", WIDTHS, ids=["softmax", "logistic", "bernoulli", "squared"])
def test_the_losss_hessian_is_autograds(loss):
    outputs, targets = drawn(loss, 5)
    t = np.random.default_rng(1).standard_normal(outputs.shape)
    found = times_hessian(loss, torch.from_numpy(outputs))(torch.from_numpy(t))
    expected = np.einsum("nij,nj->ni", loss_hessians(loss, outputs, targets), t)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("kind", [HESSIAN, GAUSS_NEWTON])
@pytest.mark.parametrize("name", ["squared", "logistic", "softmax", "bernoulli"])
def test_matrices_of_a_relu_network_are_those_of_autograd(kind, name):
    loss, network, x, y = problem(name, relu)
    objective = torch_objective(loss)
    known = oracle(kind, network, lambda found: objective(found, y), x)
    found = dense(ReluMatrix(kind, network, loss, x, y))
    np.testing.assert_allclose(found, known, atol=1e-12)


def test_products_are_of_several_vectors_at_once_and_leave_them_alone():
    loss, network, x, y = problem("softmax", relu)
    matrix = ReluMatrix(HESSIAN, network, loss, x, y)
    vectors = torch.randn(matrix.shape[0], 3).double()
    kept = vectors.clone()
    both = matrix @ vectors
    torch.testing.assert_close(both[:, 1], matrix @ vectors[:, 1])
    assert torch.equal(vectors, kept)


@pytest.mark.parametrize("name", DATA)
def test_blocks_are_cut_out_of_the_hessian(name):
    subject = relu_subject(name).in_double()
    x, y = subject.rows("train", ROWS, 0)
    theta, outputs = flat_function(subject.network, x)
    whole = hessian(lambda one: subject.objective(outputs(one), y))(theta).numpy()
    start = 0
    for block in layer_blocks(subject, x):
        own = slice(start, start := start + block.shape[0])
        np.testing.assert_allclose(dense(block), whole[own, own], atol=1e-12)
        trace = np.trace(whole[own, own])
        assert block.mean_eigenvalue() * block.shape[0] == pytest.approx(trace)


def test_of_many_outputs_blocks_are_autograds(monkeypatch):
    subject = relu_subject().in_double()
    batches = [subject.rows("train", ROWS, 0)]
    few = blocks(subject, batches)
    monkeypatch.setattr("new_algorithm.analysis.likelihood.MOST_EXACT", 0)
    many = blocks(subject, batches)
    assert list(few) == list(many) == ["layer 1", "layer 2", "layer 3"]
    for name, matrices in few.items():
        assert type(many[name][GAUSS_NEWTON]) is not type(matrices[GAUSS_NEWTON])
        known = dense(many[name][GAUSS_NEWTON])
        np.testing.assert_allclose(dense(matrices[GAUSS_NEWTON]), known, atol=1e-12)


def test_the_density_of_a_layer_counts_its_large_eigenvalues(monkeypatch):
    """Of more parameters than are decomposed, beside a dense decomposition."""
    monkeypatch.setattr("new_algorithm.analysis.curvature.PROBES", probes := 60)
    subject = relu_subject(widths=(16, 16)).in_double()
    x, _ = subject.rows("train", 60, 0)
    torch.manual_seed(0)
    block = layer_blocks(subject, x)[1]
    known = np.linalg.eigvalsh(dense(block))
    found = spectrum("layer 2", GAUSS_NEWTON, block, 0, 5, 8, 24)
    row, points = found.row(), list(found.densities())
    assert row["largest"] == pytest.approx(known[-1], rel=1e-3)
    large = int((known > known[-1] / 10).sum())
    assert 3 < large < 60
    assert row["above_a_tenth"] == pytest.approx(large, abs=4 * row["above_a_tenth_error"])
    assert 0 < row["above_a_tenth_error"] < large / 5
    grid = np.array([point["eigenvalue"] for point in points])
    mean = np.array([point["density"] for point in points])
    weight = mean * (grid[1] - grid[0])
    assert weight.sum() == pytest.approx(1, rel=1e-2)
    of_mean = known.std() * np.sqrt(2 / (len(known) + 2) / probes)
    assert (weight * grid).sum() == pytest.approx(known.mean(), abs=5 * of_mean)
