"""Attention against torch's, and the encoding of places against its closed form."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from new_algorithm.gallery.attention.dot_product import (
    attend,
    attention_weights,
    sinusoidal_encoding,
)

SIZES = st.integers(1, 6)


def drawn(*shape, seed=0):
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=chance, dtype=torch.float64)


@given(SIZES, SIZES, SIZES, SIZES, st.integers(0, 99), st.sampled_from(["none", "bool", "numbers"]))
def test_attention_is_torchs_with_every_mask(n, m, d, e, seed, kind):
    q, k, v = drawn(2, 3, n, d, seed=seed), drawn(2, 3, m, d), drawn(2, 3, m, e, seed=1)
    mask = None if kind == "none" else drawn(3, n, m, seed=seed)
    if kind == "bool":  # some queries may look nowhere
        mask = mask > 0
    found = attend(q, k, v, mask)
    torch.testing.assert_close(found, F.scaled_dot_product_attention(q, k, v, mask))


def test_attention_has_torchs_gradients_under_a_causal_mask():
    q, k, v, seen = (drawn(2, 5, 4, seed=seed).requires_grad_() for seed in range(4))
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    ours = torch.autograd.grad((attend(q, k, v, mask) * seen).sum(), (q, k, v))
    found = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    for a, b in zip(ours, torch.autograd.grad((found * seen).sum(), (q, k, v)), strict=True):
        torch.testing.assert_close(a, b)


def test_attention_is_the_sum_that_it_is_defined_by():
    q, k, v = drawn(3, 2), drawn(4, 2, seed=1), drawn(4, 5, seed=2)
    for i in range(3):
        scores = [math.exp(float(q[i] @ k[j]) / math.sqrt(2)) for j in range(4)]
        expected = sum(s * v[j] for j, s in enumerate(scores)) / sum(scores)
        torch.testing.assert_close(attend(q, k, v)[i], expected)


def test_a_query_that_may_look_nowhere_gets_nothing_and_sends_back_no_gradient():
    q = drawn(2, 3).requires_grad_()
    mask = torch.tensor([[False, False], [True, False]])
    weights = attention_weights(q, drawn(2, 3, seed=1), mask)
    torch.testing.assert_close(weights.detach(), mask.double())
    weights.square().sum().backward()
    assert torch.equal(q.grad, torch.zeros_like(q))


def test_encoding_is_the_papers_formula():
    found = sinusoidal_encoding(9, 6)
    for place in range(9):
        for i in range(3):
            angle = place / 10000 ** (2 * i / 6)
            assert found[place, 2 * i] == pytest.approx(math.sin(angle), abs=1e-6)
            assert found[place, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-6)
    assert sinusoidal_encoding(3, 5).shape == (3, 5)


def test_a_shift_of_places_is_a_rotation_that_is_the_same_everywhere():
    width, shift = 8, 3
    code = sinusoidal_encoding(20, width).double()
    rotation = torch.zeros(width, width, dtype=torch.float64)
    for i in range(width // 2):
        angle = shift * 10000 ** (-2 * i / width)
        turn = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
        rotation[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = torch.tensor(turn)
    torch.testing.assert_close(code[:-shift] @ rotation.mT, code[shift:], rtol=0, atol=1e-5)
    near = code @ code.mT  # depends on the distance alone, and is largest at 0
    torch.testing.assert_close(near[:-1, :-1], near[1:, 1:], rtol=0, atol=1e-5)
    assert (near.argmax(1) == torch.arange(20)).all()
