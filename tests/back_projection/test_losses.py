"""Losses against torch: value and accuracy as they are, the residual against autograd, and the
curvature of sampled residuals."""

import numpy as np
import pytest
import torch

from new_algorithm.back_projection.losses import (
    BERNOULLI,
    LOGISTIC,
    SOFTMAX,
    SQUARED,
    loss_for,
    smoothed,
)
from new_algorithm.back_projection.network import append_ones
from tests.back_projection.problems import LOSSES, TORCH_LOSSES


def case(name, scale=1.0):
    """The loss, torch's, and outputs (7, m) with their targets."""
    rng = np.random.default_rng(0)
    width = {"squared": 3, "softmax": 4, "logistic": 1}[name]
    output = scale * rng.standard_normal((7, width))
    targets = (
        rng.integers(0, max(2, width), 7) if name != "squared" else rng.standard_normal((7, 3))
    )
    return LOSSES[name], TORCH_LOSSES[name], output, targets


@pytest.mark.parametrize("scale", [1.0, 1000.0])
@pytest.mark.parametrize("name", LOSSES)
def test_value_agrees_with_torch(name, scale):
    loss, torch_loss, output, targets = case(name, scale)
    expected = torch_loss(torch.from_numpy(output), torch.from_numpy(targets)).item()
    assert loss.value(output, targets) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_probabilities_have_torchs_cross_entropy_and_the_squared_error_of_the_sigmoid(scale):
    rng = np.random.default_rng(1)
    output, targets = scale * rng.standard_normal((6, 5)), rng.uniform(size=(6, 5))
    f, y = torch.from_numpy(output), torch.from_numpy(targets)
    nats = torch.nn.functional.binary_cross_entropy_with_logits(f, y, reduction="sum") / 6
    assert BERNOULLI.value(output, targets) == pytest.approx(nats.item(), rel=1e-12)
    squares = sum(
        (targets[i, j] - torch.sigmoid(f[i, j]).item()) ** 2 for i in range(6) for j in range(5)
    )
    assert BERNOULLI.squared_error(output, targets) == pytest.approx(squares / 6, rel=1e-12)
    single = BERNOULLI.squared_error(output.astype(np.float32), targets.astype(np.float32))
    assert single == pytest.approx(squares / 6, rel=1e-5)


@pytest.mark.parametrize(
    ("num_classes", "probabilities", "expected"),
    [
        (None, False, (SQUARED, 3)),
        (None, True, (BERNOULLI, 3)),
        (2, False, (LOGISTIC, 1)),
        (7, False, (SOFTMAX, 7)),
    ],
)
def test_a_task_has_its_loss_and_as_many_outputs_as_that_needs(
    num_classes, probabilities, expected
):
    assert loss_for(num_classes, np.zeros((4, 3)), probabilities) == expected


