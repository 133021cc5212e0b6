"""The router learns, and a hierarchy is what its levels are."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from new_algorithm.gallery.attention import hierarchy
from new_algorithm.gallery.attention.hierarchy import Hierarchy, Router, straight_through
from new_algorithm.gallery.attention.pooling import pooled

F64 = {"dtype": torch.float64}
WIDTH, SCALES = 4, (1, 2, 6)


class Change(nn.Module):
    """x + a fixed function of each place and what is before it."""

    def __init__(self, seed):
        super().__init__()
        chance = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(WIDTH, WIDTH, generator=chance, **F64))

    def forward(self, x):
        return x + torch.tanh(x.cumsum(1) @ self.weight)


def made(routing, scales=SCALES, causal=True):
    torch.manual_seed(0)
    blocks = [Change(seed) for seed in range(len(scales))]
    return Hierarchy(blocks, WIDTH, scales, routing, causal).double()


def drawn(length):
    return torch.randn(2, length, WIDTH, generator=torch.Generator().manual_seed(length), **F64)


def router_gradient(layer, x):
    """Of ‖output‖² with respect to the router's weight; None where no path leads to it."""
    layer(x).square().sum().backward()
    return layer.router.logits.weight.grad


@pytest.mark.parametrize("routing", ["soft", "straight-through", "gumbel"])
def test_router_has_a_gradient(routing):
    gradient = router_gradient(made(routing), drawn(12))
    assert gradient.abs().max() > 1e-3


def test_router_by_sampled_indices_alone_has_none(monkeypatch):
    def sampled(logits):
        index = torch.distributions.Categorical(logits=logits).sample()
        return F.one_hot(index, logits.shape[-1]).to(logits.dtype)

    layer = made("soft")
    monkeypatch.setitem(hierarchy.ROUTES, "soft", sampled)
    assert router_gradient(layer, drawn(12)) is None
    assert all(block.weight.grad is not None for block in layer.levels)


def test_fixed_router_shares_equally_and_is_not_trained():
    layer = made("fixed")
    assert router_gradient(layer, drawn(12)) is None
    assert not any(parameter.requires_grad for parameter in layer.router.parameters())
    torch.testing.assert_close(layer.shares(drawn(5)), torch.full((2, 5, 3), 1 / 3, **F64))


def test_straight_through_is_the_hard_choice_with_the_gradient_of_the_softmax():
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    towards = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    found = straight_through(logits)
    assert torch.equal(found, F.one_hot(logits.argmax(1), 3).float())
    ours = torch.autograd.grad((found * towards).sum(), logits)[0]
    soft = torch.autograd.grad((logits.softmax(-1) * towards).sum(), logits)[0]
    torch.testing.assert_close(ours, soft)


def test_gumbel_samples_the_softmax_and_without_training_takes_the_largest():
    router = Router(WIDTH, 3, "gumbel")
    x = torch.randn(1, WIDTH).expand(20_000, WIDTH)
    torch.manual_seed(3)
    samples = router(x).detach()
    torch.testing.assert_close(samples.sum(1), torch.ones(20_000))
    assert set(samples.round(decimals=5).unique().tolist()) == {0.0, 1.0}
    chances = router.logits(router.norm(x[:1])).softmax(-1)[0]
    torch.testing.assert_close(samples.mean(0), chances, rtol=0, atol=0.015)
    torch.manual_seed(3)
    assert torch.equal(router(x), samples)
    router.eval()
    assert torch.equal(router(x[:2]), F.one_hot(chances.argmax(), 3).float().expand(2, 3))


@pytest.mark.parametrize("routing", ["soft", "straight-through", "gumbel"])
def test_router_learns_which_level_serves(routing):
    """Level 0 does where the first number is above the mean, level 1 elsewhere."""
    torch.manual_seed(0)

    def rows(n):
        x = torch.randn(n, WIDTH)
        return x, (x[:, 0] <= x.mean(1)).long()

    router = Router(WIDTH, 2, routing)
    optimizer = torch.optim.Adam(router.parameters(), 0.05)
    for _ in range(150):
        x, wanted = rows(64)
        optimizer.zero_grad()
        (router(x) - F.one_hot(wanted, 2)).square().mean().backward()
        optimizer.step()
    x, wanted = rows(500)
    assert (router.eval()(x).argmax(1) == wanted).double().mean() > 0.93


def test_all_tokens_on_level_0_are_one_block():
    layer = made("straight-through")
    with torch.no_grad():
        layer.router.logits.weight.zero_()
        layer.router.logits.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(layer(drawn(8)), layer.levels[0](drawn(8)))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1, 5, 12, 13])
def test_hierarchy_is_the_change_of_each_level_at_its_last_seen_place(causal, length):
    layer, x = made("soft", causal=causal), drawn(length)
    level, before, expected, shares = x, 1, x.clone(), layer.shares(x)
    for index, scale in enumerate(SCALES):
        level = pooled(level, scale // before, causal)
        after = layer.levels[index](level)
        for t in range(length):
            place = (t + 1) // scale - 1 if causal else t // scale
            if place >= 0:
                change = (after - level)[:, place]
                expected[:, t] += shares[:, t, index, None] * change
        level, before = after, scale
    torch.testing.assert_close(layer(x), expected)
