"""The queue against a slow one, and the encoder that follows against a loop over numbers."""

from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from new_algorithm.gallery.contrastive.momentum_encoder import Queue, follow


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


@given(size=st.integers(1, 12), batches=st.lists(st.integers(1, 30), max_size=8))
def test_queue_holds_the_last_keys_in_order(size, batches):
    queue = Queue(size, 3, drawn())
    slow = deque(queue.keys.tolist(), maxlen=size)  # the oldest first
    for number, count in enumerate(batches):
        keys = torch.randn(count, 3, generator=drawn(number + 1))
        queue.put(keys)
        slow.extend(keys.tolist())
    from_the_oldest = torch.roll(queue.keys, -queue.next, 0)
    assert from_the_oldest.tolist() == list(slow)


def test_queue_begins_with_directions_and_keeps_no_graph():
    queue = Queue(5, 3, drawn())
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(5))
    queue.put(torch.ones(7, 3, requires_grad=True) * 2)
    assert not queue.keys.requires_grad
    assert (queue.keys == 2).all()


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


def test_the_key_follows_number_by_number():
    slow, fast, before = network(0), network(1), network(0)
    for _ in range(3):
        follow(slow, fast, 0.9)
    pairs = zip(before.parameters(), fast.parameters(), slow.parameters(), strict=True)
    for was, other, now in pairs:
        for a, b, c in zip(was.flatten(), other.flatten(), now.flatten(), strict=True):
            expected = a.item()
            for _ in range(3):
                expected = 0.9 * expected + 0.1 * b.item()
            assert c.item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_limits_of_the_momentum_and_averages_of_batch_norm_stay():
    slow, fast = network(0), network(1)
    fast(torch.randn(20, 3, generator=drawn()) + 5)
    averages = slow[1].running_mean.clone()
    unchanged = [p.clone() for p in slow.parameters()]
    follow(slow, fast, 1.0)
    assert all(map(torch.equal, slow.parameters(), unchanged))
    follow(slow, fast, 0.0)
    assert all(map(torch.equal, slow.parameters(), fast.parameters()))
    assert torch.equal(slow[1].running_mean, averages)
    assert not torch.equal(slow[1].running_mean, fast[1].running_mean)
