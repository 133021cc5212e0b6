"""Numbers at the ends of their ranges: gradients of zero and of 1e30, weights in float16, β = 0."""

import warnings

import pytest
import torch
from torch import nn

from new_algorithm.torch_optimizer import BackProjection
from new_algorithm.torch_optimizer.outer_steps import OUTER
from tests.torch_optimizer.small import copies, down, small, some, train


@pytest.mark.parametrize("outer", OUTER)
def test_layer_whose_gradient_is_zero_comes_to_rest(outer):
    """As where a loss adds 0 times what it has no use for. AdamW rests too, by and by."""
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])  # of one stack
    optimizer = BackProjection(model, outer=outer)

    def step(number, factor):
        optimizer.zero_grad()
        z = model[0](some(16, 4, seed=number)).square().mean()
        (z + factor * model[1](some(16, 4, seed=number)).sum()).backward()
        optimizer.step()

    for number in range(20):
        step(number, 1.0)
    before = copies(model[1])
    for number in range(20, 40):
        step(number, 0.0)
    after = copies(model[1])
    if outer == "orthogonal":  # whose steps are as long for a small gradient as for a large one
        assert all(torch.equal(one, other) for one, other in zip(after, before, strict=True))
    for number in range(40, 60):
        step(number, 0.0)
    for one, other in zip(copies(model[1]), after, strict=True):
        assert (one - other).abs().max() < 0.02


SIZES = [(1e-10, 1e19), (1e-4, 3e19), (1e-16, 1e30), (1e-18, 1e36), (1e10, 1e20), (1.0, 1e30)]


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize(("of_inputs", "of_outputs"), SIZES)
@pytest.mark.parametrize("outer", OUTER)
def test_finite_gradients_of_any_size_leave_weights_finite(outer, of_inputs, of_outputs, bias):
    """Though M A⁻¹, M A⁻¹ Mᵀ or the norm of all gradients is beyond float32."""
    torch.manual_seed(0)
    layer = nn.Linear(8, 4, bias=bias)
    optimizer = BackProjection(layer, outer=outer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(6):
            optimizer.zero_grad()
            z = layer(torch.randn(16, 8) * of_inputs)
            (z * torch.randn(16, 4)).mul(of_outputs).mean().backward()
            assert layer.weight.grad.isfinite().all()
            optimizer.step()
    assert all(parameter.isfinite().all() for parameter in layer.parameters())


def test_orthogonal_step_is_that_of_any_multiple_of_the_gradient():
    layers = [nn.Linear(8, 4, bias=False) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    for layer, factor in zip(layers, (1.0, 2.0**90), strict=True):
        optimizer = BackProjection(layer)
        (factor * layer(some(16, 8)).square().mean()).backward()
        optimizer.step()
    torch.testing.assert_close(layers[0].weight, layers[1].weight, rtol=0, atol=0)


@pytest.mark.parametrize("outer", ["trust", "orthogonal"])
def test_change_is_rounded_to_float16_when_it_is_small_enough_for_it(outer):
    """lr δW̃ is a number of float16, δW̃ itself is none."""
    torch.manual_seed(0)
    model = nn.Linear(8, 4, bias=False).half()
    optimizer = BackProjection(model, outer=outer, lr=1e-3, momentum=0.0)
    before = model.weight.clone()
    (1e3 * model(torch.randn(64, 8).half() * 2e-7).float()).square().mean().backward()
    model.weight.grad.fill_(1.0)
    optimizer.step()
    assert model.weight.isfinite().all()
    assert (model.weight - before).abs().max() > 1


def test_gradients_in_float16_may_have_a_norm_that_is_none():
    layer = nn.Linear(400, 400, bias=False).half()
    optimizer = BackProjection(layer)
    layer(torch.randn(8, 400).half()).sum().backward()
    layer.weight.grad.fill_(200.0)
    before = layer.weight.detach().clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
    assert not torch.equal(layer.weight, before)


def test_adam_without_a_first_moment_average():
    model = small()
    train(model, BackProjection(model, outer="adam", betas=(0.0, 0.9)), range(4))
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("outer", ["orthogonal", "adam"])
def test_bound_of_a_judge_is_in_units_of_the_square_of_lr(outer):
    changes = []
    for bound in (1.0, 0.25):
        torch.manual_seed(0)
        layer = nn.Linear(5, 3).double()
        optimizer = BackProjection(layer, outer=outer)
        optimizer.judge.control.bound = bound
        before = layer.weight.detach().clone()
        down(layer(some(16, 5).double()))
        optimizer.step()
        changes.append(layer.weight.detach() - before)
    torch.testing.assert_close(changes[1], changes[0] / 2, rtol=1e-12, atol=0)
