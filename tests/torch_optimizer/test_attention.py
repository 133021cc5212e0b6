"""The projections of nn.MultiheadAttention, against dense least squares."""

import math

import pytest
import torch
from torch import nn

from tests.torch_optimizer.dense import (
    F64,
    assert_equal,
    dense_step,
    drawn,
    folded,
    squares,
    stepped,
    with_ones,
)


@pytest.fixture(autouse=True)
def _same_weights():
    torch.manual_seed(0)


def attention(module, *inputs):
    """The output of nn.MultiheadAttention for inputs (images, rows, width), and the uses of query,
    key, value and the last projection by a loss of it."""
    if module.in_proj_weight is None:
        weights = [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight]
    else:
        weights = module.in_proj_weight.chunk(3)
    biases = [0, 0, 0] if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    z = [x @ w.T + b for x, w, b in zip(inputs, weights, biases, strict=True)]
    q, k, v = (one.unflatten(-1, (module.num_heads, -1)).transpose(1, 2) for one in z)
    chances = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
    mixed = (chances @ v).transpose(1, 2).flatten(-2)
    z.append(module.out_proj(mixed))
    rows = [one.detach().flatten(0, 1) for one in (*inputs, mixed)]
    deltas = [
        -one.flatten(0, 1) * len(h)
        for one, h in zip(torch.autograd.grad(squares(z[-1]), z), rows, strict=True)
    ]
    return z[-1].detach(), list(zip(rows, deltas, strict=True))


def attends(kind, bias, **options):
    """An attention, and queries, keys and values."""
    widths = {"kdim": 5, "vdim": 3} if kind == "widths" else {}
    module = nn.MultiheadAttention(6, 2, bias=bias, **widths, **options, **F64)
    if bias:
        nn.init.normal_(module.in_proj_bias)
    x, memory = drawn(2, 7, 6), drawn(2, 4, 6, seed=1)
    other = drawn(2, 4, 5, seed=2), drawn(2, 4, 3, seed=3)
    return module, {"self": (x, x, x), "cross": (x, memory, memory), "widths": (x, *other)}[kind]


@pytest.mark.parametrize("kind", ["self", "cross", "widths"])
@pytest.mark.parametrize(
    ("batch_first", "weights", "bias"),
    [(True, False, True), (False, True, True), (True, False, False)],
)
def test_step_of_attention_is_that_of_its_projections(kind, batch_first, weights, bias):
    module, inputs = attends(kind, bias, batch_first=batch_first)
    expected, uses = attention(module, *inputs)

    def loss():
        given = {id(x): x if batch_first else x.transpose(0, 1) for x in inputs}
        z, _ = module(*(given[id(x)] for x in inputs), need_weights=weights)
        z = z if batch_first else z.transpose(0, 1)
        assert_equal(z.detach(), expected)
        return squares(z)

    changes = stepped(module, loss)
    ones = True if bias else None
    uses = [
        (with_ones(h, ones if kind != "widths" or place == 3 else None), delta)
        for place, (h, delta) in enumerate(uses)
    ]
    last = module.out_proj
    assert_equal(folded(changes, last.weight, last.bias), dense_step([uses[3:]]))
    if kind == "widths":
        own = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        for weight, one in zip(own, uses, strict=False):
            assert_equal(changes[weight][None], dense_step([[one]]))
    else:
        found = folded(changes, module.in_proj_weight, module.in_proj_bias, 3)
        assert_equal(found, dense_step([uses[:3]]))


def test_attention_to_two_memories_in_turn_sees_both():
    """With nothing between the calls that is seen: the same queries are not the same inputs."""
    modules = [attends("cross", True, batch_first=True)[0].requires_grad_(False) for _ in range(2)]
    x, pairs = drawn(2, 7, 6), [(drawn(2, 4, 6, seed=1),) * 2, (drawn(2, 5, 6, seed=2),) * 2]
    for module in modules:
        module.in_proj_weight.requires_grad_()
    changes = stepped(
        nn.ModuleList(modules),
        lambda: sum(squares(m(x, *pair)[0]) for m, pair in zip(modules, pairs, strict=True)),
    )
    for module, pair in zip(modules, pairs, strict=True):
        module.in_proj_weight.data -= changes[module.in_proj_weight]
        uses = attention(module, x, *pair)[1]
        assert_equal(folded(changes, module.in_proj_weight, None, 3), dense_step([uses[:3]]))
