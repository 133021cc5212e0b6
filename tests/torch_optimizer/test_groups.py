"""Param groups: settings of their own, biases apart from their weights, and groups added later."""

import pytest
import torch
from torch import nn

from new_algorithm.torch_optimizer import BackProjection
from tests.torch_optimizer.small import (
    assert_same_weights,
    changes_of,
    copies,
    gram_of,
    small,
    train,
)


def test_groups_have_settings_of_their_own():
    model, alone = small().double(), small().double()
    linear = list(model.linear.parameters())
    others = [p for p in model.parameters() if all(p is not one for one in linear)]
    groups = [{"params": others, "lr": 0.0}, {"params": linear, "lr": 0.05, "lambda_w": 0.1}]
    change = changes_of(model, BackProjection(model, groups))
    expected = changes_of(alone, BackProjection(alone, lr=0.05, lambda_w=0.1))
    for name, ours, theirs in zip(dict(model.named_parameters()), change, expected, strict=True):
        if name.startswith("linear"):
            torch.testing.assert_close(ours, theirs)
            assert ours.norm() > 0
        else:
            assert ours.norm() == 0


def test_biases_may_be_in_a_group_of_their_own():
    model, alone = small(), small()
    weights = [p for name, p in model.named_parameters() if not name.endswith("bias")]
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    train(model, BackProjection(model, [{"params": weights}, {"params": biases}]), range(4))
    train(alone, BackProjection(alone), range(4))
    assert_same_weights(model, alone)


def test_bias_whose_group_has_another_rate_moves_at_that_rate():
    model = nn.Linear(4, 3)
    groups = [{"params": [model.weight]}, {"params": [model.bias], "lr": 0.0}]
    optimizer = BackProjection(model, groups)
    before = copies(model)
    for _ in range(3):
        optimizer.zero_grad()
        (model(torch.ones(5, 4)) - 1).square().mean().backward()
        optimizer.step()
    assert torch.equal(model.bias, before[1])
    assert not torch.equal(model.weight, before[0])
    assert gram_of(optimizer, model.weight).shape == (1, 4, 4)


def test_parameters_that_are_not_given_stay():
    model = small()
    optimizer = BackProjection(model, [model.linear.weight, model.embedding.weight])
    moved = [float(change.norm()) > 0 for change in changes_of(model, optimizer)]
    names = [name for name, _ in model.named_parameters()]
    assert [name for name, moves in zip(names, moved, strict=True) if moves] == [
        "embedding.weight",
        "linear.weight",
    ]
    assert optimizer.solved() == ["linear"]


def test_module_added_later_is_solved_and_goes_back_with_the_rest():
    model = nn.Sequential(nn.Linear(4, 3))
    optimizer = BackProjection(model, judge_every=1)
    harm = 1.0

    def closure():
        optimizer.zero_grad()
        loss = (model(torch.ones(3, 4)) - 1).square().mean()
        loss.backward()
        return loss if next(calls) % 2 == 0 else harm * loss

    calls = iter(range(100))
    optimizer.step(closure)
    model.append(nn.Linear(3, 2))
    optimizer.add_param_group({"params": model[1].parameters(), "lr": 0.01})
    assert optimizer.solved() == ["0", "1"]
    before, harm = copies(model), 1e9
    with pytest.warns(RuntimeWarning, match="back to the last good weights"):
        optimizer.step(closure)
    assert_same_weights(model, before)
    harm = 1.0
    optimizer.step(closure)
    assert all(not torch.equal(p, q) for p, q in zip(copies(model), before, strict=True))
