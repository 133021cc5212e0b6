import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from datasets import load_dataset
from datasets.synthetic import SYNTHETIC, teacher_data, teacher_network


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


def test_the_same_seed_gives_the_same_teacher():
    for first, second in zip(
        teacher_network(rng(3), [2, 3, 1], 4)[2],
        teacher_network(rng(3), [2, 3, 1], 4)[2],
        strict=True,
    ):
        np.testing.assert_array_equal(first, second)


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


def test_the_seed_decides_the_data():
    hashes = [load_dataset("synthetic", seed=seed).sha256["x_train"] for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_validation_takes_the_last_thousand_training_rows():
    whole = load_dataset("synthetic")
    part = load_dataset("synthetic", held_out="validation")
    np.testing.assert_array_equal(part.y_train, whole.y_train[:5000])
    np.testing.assert_array_equal(part.y_test, whole.y_train[5000:])
    np.testing.assert_allclose(part.x_train.mean(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize("name", ["regression", "spirals"])
def test_data_sets_of_two_known_kinds_are_those_of_an_npz_file(tmp_path, name):
    """To the bit what a user's own file gives, whatever the seed."""
    x, y = SYNTHETIC[name].draw(0)
    np.savez(
        tmp_path / "own.npz", x_train=x[:4000], y_train=y[:4000], x_test=x[4000:], y_test=y[4000:]
    )
    own = load_dataset(str(tmp_path / "own.npz"))
    for dataset in (load_dataset(name), load_dataset(name, seed=7)):
        for array in ("x_train", "y_train", "x_test", "y_test"):
            np.testing.assert_array_equal(getattr(dataset, array), getattr(own, array))
        assert dataset.sha256 == own.sha256
        assert dataset.name == name
    assert len(own.x_train) == 4000


def test_friedmans_function_explains_all_but_the_noise():
    x, y = SYNTHETIC["regression"].draw(0)
    explained = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    explained += 10 * x[:, 3] + 5 * x[:, 4]
    assert np.std(y - explained) == pytest.approx(1, abs=0.05)
    assert load_dataset("regression").num_classes is None


def test_the_spirals_have_as_many_points_on_either_arm():
    dataset = load_dataset("spirals")
    assert dataset.num_classes == 2
    assert np.mean(dataset.y_train) == pytest.approx(0.5, abs=0.04)
    x, labels = SYNTHETIC["spirals"].draw(0)
    turned = np.where(labels[:, None] == 1, x, -x)  # one arm is the other turned by half a turn
    radius = np.linalg.norm(turned, axis=1)
    angle = np.arctan2(turned[:, 1], turned[:, 0])
    assert np.mean(np.abs(np.sin((angle - radius)[radius > 2] / 2))) < 0.2


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


def test_the_data_of_a_teacher_are_its_rows_in_two_halves():
    data, teacher = teacher_data(3, (4, 5, 2), 7)
    x, y, weights = teacher_network(np.random.default_rng(3), (4, 5, 2), 14)
    np.testing.assert_array_equal(np.concatenate([data.x_train, data.x_test]), x)
    np.testing.assert_array_equal(np.concatenate([data.y_train, data.y_test]), y)
    assert len(data.x_train) == len(data.y_test) == 7
    for one, other in zip(teacher, weights, strict=True):
        np.testing.assert_array_equal(one, other)
