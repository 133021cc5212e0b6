"""Modules that take or give something else than their class does, and weights in functions."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from new_algorithm.torch_optimizer import BackProjection
from tests.torch_optimizer.small import assert_same_weights, down, some


class Beside(nn.Linear):
    """A layer whose first argument is not what its weight multiplies."""

    def forward(self, mixing, x):
        return mixing @ super().forward(x)


class Owner(nn.Module):
    def __init__(self, layer, by):
        super().__init__()
        self.layer, self.last, self._by = layer, nn.Linear(2, 2), by

    def forward(self, x):
        return self.last(self._by(self.layer, x))


class ByName(nn.Linear):
    def forward(self, mask=None, x=None):
        return super().forward(x)


class OfPair(nn.Linear):
    def forward(self, pair):
        return super().forward(pair[0])


class WithoutArguments(nn.Linear):
    """A learned table, seen through its weight."""

    def forward(self):
        return super().forward(some(8, 3))


class Answers(nn.Linear):
    def forward(self, x):
        return {"z": super().forward(x)}


UNSEEN = {
    "another first argument": (Beside, lambda layer, x: layer(torch.eye(8), x)),
    "nothing first": (ByName, lambda layer, x: layer(mask=None, x=x)),
    "a pair": (OfPair, lambda layer, x: layer((x, None))),
    "no argument": (WithoutArguments, lambda layer, x: x[:, :2] + layer()),
    "an answer that is no tensor": (Answers, lambda layer, x: layer(x)["z"]),
    "a function": (nn.Linear, lambda layer, x: linear(x, layer.weight, layer.bias)),
}


@pytest.mark.parametrize("kind", UNSEEN)
def test_layer_that_shows_no_rows_is_named_and_left_to_adamw(kind):
    made, by = UNSEEN[kind]
    model = Owner(made(3, 2), by)
    twin = copy.deepcopy(model.layer)
    optimizer = BackProjection(model, rest_lr=0.1, lr=0.03)
    adamw = torch.optim.AdamW(twin.parameters(), lr=0.003, weight_decay=0.0)
    for number in range(4):
        optimizer.zero_grad()
        down(model(some(8, 3, seed=number)))
        for own, other in zip(twin.parameters(), model.layer.parameters(), strict=True):
            own.grad = other.grad.clone()
        if number == 0:
            with pytest.warns(RuntimeWarning, match="layer has a gradient, but no call"):
                optimizer.step()
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                optimizer.step()
        adamw.step()
    assert optimizer.solved() == ["last"]
    assert_same_weights(model.layer, twin, tolerance=1e-6)


class SelfAttention(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, x, x)


class OfTwo(nn.Linear):
    """Its output is not that of its weight alone."""

    def forward(self, x):
        z = super().forward(x)
        return torch.cat([z, z], -1), x


def test_subclass_of_attention_with_one_argument_is_seen_in_part():
    model = nn.Sequential(SelfAttention(4, 2, batch_first=True))
    optimizer = BackProjection(model)
    down(model(some(2, 3, 4))[0])
    with pytest.warns(RuntimeWarning, match="0 has a gradient, but no call"):
        optimizer.step()
    assert optimizer.solved() == ["0.out_proj"]


def test_subclass_with_another_output_has_no_left_factor():
    torch.manual_seed(0)
    changes = []
    for lambda_h in (torch.inf, 1.0):
        model = OfTwo(3, 2)
        nn.init.ones_(model.weight)
        nn.init.ones_(model.bias)
        optimizer = BackProjection(model, outer="trust", lambda_h=lambda_h)
        down(model(some(8, 3))[0])
        optimizer.step()
        changes.append(model.weight.detach() - 1)
    assert changes[0].any()
    torch.testing.assert_close(*changes)


def test_same_rows_are_not_looked_at_twice_but_by_layers_of_another_width():
    """What is given first to both modules is for one of them something else than rows."""
    model = nn.ModuleList([nn.Linear(8, 2), Beside(3, 2)])
    optimizer, mixing, x = BackProjection(model), torch.eye(8), some(8, 3)
    down(model[0](mixing) + model[1](mixing, x))
    with pytest.warns(RuntimeWarning, match="1 has a gradient, but no call"):
        optimizer.step()
    assert optimizer.solved() == ["0"]


def test_layer_that_is_first_used_by_a_function_is_solved_from_its_first_call_on():
    layer, x = nn.Linear(3, 2), some(8, 3)
    optimizer = BackProjection(layer)
    down(linear(x, layer.weight, layer.bias))
    with pytest.warns(RuntimeWarning, match="Linear has a gradient, but no call"):
        optimizer.step()
    assert optimizer.solved() == []
    optimizer.zero_grad()
    down(layer(x))
    optimizer.step()
    assert optimizer.solved() == ["Linear"]


def test_layer_whose_first_inputs_are_not_finite_is_not_taken_for_unseen():
    layer, x = nn.Linear(3, 2), some(8, 3)
    optimizer = BackProjection(layer, gram_every=1)
    for number in range(2):
        optimizer.zero_grad()
        down(layer(x * (torch.inf if number == 0 else 1.0)))
        layer.weight.grad.nan_to_num_()
        layer.bias.grad.nan_to_num_()
        if number == 0:
            with pytest.warns(RuntimeWarning, match="Gram matrix of the inputs") as caught:
                optimizer.step()
            assert len(caught) == 1
        else:
            optimizer.step()
        assert optimizer.solved() == ["Linear"]
