"""Attention at several scales, against loops over places and its limits."""

import math
from itertools import chain

import pytest
import torch

from new_algorithm.gallery.attention.multi_scale import (
    ConvolvedScales,
    JointScales,
    Mixture,
    PooledScales,
)
from new_algorithm.models.transformer_block import MultiHeadAttention

KINDS = [ConvolvedScales, PooledScales, JointScales]
WIDTH, HEADS, SCALES = 6, 2, (1, 3, 4)
SIDE = WIDTH // HEADS
F64 = {"dtype": torch.float64}


def made(kind, scales=SCALES, causal=True):
    """A layer all of whose parameters are drawn."""
    torch.manual_seed(0)
    layer = kind(WIDTH, HEADS, scales, causal).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter) / 2)
    return layer


def drawn(length):
    return torch.randn(2, length, WIDTH, generator=torch.Generator().manual_seed(length), **F64)


def heads_of(linear, x):
    return linear(x).reshape(*x.shape[:-1], HEADS, SIDE)


def looked_up(query, pairs):
    """One query (side,) at (key, value, log weight) each: the softmax written out."""
    if not pairs:
        return torch.zeros(SIDE, **F64)
    scores = [math.exp(float(query @ k) / math.sqrt(SIDE) + bias) for k, _, bias in pairs]
    return sum(s * v for s, (_, v, _) in zip(scores, pairs, strict=True)) / sum(scores)


def pools_seen(keys, values, scale, place, causal):
    """(key, value, log size) of the pools that a place sees, one head of one sequence."""
    length = len(keys)
    for first in range(0, length, scale):
        end = min(first + scale, length)
        if not causal or (first + scale <= length and first + scale - 1 <= place):
            yield keys[first:end].mean(0), values[first:end].mean(0), math.log(end - first)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", [PooledScales, JointScales])
@pytest.mark.parametrize("length", [2, 8, 11])
def test_pooled_scales_are_those_of_a_slow_loop(kind, causal, length):
    layer, x = made(kind, causal=causal).requires_grad_(False), drawn(length)
    project = layer.projections
    q, k, v = (heads_of(part, x) for part in (project.query, project.key, project.value))
    expected = torch.zeros(2, length, HEADS, SIDE, **F64)
    for n in range(2):
        for place in range(length):
            for h in range(HEADS):
                at = [
                    list(pools_seen(k[n, :, h], v[n, :, h], scale, place, causal))
                    for scale in SCALES
                ]
                query = q[n, place, h]
                if kind is JointScales:
                    expected[n, place, h] = looked_up(query, list(chain(*at)))
                    continue
                weights = layer.mixture.weights()[h]
                for weight, pairs in zip(weights, at, strict=True):
                    alone = [(key, value, 0.0) for key, value, _ in pairs]
                    expected[n, place, h] += weight * looked_up(query, alone)
    torch.testing.assert_close(layer(x), layer.join(expected.flatten(2)))


@pytest.mark.parametrize("causal", [False, True])
def test_convolved_scales_are_those_of_a_slow_loop(causal):
    layer, x, length = made(ConvolvedScales, causal=causal).requires_grad_(False), drawn(7), 7
    expected = torch.zeros(2, length, HEADS, SIDE, **F64)
    parts = zip(SCALES, layer.convolutions, layer.projections, strict=True)
    for index, (scale, convolution, project) in enumerate(parts):
        before = scale - 1 if causal else (scale - 1) // 2
        seen = torch.zeros_like(x)
        for place in range(length):
            for tap in range(scale):
                if 0 <= (source := place - before + tap) < length:
                    seen[:, place] += convolution.weight[:, 0, tap] * x[:, source]
        seen = seen + convolution.bias
        q, k, v = (heads_of(part, seen) for part in (project.query, project.key, project.value))
        for n in range(2):
            for place in range(length):
                for h in range(HEADS):
                    last = place + 1 if causal else length
                    pairs = [(k[n, j, h], v[n, j, h], 0.0) for j in range(last)]
                    weight = layer.mixture.weights()[h, index]
                    expected[n, place, h] += weight * looked_up(q[n, place, h], pairs)
    torch.testing.assert_close(layer(x), layer.join(expected.flatten(2)))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_scale_1_alone_is_plain_attention(kind, causal):
    torch.manual_seed(0)
    layer = kind(WIDTH, HEADS, (1,), causal).double()
    plain = MultiHeadAttention(WIDTH, HEADS, causal).double()
    project = layer.projections[0] if kind is ConvolvedScales else layer.projections
    plain.projections.load_state_dict(project.state_dict())
    plain.join.load_state_dict(layer.join.state_dict())
    torch.testing.assert_close(layer(drawn(9)), plain(drawn(9)))


def test_a_pool_of_equal_keys_and_values_weighs_as_much_as_its_places():
    layer, alone = made(JointScales, (4,), causal=False), made(JointScales, (1,), causal=False)
    x = drawn(3).repeat_interleave(4, 1)
    for length in (9, 10, 12):  # the last pool is not always full
        torch.testing.assert_close(layer(x[:, :length]), alone(x[:, :length]))


@pytest.mark.parametrize("kind", KINDS)
def test_shares_of_scales_are_a_mixture(kind):
    shares = made(kind).shares(drawn(9))
    assert shares.shape[-1] == len(SCALES)
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(-1), torch.ones(shares.shape[:-1], **F64))


@pytest.mark.parametrize("causal", [False, True])
def test_joint_shares_are_those_of_the_places_seen_where_all_keys_are_alike(causal):
    layer, length = made(JointScales, causal=causal), 11
    with torch.no_grad():
        layer.projections.key.weight.zero_()
    shares = layer.shares(drawn(length))
    for place in range(length):
        seen = [(place + 1) // scale * scale if causal else length for scale in SCALES]
        expected = torch.tensor(seen, **F64) / sum(seen)
        torch.testing.assert_close(shares[:, :, place], expected.expand(2, HEADS, 3))


def test_mixture_begins_equal_and_learns_the_scale_that_serves():
    mixture = Mixture(3, HEADS)
    torch.testing.assert_close(mixture.weights(), torch.full((HEADS, 3), 1 / 3))
    found = [torch.randn(4, HEADS, 5, 2) for _ in range(3)]
    optimizer = torch.optim.Adam(mixture.parameters(), 0.3)
    for _ in range(50):
        optimizer.zero_grad()
        (mixture(found) - found[1]).square().mean().backward()
        optimizer.step()
    assert (mixture.weights()[:, 1] > 0.95).all()
    torch.testing.assert_close(mixture.weights().sum(1), torch.ones(HEADS))


def test_convolutions_begin_as_means():
    torch.manual_seed(0)
    layer = ConvolvedScales(WIDTH, HEADS, (4,), causal=True).double()
    x = drawn(4)
    torch.testing.assert_close(layer.convolutions[0](x.mT).mT[:, 0], x.mean(1))
