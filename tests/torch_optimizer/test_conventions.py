"""What users of torch.optim rely on: groups, schedules, closures, the same bits."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR

from new_algorithm.torch_optimizer import BackProjection
from new_algorithm.torch_optimizer.outer_steps import OUTER
from tests.torch_optimizer.small import (
    assert_same_state,
    assert_same_weights,
    batch,
    changes_of,
    closure_of,
    copies,
    small,
    snapshot,
    train,
)


def gradients(model, number=0):
    tokens, labels = batch(number)
    cross_entropy(model(tokens), labels).backward()


@pytest.mark.parametrize("outer", OUTER)
def test_same_seed_gives_the_same_bits_and_loss_falls(outer):
    models = [small(), small()]
    losses = []
    for model in models:
        optimizer = BackProjection(model, outer=outer, rows=16)
        loss = closure_of(model, optimizer, 0)
        first = float(loss().detach())
        train(model, optimizer, [0] * 30)
        losses.append((first, float(loss().detach())))
    assert_same_weights(*models)
    assert losses[0][1] < 0.95 * losses[0][0]


@pytest.mark.parametrize("judged", [False, True], ids=["plain", "judged"])
@pytest.mark.parametrize("outer", OUTER)
def test_rate_0_moves_nothing(outer, judged):
    model = small()
    before = copies(model)
    train(model, BackProjection(model, lr=0.0, outer=outer, weight_decay=0.1), range(4), judged)
    assert_same_weights(model, before)


@pytest.mark.parametrize("outer", OUTER)
def test_weight_decay_shrinks_matrices_by_their_rate_and_nothing_else(outer):
    lr, decay, rest_lr = 0.01, 0.5, 0.2
    models = [small(), small()]
    before = dict(small().named_parameters())
    optimizers = [
        BackProjection(model, outer=outer, lr=lr, rest_lr=rest_lr, weight_decay=one)
        for model, one in zip(models, (0.0, decay), strict=True)
    ]
    for model, optimizer in zip(models, optimizers, strict=True):
        train(model, optimizer, [0])
    for (name, plain), (_, decayed) in zip(*(m.named_parameters() for m in models), strict=True):
        rate = lr if optimizers[0].state[plain].get("gram") is not None else lr * rest_lr
        expected = plain - rate * decay * before[name] * (plain.ndim > 1)
        torch.testing.assert_close(decayed, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("judged", [False, True], ids=["plain", "judged"])
@pytest.mark.parametrize("outer", OUTER)
def test_maximizing_is_minimizing_the_negative(outer, judged):
    models = [small(), small()]
    for model, sign in zip(models, (1, -1), strict=True):
        optimizer = BackProjection(model, outer=outer, maximize=sign > 0, judge_every=2)
        for number in range(5):
            tokens, labels = batch(number)

            def closure(model=model, optimizer=optimizer, sign=sign, tokens=tokens, labels=labels):
                optimizer.zero_grad()
                gain = 5 + -cross_entropy(model(tokens), labels)  # above 0: its negative is not
                (sign * gain).backward()
                return sign * gain

            if judged:
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()
        assert optimizer.judge.rollbacks == 0
    assert_same_weights(*models)


def test_step_returns_what_the_closure_does_and_calls_it_once_unless_judged():
    model = small()
    optimizer = BackProjection(model, judge_every=3)
    calls = []
    for number in range(7):
        calls.append(0)
        inner = closure_of(model, optimizer, number)

        def closure(inner=inner):
            calls[-1] += 1
            return inner()

        loss = optimizer.step(closure)
        assert isinstance(loss, torch.Tensor)
    assert calls == [2, 1, 1, 2, 1, 1, 2]
    optimizer.zero_grad()
    assert optimizer.step() is None
    assert optimizer.step(lambda: None) is None
    assert BackProjection(model).step(lambda: 1.5) == 1.5


def test_closure_that_returns_a_loss_with_a_graph_gives_no_warning():
    model = small()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(model, BackProjection(model), range(2), judged=True)


@pytest.mark.parametrize("outer", ["orthogonal", "adam"])
def test_step_is_proportional_to_the_rate(outer):
    models = [small().double() for _ in range(2)]
    long, short = (
        changes_of(model, BackProjection(model, lr=lr, outer=outer))
        for model, lr in zip(models, (1e-2, 1e-3), strict=True)
    )
    for one, two in zip(long, short, strict=True):
        torch.testing.assert_close(one, 10 * two, rtol=1e-9, atol=1e-12)


SCHEDULES = {
    "lambda": lambda optimizer: LambdaLR(optimizer, lambda step: 1 / (1 + step)),
    "cosine": lambda optimizer: CosineAnnealingLR(optimizer, 10),
    "one cycle": lambda optimizer: OneCycleLR(optimizer, max_lr=0.1, total_steps=20),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_sets_the_rate_of_every_step_and_resumes(name):
    """By hand, with the same rates and betas, the weights are the same to the bit."""
    model, by_hand, third = small(), small(), small()
    optimizer, plain = BackProjection(model), BackProjection(by_hand)
    schedule = SCHEDULES[name](optimizer)
    for number in range(8):
        group = optimizer.param_groups[0]
        plain.param_groups[0].update(lr=group["lr"], betas=group["betas"])
        train(model, optimizer, [number])
        train(by_hand, plain, [number])
        schedule.step()
        if number == 4:
            saved = copy.deepcopy((model.state_dict(), snapshot(optimizer), schedule.state_dict()))
    assert_same_weights(model, by_hand)
    resumed = BackProjection(third)
    again = SCHEDULES[name](resumed)
    for one, state in zip((third, resumed, again), saved, strict=True):
        one.load_state_dict(state)
    for number in range(5, 8):
        train(third, resumed, [number])
        again.step()
    assert_same_weights(third, model)


def test_warnings_name_the_line_that_asks_for_the_step():
    """Through a schedule, which wraps `step`, and where weights are taken back."""
    model = nn.Linear(4, 3)
    optimizer = BackProjection(model, judge_every=1)
    CosineAnnealingLR(optimizer, 10)

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(5, 4)).square().mean()
        loss.backward()
        return loss if next(calls) % 2 == 0 else 1e9 * loss

    calls = iter(range(100))
    with pytest.warns(RuntimeWarning, match="back to the last good weights") as caught:
        optimizer.step(closure)
    model.weight.grad[0, 0] = torch.nan
    with pytest.warns(RuntimeWarning, match="is not finite, and no step") as also:
        optimizer.step()
    assert [one.filename for one in (caught[0], also[0])] == [__file__] * 2


@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad_either_way_gives_the_same_bits(set_to_none):
    model, other = small(), small()
    optimizer = BackProjection(model)
    for number in range(7):
        optimizer.zero_grad(set_to_none=set_to_none)
        gradients(model, number)
        optimizer.step()
    train(other, BackProjection(other), range(7))
    assert_same_weights(model, other)


@pytest.mark.parametrize("outer", OUTER)
def test_no_gradients_are_no_step(outer):
    model = small()
    optimizer = BackProjection(model, outer=outer)
    before = copies(model)
    optimizer.step()
    model(batch(0)[0])
    optimizer.step()
    assert_same_weights(model, before)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("outer", OUTER)
def test_parameters_without_entries_are_left_alone(outer):
    model = nn.Sequential(nn.Linear(4, 0), nn.Linear(0, 3), nn.Linear(3, 2))
    optimizer = BackProjection(model, outer=outer)
    for _ in range(3):
        optimizer.zero_grad()
        (model(torch.ones(5, 4)) - 1).square().mean().backward()
        optimizer.step()
    assert optimizer.solved() == ["2"]
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert_same_state(snapshot(optimizer), optimizer.state_dict())


def test_weights_in_channels_last_are_trained_like_contiguous_ones():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 2)).double()
    other = copy.deepcopy(model).to(memory_format=torch.channels_last)
    assert not other[0].weight.is_contiguous()
    for one in (model, other):
        optimizer = BackProjection(one)
        for number in range(4):
            images = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(number))
            optimizer.zero_grad()
            one(images.double()).square().mean().backward()
            optimizer.step()
    assert other[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert_same_weights(model, other, tolerance=1e-12)
