"""Which calls of a module count, and for which step: the Gram matrix of exactly those is found."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from new_algorithm.torch_optimizer import BackProjection
from tests.torch_optimizer.small import assert_same_weights, down, gram_of, second_moment, some


@pytest.mark.parametrize("set_to_none", [True, False])
def test_rows_of_a_gradient_that_is_discarded_do_not_count(set_to_none):
    layer = nn.Linear(3, 2)
    optimizer = BackProjection(layer)
    down(layer(some(8, 3, seed=1)))
    optimizer.zero_grad(set_to_none)
    down(layer(some(8, 3, seed=2)))
    optimizer.step()
    torch.testing.assert_close(gram_of(optimizer, layer.weight), second_moment(some(8, 3, seed=2)))


@pytest.mark.parametrize("set_to_none", [True, False])
def test_rows_count_whose_gradient_is_still_to_come(set_to_none):
    """Between forward and backward pass zero_grad discards what was there before them."""
    layer = nn.Linear(3, 2)
    optimizer = BackProjection(layer)
    down(layer(some(8, 3, seed=1)))
    z = layer(some(8, 3, seed=2))
    optimizer.zero_grad(set_to_none)
    down(z)
    down(layer(some(8, 3, seed=3)))
    optimizer.step()
    expected = (second_moment(some(8, 3, seed=2)) + second_moment(some(8, 3, seed=3))) / 2
    torch.testing.assert_close(gram_of(optimizer, layer.weight), expected)


WITHOUT_A_GRADIENT = {
    "evaluation": lambda layer, x: layer(x),
    "a batch left out": lambda layer, x: layer(x).square().mean(),
    "a detached output": lambda layer, x: down(layer(x).detach().requires_grad_()),
    "gradients lost": lambda layer, x: (down(layer(x)), layer.zero_grad()),
    "an input changed in place": lambda layer, x: (layer(x), x.mul_(2)),
}


@pytest.mark.parametrize("kind", WITHOUT_A_GRADIENT)
def test_calls_count_whose_gradient_the_step_is_made_of(kind):
    layer, x = nn.Linear(3, 2), some(8, 3, seed=2)
    optimizer = BackProjection(layer)
    for _ in range(3):
        WITHOUT_A_GRADIENT[kind](layer, x if "place" in kind else some(8, 3, seed=1))
    down(layer(x))
    for _ in range(3):
        layer(some(8, 3, seed=3))
    optimizer.step()
    torch.testing.assert_close(gram_of(optimizer, layer.weight), second_moment(x))


def test_batches_that_are_left_out_for_their_loss_leave_no_trace():
    layer, other = nn.Linear(3, 2), nn.Linear(3, 2)
    other.load_state_dict(layer.state_dict())
    for model, given in ((layer, range(8)), (other, (0, 2, 4, 6))):
        optimizer = BackProjection(model, gram_every=1)
        for number in given:
            x = some(8, 3, seed=number) * (torch.inf if number % 2 else 1.0)
            loss = model(x).square().mean()
            loss.backward()
            if loss.isfinite():
                optimizer.step()
            optimizer.zero_grad()
    assert_same_weights(layer, other)


@pytest.mark.parametrize("uses", [1, 3])
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_micro_batches_show_what_plain_ones_do(reentrant, uses):
    plain, other = nn.Linear(3, 3), nn.Linear(3, 3)
    other.load_state_dict(plain.state_dict())

    def through(layer, x):
        for _ in range(uses):
            x = layer(x).tanh()
        return x

    for layer in (plain, other):
        optimizer = BackProjection(layer)
        for number in range(3):
            x = some(8, 3, seed=number).requires_grad_()
            checkpointed = layer is other
            z = (
                checkpoint(through, layer, x, use_reentrant=reentrant)
                if checkpointed
                else through(layer, x)
            )
            down(z)
        optimizer.step()
    assert_same_weights(plain, other, tolerance=1e-6)


def test_model_compiled_before_its_optimizer_is_told_of():
    model = nn.Linear(3, 2)
    compiled = torch.compile(model, backend="eager")
    down(compiled(some(8, 3)))
    optimizer = BackProjection(model)
    down(compiled(some(8, 3)))
    with pytest.warns(RuntimeWarning, match="Linear has a gradient, but no call"):
        optimizer.step()
    assert optimizer.solved() == []


def test_calls_within_function_transforms_and_of_nested_rows_show_nothing():
    layer = nn.Linear(3, 2)
    optimizer = BackProjection(layer)
    torch.vmap(layer)(some(4, 5, 3, seed=1))
    nested = torch.nested.nested_tensor([some(2, 3), some(4, 3)], layout=torch.jagged)
    layer(nested)
    down(layer(some(8, 3)))
    optimizer.step()
    torch.testing.assert_close(gram_of(optimizer, layer.weight), second_moment(some(8, 3)))


def test_weight_put_in_the_place_of_another_is_solved_for():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    optimizer = BackProjection(model)
    down(model(some(8, 3)))
    optimizer.step()
    model[1].weight, model[1].bias = nn.Parameter(some(4, 3)), nn.Parameter(torch.zeros(4))
    optimizer.add_param_group({"params": [model[1].weight, model[1].bias]})
    optimizer.zero_grad()
    down(model(some(8, 3)))
    optimizer.step()
    with torch.no_grad():
        assert gram_of(optimizer, model[1].weight).shape == (1, 4, 4)
    assert "exp_avg" not in optimizer.state[model[1].weight]


def test_parts_of_a_module_may_come_one_after_the_other():
    module = nn.MultiheadAttention(4, 2, batch_first=True)
    last = {module.out_proj.weight, module.out_proj.bias}
    optimizer = BackProjection(module, last)
    optimizer.add_param_group({"params": [p for p in module.parameters() if p not in last]})
    x = some(2, 3, 4)
    down(module(x, x, x)[0])
    optimizer.step()
    for weight in (module.in_proj_weight, module.out_proj.weight):
        assert "gram" in optimizer.state[weight]
