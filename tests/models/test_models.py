"""Models in PyTorch: what they compute, their losses, and how methods train and score them."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from datasets import Dataset
from new_algorithm.back_projection.losses import BERNOULLI
from new_algorithm.cli.errors import UserError
from new_algorithm.methods.epochs import predicted_scores
from new_algorithm.methods.method import Problem
from new_algorithm.methods.registry import METHODS
from new_algorithm.methods.torch_network import torch_objective
from new_algorithm.models.model import MODELS, pieces
from new_algorithm.models.networks import Transformer, autoencoder, convolutional_network

TRAINERS = [name for name, method in METHODS.items() if method.any_model]


def dataset(x, y, classes):
    half = len(x) // 2
    parts = {"x_train": x[half:], "y_train": y[half:], "x_test": x[:half], "y_test": y[:half]}
    about = {"held_out": "test", "source": "drawn", "scaling": "none", "sha256": {}}
    return Dataset(name="drawn", num_classes=classes, **parts, **about)


def drawn(name, rows=24):
    rng = np.random.default_rng(0)
    if name == "transformer":
        x, y = pieces(rng.integers(0, 7, 64 * rows + 1))
        return dataset(x, y, 7)
    if name == "autoencoder":
        x = rng.random((rows, 12), np.float32)
        return dataset(x, x, None)
    x = rng.standard_normal((rows, 3, 32, 32), np.float32)
    return dataset(x, rng.integers(0, 3, rows), 3)


def problem(name, epochs=1, seed=5):
    model = dataclasses.replace(MODELS[name], batch_size=6)
    return Problem(drawn(name), (), epochs, seed, model=model)


@pytest.mark.parametrize("name", MODELS)
def test_scores_of_what_is_predicted_are_torchs(name):
    made = problem(name)
    (epoch,) = METHODS["adamw"].train(made, METHODS["adamw"].defaults)
    x, y = made.data.x_test, made.data.y_test
    outputs = torch.from_numpy(epoch.predict(x))
    targets = torch.from_numpy(y)
    if name == "autoencoder":
        expected = functional.binary_cross_entropy_with_logits(
            outputs, targets, reduction="sum"
        ) / len(x)
    else:
        expected = functional.cross_entropy(outputs, targets.flatten())
    scores = predicted_scores(made.loss, epoch.predict, x, y)
    assert scores.loss == pytest.approx(expected.item(), rel=1e-5)
    assert epoch.scores()[1] == scores
    if name != "autoencoder":
        right = (outputs.argmax(1) == targets.flatten()).double().mean().item()
        assert scores.accuracy == pytest.approx(right)


@pytest.mark.parametrize("name", MODELS)
def test_objective_is_the_loss_that_is_scored(name):
    made = problem(name)
    torch.manual_seed(0)
    model = made.model.build(made.data)
    outputs = model(torch.from_numpy(made.data.x_train))
    targets = torch.from_numpy(made.data.y_train)
    loss = torch_objective(made.loss)(outputs, targets).item()
    flat = outputs.detach().flatten(0, -2).numpy()
    labels = made.data.y_train
    labels = labels.reshape(-1) if labels.dtype == np.int64 else labels
    assert made.loss.value(flat, labels) == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("method", TRAINERS)
def test_same_seed_same_bits_and_another_seed_other_weights(method):
    def weights(seed):
        settings = METHODS[method].defaults
        (epoch,) = METHODS[method].train(problem("cnn_batch_norm", seed=seed), settings)
        return epoch.weights

    first, second, other = weights(5), weights(5), weights(6)
    for a, b, c in zip(first, second, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_parts_of_a_pass_are_the_same_steps_as_the_pass():
    whole = problem("cnn", epochs=2)  # of two steps each
    divided = dataclasses.replace(whole, epochs=4, parts=2)
    method = METHODS["momentum"]
    *_, last = method.train(whole, method.defaults)
    epochs = [
        [weight.copy() for weight in epoch.weights]
        for epoch in method.train(divided, method.defaults)
    ]
    assert len(epochs) == 4
    for a, b, before in zip(last.weights, epochs[-1], epochs[0], strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, before)


def test_train_score_is_that_of_the_first_rows():
    made = problem("cnn")
    made = dataclasses.replace(made, model=dataclasses.replace(made.model, scored_rows=5))
    (epoch,) = METHODS["adamw"].train(made, METHODS["adamw"].defaults)
    x, y = made.data.x_train[:5], made.data.y_train[:5]
    assert epoch.scores()[0] == predicted_scores(made.loss, epoch.predict, x, y)


def test_predictions_are_of_the_epoch_that_gave_them():
    made = problem("cnn_batch_norm", epochs=2)
    x = made.data.x_test
    epochs = METHODS["momentum"].train(made, METHODS["momentum"].defaults)
    first = next(epochs)
    before = first.predict(x)
    second = next(epochs)
    np.testing.assert_array_equal(first.predict(x), before)
    assert not np.array_equal(second.predict(x), before)


def test_transformer_does_not_see_what_is_to_come():
    torch.manual_seed(0)
    model = Transformer(tokens=7, length=10, width=8, layers=2, heads=2)
    tokens = torch.randint(7, (3, 10))
    changed = tokens.clone()
    changed[:, 6:] = (changed[:, 6:] + 1) % 7
    one, other = model(tokens), model(changed)
    torch.testing.assert_close(one[:, :6], other[:, :6])
    assert not torch.allclose(one[:, 6:], other[:, 6:])


def test_shapes_of_the_networks():
    images = torch.randn(2, 3, 32, 32)
    for batch_norm in (False, True):
        network = convolutional_network(10, batch_norm)
        assert network(images).shape == (2, 10)
        assert any(isinstance(m, nn.BatchNorm2d) for m in network) == batch_norm
    widths = [m.out_features for m in autoencoder(784) if isinstance(m, nn.Linear)]
    assert widths == [1000, 500, 250, 30, 250, 500, 1000, 784]
    kinds = [type(m) for m in autoencoder(784)]
    assert kinds.count(nn.ReLU) == 6  # none after the code, none after the output


def test_pieces_are_followed_by_their_next_characters():
    x, y = pieces(np.arange(64 * 3 + 5))
    assert x.shape == y.shape == (3, 64)
    np.testing.assert_array_equal(x.ravel(), np.arange(192))
    np.testing.assert_array_equal(y, x + 1)
    shorter = pieces(np.arange(64), 21)[0]  # the last character has none after it
    np.testing.assert_array_equal(shorter, np.arange(63).reshape(3, 21))
    with pytest.raises(UserError, match="a text of 64 characters has no piece of 64: take fewer"):
        pieces(np.arange(64))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("method", ["adamw", "muon", "back_projection_torch"])
def test_training_on_a_graphics_card_begins_and_goes_on_as_on_the_processor(method):
    made, settings = problem("transformer", epochs=2), METHODS[method].defaults
    on_card = dataclasses.replace(made, device="cuda")
    pairs = zip(
        METHODS[method].train(made, settings), METHODS[method].train(on_card, settings), strict=True
    )
    for here, there in pairs:
        assert there.scores()[1].loss == pytest.approx(here.scores()[1].loss, rel=1e-3)


def test_residual_of_bernoulli_outputs_is_minus_n_times_the_gradient():
    rng = np.random.default_rng(0)
    for scale in (1.0, 100.0):
        output, targets = scale * rng.standard_normal((5, 4)), rng.random((5, 4))
        leaf = torch.tensor(output, requires_grad=True)
        loss = torch_objective(BERNOULLI)(leaf, torch.from_numpy(targets))
        loss.backward()
        assert BERNOULLI.value(output, targets) == pytest.approx(loss.item(), rel=1e-12)
        residual = BERNOULLI.residual(output, targets)
        np.testing.assert_allclose(residual, -5 * leaf.grad.numpy(), rtol=1e-9, atol=1e-12)
