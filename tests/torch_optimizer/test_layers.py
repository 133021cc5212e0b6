"""What the optimizer sees of each kind of layer, and its steps, against dense least squares."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from new_algorithm.torch_optimizer import BackProjection
from new_algorithm.torch_optimizer.layers import layers_of
from new_algorithm.torch_optimizer.statistics import gram
from tests.torch_optimizer.dense import (
    CONVOLUTIONS,
    F64,
    LAMBDA_W,
    Seen,
    assert_equal,
    dense_step,
    drawn,
    folded,
    model_of,
    rows_of,
    squares,
    stepped,
    unfolded,
    with_ones,
)


@pytest.fixture(autouse=True)
def _same_weights():
    torch.manual_seed(0)


def all_rows(total):
    return torch.arange(total)


@st.composite
def convolutions(draw):
    dims = draw(st.integers(1, 3))
    each = st.tuples(*[st.integers(1, 3)] * dims)
    kernel, dilation, stride = draw(each), draw(each), draw(each)
    groups = draw(st.sampled_from([1, 2, 4]))
    mode = draw(st.sampled_from(["zeros", "reflect", "circular", "replicate"]))
    padding = draw(st.sampled_from(["same", "valid", "numbers"]))
    if padding == "same":
        stride = (1,) * dims
    sizes = [
        draw(st.integers(step * (k - 1) + 3, 9)) for step, k in zip(dilation, kernel, strict=True)
    ]
    if padding == "numbers":
        padding = draw(st.tuples(*[st.integers(0, 2)] * dims))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    channels = draw(st.sampled_from([4, 8]))
    module = CONVOLUTIONS[dims](4, channels, kernel, padding_mode=mode, **options, **F64)
    images = draw(st.sampled_from([(), (2,)]))
    return module, drawn(*images, 4, *sizes)


def assert_rows_are_what_the_weight_multiplies(module, x):
    (layer,) = layers_of(module, "it")
    (rows,) = layer.rows([x], all_rows)
    assert_equal(rows, unfolded(module, x))
    z = with_ones(rows, None if module.bias is None else True) @ layer.matrix().mT
    assert_equal(z, rows_of(module, module(x)))


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # which is slower for even kernels
@given(convolutions())
def test_rows_of_a_convolution_are_its_patches(case):
    assert_rows_are_what_the_weight_multiplies(*case)


@pytest.mark.parametrize("leading", [(7,), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_rows_of_a_linear_layer_have_any_leading_dimensions(leading, bias):
    module = nn.Linear(5, 4, bias=bias, **F64)
    assert_rows_are_what_the_weight_multiplies(module, drawn(*leading, 5))


@pytest.mark.parametrize("bias", [True, False, None])
def test_gram_is_that_of_rows_with_ones(bias):
    rows = drawn(3, 20, 4)
    h = with_ones(rows, bias)
    assert_equal(gram(rows, bias, torch.float64), h.mT @ h / 20)


# Steps through the whole optimizer.


def linear(d, m, **options):
    return nn.Linear(d, m, **options, **F64)


def conv(dims, *widths, **options):
    return CONVOLUTIONS[dims](*widths, **options, **F64)


NETWORKS = {
    "linear": ((9, 5), lambda: [linear(5, 4)]),
    "no bias": ((9, 5), lambda: [linear(5, 4, bias=False), nn.Tanh(), linear(4, 4)]),
    "sequences": ((3, 6, 5), lambda: [linear(5, 4), nn.Tanh(), linear(4, 5)]),
    "1d": ((4, 3, 9), lambda: [conv(1, 3, 4, 3, stride=2, padding=1), nn.Tanh(), linear(5, 2)]),
    "groups": (
        (3, 4, 5, 5),
        lambda: [conv(2, 4, 6, 3, groups=2, padding="same"), nn.Tanh(), conv(2, 6, 2, 2)],
    ),
    "depthwise": ((4, 9, 7), lambda: [conv(2, 4, 8, (3, 2), groups=4, dilation=2, bias=False)]),
    "3d": (
        (2, 2, 3, 4, 3),
        lambda: [conv(3, 2, 4, 2, groups=2, padding=1, padding_mode="circular")],
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_step_is_the_damped_least_squares_solution(name):
    shape, modules = NETWORKS[name]
    model, seen = model_of(*modules())
    x = drawn(*shape)
    changes = stepped(model, lambda: squares(model(x)))
    for module in seen.calls:
        blocks = getattr(module, "groups", 1)
        uses = seen.uses(module, None if module.bias is None else True)
        assert_equal(folded(changes, module.weight, module.bias, blocks), dense_step(uses))
        (layer,) = layers_of(module, "it")
        moment = torch.stack([delta.T @ h / len(h) for h, delta in uses[0]])
        assert_equal(layer.moment(maximize=False), moment)
        assert_equal(layer.moment(maximize=True), -moment)


def test_step_of_an_embedding_is_that_of_one_hot_rows():
    """Rare tokens, and those that were not seen, are damped like all others."""
    model, seen = model_of(nn.Embedding(9, 4, **F64), nn.Tanh(), nn.Linear(4, 3, **F64))
    tokens = torch.tensor([[0, 1, 1, 2, 2], [2, 2, 3, 4, 5], [5, 5, 5, 5, 0]])
    changes = stepped(model, lambda: squares(model(tokens)))
    embedding = model[0]
    (expected,) = dense_step(seen.uses(embedding, None))
    assert_equal(changes[embedding.weight], expected.T)
    assert not changes[embedding.weight][6:].any()
    frequency = torch.bincount(tokens.flatten(), minlength=9).double() / 15
    moment = -embedding.weight.grad
    damped = frequency + LAMBDA_W * frequency.mean()
    assert_equal(changes[embedding.weight], moment / damped[:, None])


def test_token_that_no_gram_has_shown_moves_all_the_same():
    model = nn.Sequential(nn.Embedding(4, 2, **F64))
    settings = {"lambda_w": 1.0, "momentum": 0.0, "gram_every": 9}
    optimizer = BackProjection(model, outer="trust", lr=1e6, **settings)
    for token in (0, 1):
        before = model[0].weight.detach().clone()
        optimizer.zero_grad()
        squares(model(torch.tensor([token]))).backward()
        optimizer.step()
        change = model[0].weight.detach() - before
        expected = -model[0].weight.grad / torch.tensor([[1.25], [0.25], [0.25], [0.25]])
        assert_equal(change, expected)


@pytest.mark.parametrize("second_bias", ["same", "none", "own"])
def test_layers_that_share_a_weight_add_up_their_grams(second_bias):
    """A bias acts where it is added, and nowhere else."""
    first, second = (nn.Linear(4, 4, bias=has, **F64) for has in (True, second_bias != "none"))
    second.weight = first.weight
    if second_bias == "same":
        second.bias = first.bias
    model, seen = model_of(first, nn.Tanh(), second)
    changes = stepped(model, lambda: squares(model(drawn(8, 4))))
    uses = seen.uses(first) + seen.uses(second, second_bias == "same")
    assert_equal(folded(changes, first.weight, first.bias), dense_step(uses))


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_calls_of_one_module_add_up(kind):
    is_linear = kind == "linear"
    module = nn.Linear(4, 4, **F64) if is_linear else nn.Conv2d(4, 4, 3, padding=1, groups=2, **F64)
    seen = Seen(module)
    x = drawn(8, 4) if is_linear else drawn(2, 4, 5, 4)
    changes = stepped(module, lambda: squares(module(module(x).tanh())))
    expected = dense_step(seen.uses(module))
    assert_equal(folded(changes, module.weight, module.bias, len(expected)), expected)


def test_linear_layer_that_shares_its_weight_with_an_embedding_has_the_sum():
    """diag(f) acts from the other side: its mean is one more damping of the weights."""
    embedding, linear = nn.Embedding(6, 4, **F64), nn.Linear(4, 6, **F64)
    embedding.weight = linear.weight
    model, seen = model_of(embedding, nn.Tanh(), linear)
    tokens = torch.tensor([0, 1, 1, 2, 5])
    changes = stepped(model, lambda: squares(model(tokens)))
    ((h, _),) = seen.uses(linear)[0]
    total = h.T @ h / 5 + torch.diag(torch.tensor([1.0, 1, 1, 1, 0], **F64)) / 6
    total += LAMBDA_W * total.trace() / 5 * torch.eye(5, **F64)
    moment = -torch.cat([linear.weight.grad, linear.bias.grad[:, None]], 1)
    assert_equal(folded(changes, linear.weight, linear.bias)[0], moment @ total.inverse())


# Fewer rows than there are.


def sampled_grams(steps, module, x, **settings):
    optimizer = BackProjection(module, lr=0.0, gram_every=1, gram_decay=0.0, **settings)
    found = []
    for _ in range(steps):
        module(x).square().mean().backward()
        optimizer.step()
        found.append(optimizer.state[module.weight]["gram"].clone())
    return torch.stack(found)


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_gram_of_some_rows_is_near_that_of_all_in_the_mean(kind):
    is_linear = kind == "linear"
    module = nn.Linear(3, 2, **F64) if is_linear else nn.Conv1d(4, 2, 2, groups=2, **F64)
    x = drawn(300, 3) if is_linear else drawn(20, 4, 16)
    found, again = (sampled_grams(120, module, x, rows=16) for _ in range(2))
    assert torch.equal(found, again)
    assert len(found.unique(dim=0)) == 120
    (expected,) = sampled_grams(1, module, x, rows=300)
    h = with_ones(unfolded(module, x))
    assert_equal(expected, h.mT @ h / 300)
    assert (found[0] - expected).norm() > 0.2 * expected.norm()
    assert (found.mean(0) - expected).norm() < 0.1 * expected.norm()
