import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from datasets import load_dataset, training_rows
from datasets.synthetic import linear_quadratic, teacher_network


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_teachers_weights_explain_its_targets():
    inputs, targets, weights = teacher_network(rng(), [5, 7, 6, 2], rows=11)
    assert inputs.shape == (11, 5)
    assert [weight.shape for weight in weights] == [(6, 7), (8, 6), (7, 2)]
    for row, target in zip(inputs, targets, strict=True):
        hidden = np.maximum(np.append(row, 1) @ weights[0], 0)
        hidden = np.maximum(np.append(hidden, 1) @ weights[1], 0)
        np.testing.assert_allclose(np.append(hidden, 1) @ weights[2], target)


def test_noise_disturbs_the_targets_alone():
    clean = teacher_network(rng(), [5, 4, 3], rows=20_000)
    noisy = teacher_network(rng(), [5, 4, 3], rows=20_000, noise=0.5)
    np.testing.assert_array_equal(clean[0], noisy[0])
    assert np.std(noisy[1] - clean[1]) == pytest.approx(0.5, rel=0.02)


def test_the_same_seed_gives_the_same_teacher():
    for first, second in zip(
        teacher_network(rng(3), [2, 3, 1], 4)[2],
        teacher_network(rng(3), [2, 3, 1], 4)[2],
        strict=True,
    ):
        np.testing.assert_array_equal(first, second)


@settings(max_examples=40)
@given(
    rows=st.integers(1, 30),
    features=st.integers(1, 12),
    outputs=st.integers(1, 3),
    data=st.data(),
    condition=st.floats(1, 1e4),
    noise=st.sampled_from([0.0, 2.0]),
)
def test_spectrum_and_solution_are_as_promised(rows, features, outputs, data, condition, noise):
    rank = data.draw(st.integers(1, min(rows, features)))
    problem = linear_quadratic(rng(), rows, features, outputs, rank, condition, noise)
    gram = problem.inputs.T @ problem.inputs / rows
    expected = np.zeros(features)
    expected[:rank] = problem.eigenvalues
    np.testing.assert_allclose(np.linalg.eigvalsh(gram)[::-1], expected, atol=1e-10)
    assert problem.eigenvalues[0] == 1
    if rank > 1:
        assert problem.eigenvalues[-1] == pytest.approx(1 / condition)
    least_norm = np.linalg.lstsq(problem.inputs, problem.targets, rcond=1e-6)[0]
    np.testing.assert_allclose(least_norm, problem.solution, atol=1e-6)


def test_noise_leaves_a_residual_but_not_another_solution():
    clean = linear_quadratic(rng(), 50, 4, 2)
    noisy = linear_quadratic(rng(), 50, 4, 2, noise=1.0)
    np.testing.assert_array_equal(clean.solution, noisy.solution)
    np.testing.assert_allclose(clean.targets, clean.inputs @ clean.solution)
    assert np.std(noisy.targets - noisy.inputs @ noisy.solution) > 0.5


@pytest.mark.parametrize("rank", [0, 5])
def test_an_impossible_rank_is_refused(rank):
    with pytest.raises(ValueError, match="rank"):
        linear_quadratic(rng(), 9, 4, 1, rank=rank)


@pytest.mark.parametrize("seed", range(5))
def test_no_class_dominates(seed):
    dataset = load_dataset("synthetic", seed=seed)
    for labels in (dataset.y_train, dataset.y_test):
        shares = np.bincount(labels, minlength=dataset.num_classes) / len(labels)
        np.testing.assert_allclose(shares, 0.25, atol=0.03)


def test_the_data_set_has_the_promised_form():
    dataset = load_dataset("synthetic")
    assert dataset.x_train.shape == (6000, 20)
    assert dataset.x_test.shape == (2000, 20)
    assert dataset.x_train.dtype == np.float32
    assert dataset.y_train.dtype == np.int64
    np.testing.assert_allclose(dataset.x_train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(dataset.x_train.std(axis=0), 1, atol=1e-5)
    assert training_rows("synthetic") == 6000


def test_the_seed_decides_the_data():
    hashes = [load_dataset("synthetic", seed=seed).sha256["x_train"] for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_validation_takes_the_last_thousand_training_rows():
    whole = load_dataset("synthetic")
    part = load_dataset("synthetic", held_out="validation")
    np.testing.assert_array_equal(part.y_train, whole.y_train[:5000])
    np.testing.assert_array_equal(part.y_test, whole.y_train[5000:])
    np.testing.assert_allclose(part.x_train.mean(axis=0), 0, atol=1e-5)
    assert training_rows("synthetic", held_out="validation") == 5000


@threadpool_limits.wrap(limits=1)
def test_a_small_network_learns_it_and_a_linear_one_does_not():
    dataset = load_dataset("synthetic")
    one_hot = np.eye(4, dtype=np.float32)[dataset.y_train]
    network = fit_two_layer_relu_network(dataset.x_train, one_hot)
    linear = [np.linalg.lstsq(with_bias(dataset.x_train), one_hot, rcond=None)[0]]
    assert accuracy(network, dataset) > 0.95
    assert accuracy(linear, dataset) < 0.9


def with_bias(rows):
    return np.hstack([rows, np.ones((len(rows), 1), rows.dtype)])


def accuracy(weights, dataset):
    scores = with_bias(dataset.x_test) @ weights[0]
    for weight in weights[1:]:
        scores = with_bias(np.maximum(scores, 0)) @ weight
    return np.mean(scores.argmax(axis=1) == dataset.y_test)


def fit_two_layer_relu_network(x, one_hot, hidden=64, epochs=12, batch=100, rate=0.1):
    """Cross-entropy by gradient descent with momentum 0.9, the rate falling to 0."""
    generator = rng()
    shapes = ((x.shape[1] + 1, hidden), (hidden + 1, one_hot.shape[1]))
    weights = [generator.normal(0, (2 / s[0]) ** 0.5, s).astype(np.float32) for s in shapes]
    velocity = [np.zeros_like(weight) for weight in weights]
    orders = [generator.permutation(len(x)) for _ in range(epochs)]
    steps = np.concatenate(orders).reshape(-1, batch)
    for step, rows in enumerate(steps):
        inputs = with_bias(x[rows])
        below = inputs @ weights[0]
        activations = with_bias(np.maximum(below, 0))
        odds = np.exp(activations @ weights[1])
        delta = (odds / odds.sum(axis=1, keepdims=True) - one_hot[rows]) / batch
        delta_below = delta @ weights[1][:-1].T * (below > 0)
        gradients = (inputs.T @ delta_below, activations.T @ delta)
        for weight, speed, gradient in zip(weights, velocity, gradients, strict=True):
            speed *= 0.9
            speed -= rate * (1 - step / len(steps)) * gradient
            weight += speed
    return weights
