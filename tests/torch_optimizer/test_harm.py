"""What is not finite, singular or out of all proportion changes nothing, or is taken back."""

import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from new_algorithm.torch_optimizer import BackProjection
from new_algorithm.torch_optimizer.outer_steps import OUTER
from tests.torch_optimizer.small import (
    assert_same_state,
    assert_same_weights,
    batch,
    closure_of,
    copies,
    small,
    snapshot,
    train,
)


def all_finite(model, optimizer):
    tensors = [tensor for stack in optimizer.curvature.stacks for tensor in stack.tensors.values()]
    return all(torch.isfinite(tensor).all() for tensor in [*model.parameters(), *tensors])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("outer", OUTER)
def test_gradient_that_is_not_finite_is_named_and_no_step(outer, bad):
    model, other = small(), small()
    optimizer = BackProjection(model, outer=outer)
    train(model, optimizer, range(6))
    before = copies(model), snapshot(optimizer)
    closure_of(model, optimizer, 50)()
    model.convolution.weight.grad[1, 2, 0] = bad
    with pytest.warns(RuntimeWarning, match=r"step 6: the gradient of convolution\.weight") as seen:
        optimizer.step()
    assert len(seen) == 1
    assert_same_weights(model, before[0])
    assert_same_state(optimizer.state_dict()["state"], before[1]["state"])
    train(model, optimizer, range(6, 12))
    train(other, BackProjection(other, outer=outer), range(12))
    assert_same_weights(model, other)  # as if that batch had never been


def test_input_that_is_not_finite_leaves_the_statistics():
    """Here the row with it has no part in the loss."""
    model = nn.Linear(3, 2)
    optimizer = BackProjection(model, gram_every=1)
    rows = torch.randn(4, 3)

    def step():
        optimizer.zero_grad()
        model(rows)[1:].square().mean().backward()
        model.weight.grad.nan_to_num_()
        optimizer.step()

    step()
    gram = optimizer.state[model.weight]["gram"].clone()
    rows[0] = math.nan
    with pytest.warns(RuntimeWarning, match="Gram matrix of the inputs of Linear"):
        step()
    torch.testing.assert_close(optimizer.state[model.weight]["gram"], gram, rtol=0, atol=0)
    assert all_finite(model, optimizer)


@pytest.mark.parametrize("outer", OUTER)
def test_scaler_skips_steps_that_overflow_and_scales_no_others(outer):
    model, other = small(), small()
    optimizer, plain = BackProjection(model, outer=outer), BackProjection(other, outer=outer)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for number in range(9):
        optimizer.zero_grad()
        tokens, labels = batch(number)
        scaler.scale(cross_entropy(model(tokens), labels)).backward()
        if number in (0, 5):
            model.linear.weight.grad[0, 0] = math.inf
            before = copies(model), snapshot(optimizer)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a scaler that looks for its scale overflows often
            scaler.step(optimizer)
        scaler.update()
        if number in (0, 5):
            assert_same_weights(model, before[0])
            assert_same_state(optimizer.state_dict(), before[1])
            assert not optimizer.curvature.watches.seen
        else:
            train(other, plain, [number])
    assert scaler.get_scale() == 2.0**8
    assert_same_weights(model, other)  # a power of 2 loses no bit


def test_gradients_may_be_unscaled_and_clipped_before_the_step():
    model, other = small(), small()
    optimizer, plain = BackProjection(model), BackProjection(other)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for number in range(5):
        tokens, labels = batch(number)
        scaler.scale(cross_entropy(model(tokens), labels)).backward()
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        closure_of(other, plain, number)()
        assert norm == nn.utils.clip_grad_norm_(other.parameters(), 0.1)
        plain.step()
    assert_same_weights(model, other)


INPUTS = {
    "zero": lambda number: torch.zeros(8, 4),
    "constant": lambda number: torch.full((8, 4), 3.0),
    "one row": lambda number: torch.arange(4.0)[None] + number,
    "first zero": lambda number: torch.full((8, 4), float(number > 0)),
    "huge": lambda number: torch.randn(8, 4) * 1e15,
    "tiny": lambda number: torch.randn(8, 4) * 1e-15,
    "too tiny": lambda number: torch.randn(8, 4) * 1e-30,
    "from tiny to huge": lambda number: torch.randn(8, 4) * 10.0 ** (2 * number - 10),
}


@pytest.mark.parametrize("lambda_w", [1e-30, 1.0])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("outer", OUTER)
def test_singular_or_disproportionate_inputs_never_give_nan(outer, inputs, bias, lambda_w):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5, bias=bias), nn.Tanh(), nn.Linear(5, 3, bias=bias))
    optimizer = BackProjection(model, outer=outer, lambda_w=lambda_w)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(10):
            optimizer.zero_grad()
            rows = INPUTS[inputs](number)
            cross_entropy(model(rows), torch.arange(len(rows)) % 3).backward()
            optimizer.step()
    assert all_finite(model, optimizer)


