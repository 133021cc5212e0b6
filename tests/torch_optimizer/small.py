"""A small model with a layer of each kind, its batches, and training of it."""

import copy

import torch
from torch import nn
from torch.nn.functional import cross_entropy

TOKENS, CLASSES, WIDTH = 7, 3, 4


class Small(nn.Module):
    """Embedding, attention, norm, convolution and, after dropout, a linear layer."""

    def __init__(self, dropout=0.0, **options):
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, WIDTH, **options)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH)
        self.convolution = nn.Conv1d(WIDTH, 6, 2)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(6, CLASSES)

    def forward(self, tokens):
        h = self.embedding(tokens)
        h = self.norm(h + self.attention(h, h, h)[0])
        return self.linear(self.dropout(self.convolution(h.mT).relu().mean(-1)))


def small(seed=0, **options):
    torch.manual_seed(seed)
    return Small(**options)


def batch(number, rows=8):
    chance = torch.Generator().manual_seed(number)
    tokens = torch.randint(TOKENS, (rows, 5), generator=chance)
    return tokens, torch.randint(CLASSES, (rows,), generator=chance)


def closure_of(model, optimizer, number):
    tokens, labels = batch(number)

    def closure():
        optimizer.zero_grad()
        loss = cross_entropy(model(tokens), labels)
        loss.backward()
        return loss

    return closure


def down(z):
    """A backward pass."""
    z.square().mean().backward()


def train(model, optimizer, steps, judged=False, after_each=None):
    """Make the steps of these numbers."""
    for number in steps:
        closure = closure_of(model, optimizer, number)
        if judged:
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
        if after_each is not None:
            after_each(number)


def copies(model):
    """Return copies of its weights."""
    return [parameter.detach().clone() for parameter in model.parameters()]


def changes_of(model, optimizer, number=0):
    before = copies(model)
    train(model, optimizer, [number])
    return [now - then for now, then in zip(copies(model), before, strict=True)]


def assert_same_weights(model, other, tolerance=0.0):
    ours, theirs = copies(model), copies(other) if isinstance(other, nn.Module) else other
    assert len(ours) == len(theirs)
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance)


def snapshot(optimizer):
    """A copy of its state, to compare with later."""
    return copy.deepcopy(optimizer.state_dict())


def assert_same_state(left, right):
    """Equal to the bit, NaN being equal to NaN."""
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same_state(left[key], right[key])
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right)
        for one, two in zip(left, right, strict=True):
            assert_same_state(one, two)
    elif isinstance(left, torch.Tensor):
        torch.testing.assert_close(left, right, rtol=0, atol=0, equal_nan=True)
    else:
        assert left == right


def gram_of(optimizer, weight):
    return optimizer.state[weight]["gram"]


def second_moment(rows):
    """Of rows with a 1 after them."""
    rows = torch.cat([rows.flatten(0, -2), torch.ones(rows.flatten(0, -2).shape[0], 1)], -1)
    return (rows.mT @ rows / len(rows))[None]


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
