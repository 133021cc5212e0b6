"""How far the layers go: lengths in closed form, and each outer step against a plain loop."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from new_algorithm.torch_optimizer import BackProjection, outer_steps
from new_algorithm.torch_optimizer.directions import orthogonal
from new_algorithm.torch_optimizer.outer_steps import OUTER
from tests.torch_optimizer.dense import (
    F64,
    LAMBDA_W,
    Seen,
    assert_equal,
    drawn,
    folded,
    squares,
    stepped,
    with_ones,
)

EVERY_STEP = {"gram_every": 1, "factor_every": 1}


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 6, **F64), nn.Tanh(), nn.Linear(6, 3, **F64))


def linear_layers(model):
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


def moment_of(layer):
    return -torch.cat([layer.weight.grad, layer.bias.grad[:, None]], 1)


def gram_of(x):
    h = with_ones(x.detach())
    return h.T @ h / len(h)


def damped(gram, lambda_w=LAMBDA_W):
    return gram + lambda_w * gram.trace() / len(gram) * torch.eye(len(gram), **F64)


def inner(left, right):
    return sum(float((a * b).sum()) for a, b in zip(left, right, strict=True))


def one_step(factor=1.0, **options):
    """M, A and δW̃ of each layer, after a step along the gradient of a multiple of the loss."""
    model = network()
    seen = Seen(model)
    changes = stepped(model, lambda: factor * squares(model(drawn(40, 5))), **options)
    layers = linear_layers(model)
    moments = [moment_of(layer) for layer in layers]
    metrics = [damped(gram_of(seen.calls[layer][0][0])) for layer in layers]
    return moments, metrics, [folded(changes, layer.weight, layer.bias)[0] for layer in layers]


# The trust region.


@given(st.floats(-3, 3))
@settings(max_examples=30)
def test_step_has_the_length_lr_or_is_the_least_squares_solution(exponent):
    lr = 10**exponent
    moments, metrics, changes = one_step(lr=lr)
    solutions = [m @ a.inverse() for m, a in zip(moments, metrics, strict=True)]
    slope = inner(solutions, moments)
    squared = inner([c @ a for c, a in zip(changes, metrics, strict=True)], changes)
    assert squared == pytest.approx(min(lr**2, slope), rel=1e-9)
    eta = min(1.0, lr / math.sqrt(slope))
    for change, solution in zip(changes, solutions, strict=True):
        assert_equal(change, eta * solution)


@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e5])
def test_multiple_of_the_loss_changes_no_step_that_lr_bounds(factor):
    """M and √s grow alike. A whole least-squares step grows with the loss."""
    for lr, grows in ((1e-6, 1.0), (1e9, factor)):
        plain, scaled = one_step(lr=lr)[-1], one_step(factor, lr=lr)[-1]
        for one, other in zip(plain, scaled, strict=True):
            assert_equal(other, grows * one)


def test_gradient_of_zero_makes_no_step():
    for change in one_step(0.0)[-1]:
        assert not change.any()


# Orthogonal.


def exact(moment, inverse):
    m, d = moment.shape[-2:]
    factor = torch.linalg.cholesky(inverse)  # C⁻ᵀ up to a rotation, which the polar factor undoes
    u, _, vt = torch.linalg.svd(moment @ factor, full_matrices=False)
    return math.sqrt(max(1, m / d)) * u @ vt @ factor.mT


@pytest.mark.parametrize(("d", "m"), [(6, 4), (6, 7), (3, 9), (5, 1)])
@pytest.mark.parametrize("size", [0.0, 0.2, 0.9, 4.0])
def test_outputs_change_by_lr_times_the_root_of_their_size(monkeypatch, d, m, size):
    """Every output where there are no more of them than inputs, else their mean square; with large
    outputs by lr alone."""
    monkeypatch.setattr(outer_steps, "orthogonal", exact)
    torch.manual_seed(0)
    layer, x, lr = nn.Linear(d, m, **F64), drawn(60, d), 0.01
    before = layer(x).detach()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter *= size / before.square().mean().sqrt()
    before = layer(x).detach()
    stepped(layer, lambda: squares(layer(x)), outer="orthogonal", lr=lr, lambda_w=1e-12)
    moved = (layer(x).detach() - before).square().mean(0)
    expected = torch.full((m,), lr**2 * min(max(size, 0.1), 1.0), **F64)
    if m <= d + 1:
        assert_equal(moved, expected, 1e-6)
    assert_equal(moved.mean(), expected.mean(), 1e-6)


@pytest.mark.parametrize("factor", [1e-3, 1e5])
def test_multiple_of_the_loss_changes_no_orthogonal_step(factor):
    options = {"outer": "orthogonal", "lr": 0.1}
    for pair in zip(one_step(**options)[-1], one_step(factor, **options)[-1], strict=True):
        assert_equal(*pair)


# Several steps against a plain loop.


class Loop:
    """What a layer remembers from step to step."""

    def __init__(self, layer, decay):
        self.decay, self.total, self.weight = decay, 0.0, 0.0
        self.velocity = torch.zeros_like(moment_of(layer))

    def inverse(self, x):
        self.total = self.decay * self.total + gram_of(x)
        self.weight = self.decay * self.weight + 1
        self.gram = self.total / self.weight
        return damped(self.gram).inverse()


def steps_of(model, optimizer, count=6):
    """Yield before each step the inputs of each layer, and after it how each has changed."""
    seen = Seen(model)
    layers = linear_layers(model)
    for index in range(count):
        seen.calls.clear()
        optimizer.zero_grad()
        squares(model(drawn(20, 5, seed=index)), seed=index).backward()
        old = [torch.cat([one.weight, one.bias[:, None]], 1).detach() for one in layers]
        yield [seen.calls[layer][0][0] for layer in layers]
        optimizer.step()
        new = [torch.cat([one.weight, one.bias[:, None]], 1).detach() for one in layers]
        yield [after - before for after, before in zip(new, old, strict=True)]


@pytest.mark.parametrize("outer", ["trust", "orthogonal"])
@pytest.mark.parametrize(("mu", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.5, 0.8)])
def test_momentum_and_averages_are_those_of_a_plain_loop(outer, mu, decay):
    model, lr, loops = network(), 0.05, []
    options = {"momentum": mu, "gram_decay": decay, "lambda_w": LAMBDA_W} | EVERY_STEP
    optimizer = BackProjection(model, outer=outer, lr=lr, **options)
    layers, running = linear_layers(model), steps_of(model, optimizer)
    for inputs in running:
        loops = loops or [Loop(layer, decay) for layer in layers]
        inverses = [loop.inverse(x) for loop, x in zip(loops, inputs, strict=True)]
        moments = [moment_of(layer) for layer in layers]
        solutions = [m @ inverse for m, inverse in zip(moments, inverses, strict=True)]
        length = min(1.0, lr / math.sqrt(inner(solutions, moments)))
        expected = []
        for layer, loop, moment, inverse in zip(layers, loops, moments, inverses, strict=True):
            w = torch.cat([layer.weight, layer.bias[:, None]], 1).detach()
            if outer == "trust":
                loop.velocity = mu * loop.velocity + length * moment @ inverse
                expected.append(loop.velocity)
            else:
                loop.velocity = mu * loop.velocity + moment
                size = math.sqrt(torch.trace(w @ loop.gram @ w.T) / len(w))
                ahead = moment + mu * loop.velocity
                expected.append(lr * math.sqrt(size) * orthogonal(ahead, inverse))
        for found, change in zip(next(running), expected, strict=True):
            assert_equal(found, change, 1e-8)


def test_adam_is_torchs_on_preconditioned_gradients():
    """A layer that has its first gradient later begins later, and all do after harm."""
    options = {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3}
    model, late = network(), nn.Linear(5, 6, **F64)
    both = nn.ModuleList([model, late])
    optimizer = BackProjection(
        both, outer="adam", lambda_w=LAMBDA_W, gram_decay=0.0, **options, **EVERY_STEP
    )
    layers = linear_layers(both)
    leaves = {
        layer: torch.cat([layer.weight, layer.bias[:, None]], 1).detach().requires_grad_()
        for layer in layers
    }
    theirs, seen = torch.optim.Adam(leaves.values(), **options), Seen(both)
    for index in range(12):
        if index == 6:
            theirs.state.clear()
            for stack in optimizer.curvature.stacks:
                stack.forget()
        seen.calls.clear()
        optimizer.zero_grad()
        theirs.zero_grad()
        x = drawn(20, 5, seed=index)
        hidden = model[0](x) + (late(x) if index % 4 == 3 else 0)
        squares(model[2](hidden.tanh()), seed=index).backward()
        for layer, calls in seen.calls.items():
            inverse = damped(gram_of(calls[0][0])).inverse()
            leaves[layer].grad = -moment_of(layer) @ inverse
        optimizer.step()
        theirs.step()
        for layer, leaf in leaves.items():
            found = torch.cat([layer.weight, layer.bias[:, None]], 1).detach()
            assert_equal(found, leaf.detach(), 1e-9)


@pytest.mark.parametrize("outer", OUTER)
def test_layers_of_one_stack_that_take_turns_are_those_of_two_optimizers(outer):
    def trained(use_first, use_second):
        torch.manual_seed(0)
        layers = nn.ModuleList([nn.Linear(5, 4, **F64) for _ in range(2)])
        options = {"momentum": 0.0 if outer == "trust" else 0.9} | EVERY_STEP
        optimizer = BackProjection(layers, outer=outer, lr=0.0, **options)
        for index in range(9):
            optimizer.zero_grad()
            x, losses = drawn(20, 5, seed=index), []
            if use_first and (index == 0 or index % 3 == 1):
                losses.append(squares(layers[0](x)))
            if use_second and (index == 0 or index % 3 == 2):
                losses.append(squares(layers[1](x)))
            if losses:
                sum(losses).backward()
                optimizer.step()
            optimizer.param_groups[0]["lr"] = 0.03
        return layers, optimizer

    both, optimizer = trained(True, True)
    assert [len(stack.layers) for stack in optimizer.curvature.stacks] == [2]
    for place, alone in enumerate((trained(True, False), trained(False, True))):
        for ours, theirs in zip(
            both[place].parameters(), alone[0][place].parameters(), strict=True
        ):
            assert_equal(ours.detach(), theirs.detach(), 1e-12)


@pytest.mark.parametrize("outer", OUTER)
def test_loss_falls_by_what_a_short_step_promises(monkeypatch, outer):
    """Momentum counts, and what AdamW does to all else."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.LayerNorm(5, **F64), *network())
    optimizer = BackProjection(model, outer=outer, lr=1e-6, judge_every=1, rest_lr=0.3)
    heard, x, y = [], drawn(30, 5), drawn(30, 3, seed=1)

    def closure():
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        return loss

    def judge(predicted, before, after, scale):
        heard.append((predicted, before - after))
        return True

    monkeypatch.setattr(optimizer.judge.control, "judge", judge)
    for _ in range(5):
        optimizer.step(closure)
    for predicted, actual in heard:
        assert predicted > 0
        assert actual == pytest.approx(predicted, rel=1e-3)