@pytest.mark.parametrize("scale", [1.0, 1000.0])
@pytest.mark.parametrize("name", LOSSES)
def test_residual_is_minus_n_times_the_gradient(name, scale):
    loss, torch_loss, output, targets = case(name, scale)
    leaf = torch.tensor(output, requires_grad=True)
    torch_loss(leaf, torch.from_numpy(targets)).backward()
    np.testing.assert_allclose(
        loss.residual(output, targets), -len(output) * leaf.grad.numpy(), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("name", LOSSES)
def test_residual_agrees_with_finite_differences(name):
    loss, _, output, targets = case(name)
    step = 1e-6
    for index in np.ndindex(output.shape):
        up, down = output.copy(), output.copy()
        up[index] += step
        down[index] -= step
        slope = (loss.value(up, targets) - loss.value(down, targets)) / (2 * step)
        assert -len(output) * slope == pytest.approx(
            loss.residual(output, targets)[index], abs=1e-6
        )


@pytest.mark.parametrize("name", LOSSES)
def test_float32_residual_stays_float32_and_finite_for_huge_outputs(name):
    loss, _, output, targets = case(name, scale=1e30)
    residual = loss.residual(
        output.astype(np.float32), targets.astype(np.float32) if name == "squared" else targets
    )
    assert residual.dtype == np.float32
    assert np.isfinite(residual).all()


def test_accuracy_counts_correct_rows():
    scores = np.array([[0.1, 0.9], [2.0, -1.0], [0.0, 0.5]])
    assert SOFTMAX.accuracy(scores, np.array([1, 0, 0])) == pytest.approx(2 / 3)
    assert LOGISTIC.accuracy(scores[:, 1:], np.array([1, 1, 0])) == pytest.approx(1 / 3)
    assert SQUARED.accuracy is None


def test_loss_follows_the_task():
    labels = np.zeros(5, np.int64)
    assert loss_for(None, np.zeros((5, 3))) == (SQUARED, 3)
    assert loss_for(2, labels) == (LOGISTIC, 1)
    assert loss_for(10, labels) == (SOFTMAX, 10)


@pytest.mark.parametrize("smoothing", [0.1, 0.7])
def test_smoothed_targets_are_those_of_torch(smoothing):
    loss, _, output, labels = case("softmax")
    leaf = torch.tensor(output, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        leaf, torch.from_numpy(labels), label_smoothing=smoothing
    )
    expected.backward()
    ours = smoothed(loss, smoothing)
    assert ours.value(output, labels) == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(ours.residual(output, labels), -7 * leaf.grad.numpy(), atol=1e-12)
    # of two classes the logistic loss is that of (0, F)
    _, _, output, labels = case("logistic")
    both, two = np.hstack([np.zeros_like(output), output]), smoothed(LOGISTIC, smoothing)
    assert two.value(output, labels) == pytest.approx(ours.value(both, labels), rel=1e-12)
    np.testing.assert_allclose(
        two.residual(output, labels)[:, 0], ours.residual(both, labels)[:, 1]
    )


def test_only_classes_are_smoothed():
    assert smoothed(SQUARED, 0.0) is SQUARED
    with pytest.raises(ValueError, match="losses of classes"):
        smoothed(SQUARED, 0.1)


DRAWS = 40_000


def hessian(loss, row, weight, targets):
    """Of torch's loss in W̃ of one linear layer and one row; it is the Fisher matrix, since loss
    and output are canonical."""
    losses = {
        "softmax": lambda f: torch.nn.functional.cross_entropy(f[None], targets),
        "bernoulli": lambda f: torch.nn.functional.binary_cross_entropy_with_logits(
            f, targets, reduction="sum"
        ),
        "squared": lambda f: 0.5 * (f - targets).square().sum(),
    }
    by_weight = torch.autograd.functional.hessian(
        lambda w: losses[loss](torch.tensor(row) @ w), torch.tensor(weight)
    )
    return by_weight.reshape(weight.size, weight.size).numpy()


@pytest.mark.parametrize(
    ("name", "loss", "targets"),
    [
        ("softmax", SOFTMAX, torch.tensor([1])),
        ("bernoulli", BERNOULLI, torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)),
        ("squared", SQUARED, torch.tensor([0.3, 1.0, -2.0], dtype=torch.float64)),
    ],
)
def test_sampled_residuals_of_one_row_make_the_dense_fisher_matrix(name, loss, targets):
    rng = np.random.default_rng(0)
    row, weight = append_ones(rng.standard_normal((1, 4)))[0], rng.standard_normal((5, 3))
    outputs = np.tile(row @ weight, (DRAWS, 1))
    sampled = loss.sampled_residual(outputs, rng)
    s = sampled.T @ sampled / DRAWS
    fisher = np.kron(np.outer(row, row), s)
    expected = hessian(name, row, weight, targets)
    assert np.abs(fisher - expected).max() < 0.03 * np.abs(expected).max()  # 1/√DRAWS is 0.005
    assert np.abs(sampled.mean(axis=0)).max() < 0.02  # scores have mean zero


def test_labels_of_a_logit_are_drawn_with_its_probability():
    rng, logit = np.random.default_rng(0), 1.3
    sampled = LOGISTIC.sampled_residual(np.full((DRAWS, 1), logit), rng)
    p = 1 / (1 + np.exp(-logit))
    np.testing.assert_allclose(np.unique(sampled), [-p, 1 - p])
    np.testing.assert_allclose((sampled > 0).mean(), p, atol=0.01)
