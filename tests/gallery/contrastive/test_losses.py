"""Contrastive losses against slow ones, row by row as published, their limits and gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from new_algorithm.gallery.contrastive.losses import (
    alignment,
    hard_negative_loss,
    info_nce,
    uniformity,
)


def embeddings(seed=0, n=6, m=9, d=4):
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.randn(count, d, generator=generator, dtype=torch.float64) for count in (n, n, m))
    return [F.normalize(one, dim=1) for one in drawn]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def slow_info_nce(query, key, negatives, temperature):
    total = 0.0
    for q, k in zip(query.tolist(), key.tolist(), strict=True):
        positive = math.exp(dot(q, k) / temperature)
        others = [math.exp(dot(q, n) / temperature) for n in negatives.tolist()]
        total -= math.log(positive / (positive + sum(others)))
    return total / len(query)


@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
def test_info_nce_is_that_of_every_row_and_cross_entropy(temperature):
    query, key, negatives = embeddings()
    found = info_nce(query, key, negatives, temperature)
    assert float(found) == pytest.approx(slow_info_nce(query, key, negatives, temperature))
    logits = torch.cat([(query * key).sum(1, keepdim=True), query @ negatives.T], 1) / temperature
    first = torch.zeros(len(query), dtype=torch.long)
    torch.testing.assert_close(found, F.cross_entropy(logits, first))


def slow_hard(query, key, negatives, temperature, beta, tau_plus):
    """Robinson et al. 2021, with the importance weights written out."""
    total, bounded = 0.0, 0
    for q, k in zip(query.tolist(), key.tolist(), strict=True):
        positive = math.exp(dot(q, k) / temperature)
        others = [math.exp(dot(q, n) / temperature) for n in negatives.tolist()]
        weights = [one**beta for one in others]
        mean_weight = sum(weights) / len(others)
        from_q = sum(w / mean_weight * one for w, one in zip(weights, others, strict=True))
        g = (from_q / len(others) - tau_plus * positive) / (1 - tau_plus)
        bounded += g < math.exp(-1 / temperature)
        g = max(g, math.exp(-1 / temperature))
        total -= math.log(positive / (positive + len(others) * g))
    return total / len(query), bounded


@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("tau_plus", [0.0, 0.1, 0.6])
def test_hard_negatives_are_weighted_as_published(beta, tau_plus):
    query, key, negatives = embeddings()
    options = {"concentration": beta, "class_prior": tau_plus}
    found = hard_negative_loss(query, key, negatives, 0.3, **options)
    assert float(found) == pytest.approx(slow_hard(query, key, negatives, 0.3, beta, tau_plus)[0])


@pytest.mark.parametrize("temperature", [0.3, 0.02])
def test_the_estimate_keeps_above_its_bound(temperature):
    query, key, negatives = embeddings()
    key = query  # a positive that takes off more than there is
    slow, bounded = slow_hard(query, key, negatives, temperature, 0.0, 0.9)
    assert bounded > 0
    options = {"concentration": 0.0, "class_prior": 0.9}
    found = hard_negative_loss(query, key, negatives, temperature, **options)
    assert float(found) == pytest.approx(slow, rel=1e-9, abs=0)


@given(st.integers(0, 1000), st.sampled_from([0.02, 0.1, 1.0]))
def test_no_concentration_and_no_prior_are_the_plain_loss(seed, temperature):
    rows = embeddings(seed)
    found = hard_negative_loss(*rows, temperature, concentration=0.0, class_prior=0.0)
    torch.testing.assert_close(found, info_nce(*rows, temperature))


def test_with_much_concentration_all_negatives_are_the_hardest():
    query, key, negatives = embeddings()
    found = hard_negative_loss(query, key, negatives, 0.5, concentration=1e4, class_prior=0.0)
    positive = (query * key).sum(1) / 0.5
    hardest = (query @ negatives.T).amax(1) / 0.5 + math.log(len(negatives))
    expected = (torch.logaddexp(positive, hardest) - positive).mean()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("tau_plus", [0.0, 0.3, 0.9])
def test_gradients_go_through_positives_and_negatives(tau_plus):
    rows = [one.requires_grad_() for one in embeddings(2, 3, 4)]

    def loss(*rows):
        return hard_negative_loss(*rows, 0.4, concentration=0.7, class_prior=tau_plus)

    assert torch.autograd.gradcheck(loss, rows)
    assert torch.autograd.gradcheck(lambda *rows: info_nce(*rows, 0.4), rows)
    gradients = torch.autograd.grad(loss(*rows), rows)
    assert all(gradient.isfinite().all() and gradient.abs().max() > 0 for gradient in gradients)


def test_harder_negatives_push_more():
    query, key, negatives = embeddings()

    def pushes(beta):
        moved = negatives.clone().requires_grad_()
        options = {"concentration": beta, "class_prior": 0.0}
        hard_negative_loss(query[:1], key[:1], moved, 0.5, **options).backward()
        sizes = moved.grad.norm(dim=1)
        return sizes[(query[0] @ negatives.T).argmax()] / sizes.sum()

    assert pushes(0.0) < pushes(1.0) < pushes(4.0)


def test_small_temperatures_do_not_overflow_in_single_precision():
    query, key, negatives = (one.float().requires_grad_() for one in embeddings())
    for key_there in (key, query.detach()):
        loss = hard_negative_loss(
            query, key_there, negatives, 0.01, concentration=3.0, class_prior=0.1
        )
        assert loss.isfinite()
        assert torch.autograd.grad(loss, query)[0].isfinite().all()


SQUARE = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]], dtype=torch.float64)


def test_alignment_and_uniformity_of_a_square():
    assert alignment(SQUARE, SQUARE) == 0
    assert alignment(SQUARE, SQUARE.roll(1, 0)) == pytest.approx(2)
    assert alignment(SQUARE, -SQUARE) == pytest.approx(4)
    # of six pairs four are at a squared distance of 2, two at 4
    expected = math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6)
    assert float(uniformity(SQUARE)) == pytest.approx(expected)
    assert float(uniformity(SQUARE[:1].expand(5, 2))) == pytest.approx(0, abs=1e-12)


def test_uniformity_of_an_even_sphere():
    # on the sphere in three dimensions <x, y> is even on [−1, 1]: e^{−4} sinh(4)/4
    generator = torch.Generator().manual_seed(0)
    points = F.normalize(torch.randn(1500, 3, generator=generator, dtype=torch.float64), dim=1)
    expected = math.log(math.exp(-4) * math.sinh(4) / 4)
    assert float(uniformity(points)) == pytest.approx(expected, abs=0.01)