@pytest.mark.parametrize("outer", ["trust", "adam"])
def test_tokens_that_come_late_make_no_large_steps(outer):
    model = nn.Sequential(nn.Embedding(50, 4), nn.Linear(4, 3))
    optimizer = BackProjection(model, outer=outer)
    for number in range(24):
        before = copies(model)
        optimizer.zero_grad()
        chance = torch.Generator().manual_seed(number)
        tokens = torch.randint(2 * number + 1, (16,), generator=chance)
        cross_entropy(model(tokens), tokens % 3).backward()
        optimizer.step()
        assert (
            max(float((p - q).abs().max()) for p, q in zip(copies(model), before, strict=True)) < 2
        )


def exploding(model, optimizer, number, factor, calls):
    inner = closure_of(model, optimizer, number)

    def closure():
        calls.append(number)
        loss = inner()
        return loss * factor if len(calls) % 2 == 0 else loss

    return closure


@pytest.mark.parametrize("factor", [1e6, math.inf, math.nan])
@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_step_after_which_the_loss_explodes_is_taken_back(outer, factor, first):
    model = small()
    optimizer = BackProjection(model, outer=outer, judge_every=2)
    if not first:
        train(model, optimizer, range(3), judged=True)
    good = copies(model)
    if not first:
        train(model, optimizer, [3], judged=True)
    bound = optimizer.judge.control.bound
    with pytest.warns(RuntimeWarning, match=f"step {optimizer.iteration}: the loss went from"):
        optimizer.step(exploding(model, optimizer, 9, factor, []))
    assert_same_weights(model, good)
    assert optimizer.judge.rollbacks == 1
    assert optimizer.judge.control.bound == bound / 4
    for stack in optimizer.curvature.stacks:
        for name in optimizer.curvature.remembered:
            assert not stack.tensors[name].any()
    for name in ("step", "exp_avg", "exp_avg_sq"):
        assert not optimizer.state[model.norm.weight][name].any()
    train(model, optimizer, range(4, 9), judged=True)
    assert optimizer.judge.rollbacks == 1
    assert all_finite(model, optimizer)


@pytest.mark.filterwarnings("ignore:.*the gradient of embedding:RuntimeWarning")
def test_weights_that_give_no_finite_gradient_are_taken_back():
    model = small()
    optimizer = BackProjection(model)
    train(model, optimizer, range(1), judged=True)
    good = copies(model)
    train(model, optimizer, range(1, 4), judged=True)
    with torch.no_grad():
        model.linear.weight.fill_(math.inf)
    with pytest.warns(RuntimeWarning, match="is not finite, and no step is made") as caught:
        train(model, optimizer, range(2), judged=True)
    assert caught[0].filename.endswith("small.py")  # the line that asked for the step
    assert not torch.isfinite(model.linear.weight).any()
    with pytest.warns(RuntimeWarning, match="step 4: no step could be made 3 times: back to"):
        train(model, optimizer, range(2, 3), judged=True)
    assert_same_weights(model, good)
    train(model, optimizer, range(3), judged=True)


def test_judgement_sees_the_same_dropout_and_leaves_no_trace_in_random_numbers():
    model = small(dropout=0.5)
    masks = []
    model.dropout.register_forward_hook(lambda module, args, out: masks.append(out == 0))
    optimizer = BackProjection(model, lr=1e-6, judge_every=1)
    train(model, optimizer, range(1), judged=True)
    after = torch.get_rng_state()
    assert len(masks) == 2
    assert torch.equal(*masks)
    torch.manual_seed(0)
    again = small(dropout=0.5)
    train(again, BackProjection(again, lr=1e-6), range(1))
    assert torch.equal(after, torch.get_rng_state())


def test_steps_that_are_judged_and_taken_back_leave_buffers_alone():
    """BatchNorm's averages see each batch once, and return with the weights."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = BackProjection(model, judge_every=1)
    x = torch.randn(16, 3)

    def closure():
        optimizer.zero_grad()
        loss = (model(x) - 1).square().mean()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    assert model[1].num_batches_tracked == 3
    good = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer.param_groups[0]["lr"] = 1e12
    with pytest.warns(RuntimeWarning, match="back to the last good weights"):
        optimizer.step(closure)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, good[name], rtol=0, atol=0)


def test_factor_that_fails_names_its_layer_and_keeps_the_last_one():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    optimizer = BackProjection(model, gram_every=1, factor_every=1)

    def step():
        optimizer.zero_grad()
        model(torch.randn(8, 3)).square().mean().backward()
        optimizer.step()

    step()
    state = optimizer.state[model[1].weight]
    inverse = state["inverse"].clone()
    state["gram"].fill_(math.nan)
    with pytest.warns(RuntimeWarning, match="the Gram matrix of 1 cannot be factored"):
        step()
    torch.testing.assert_close(state["inverse"], inverse, rtol=0, atol=0)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_no_nan_where_adamw_trains(dtype):
    """Here float16 has no number for eps, and gradients whose squares are 0."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)).to(dtype)
    optimizer = BackProjection(model)
    before = model[1].weight.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        (model(torch.randn(8, 4, dtype=dtype)).square().mean() * 1e-4).backward()
        optimizer.step()
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert not torch.equal(model[1].weight, before)
    assert optimizer.state[model[1].weight]["exp_avg"].dtype == torch.float32
