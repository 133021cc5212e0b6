"""Pools against loops over places."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from new_algorithm.gallery.attention.pooling import pool_mask, pooled, spread

LENGTHS, POOLS = st.integers(1, 12), st.integers(1, 7)


def drawn(length):
    return torch.randn(2, length, 3, generator=torch.Generator().manual_seed(length))


@given(LENGTHS, POOLS, st.booleans())
def test_pools_are_means_and_causally_the_full_ones_alone(length, size, causal):
    x = drawn(length)
    groups = [x[:, first : first + size] for first in range(0, length, size)]
    if causal:
        groups = [group for group in groups if group.shape[1] == size]
    found = pooled(x, size, causal)
    assert found.shape == (2, len(groups), 3)
    for j, group in enumerate(groups):
        torch.testing.assert_close(found[:, j], group.mean(1))


@given(LENGTHS, POOLS)
def test_a_pool_is_seen_from_its_last_place_on(length, size):
    mask = pool_mask(length, size)
    assert mask.shape == (length, length // size)
    for place in range(length):
        for pool in range(length // size):
            assert mask[place, pool] == (pool * size + size - 1 <= place)


@given(LENGTHS, POOLS, st.booleans())
def test_every_place_is_given_its_pool_or_causally_the_last_that_has_ended(length, size, causal):
    pools = pooled(drawn(length), size, causal)
    found = spread(pools, length, size, causal)
    for place in range(length):
        pool = (place + 1) // size - 1 if causal else place // size
        expected = pools[:, pool] if pool >= 0 else torch.zeros(2, 3)
        torch.testing.assert_close(found[:, place], expected)
