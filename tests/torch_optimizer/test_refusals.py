"""Models, parameters and settings that cannot work are refused in one line that names them."""

import inspect
import math

import pytest
import torch
from torch import nn

from new_algorithm.torch_optimizer import BackProjection


class Holds(nn.Module):
    def __init__(self, tensor):
        super().__init__()
        self.held = nn.Parameter(tensor)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [(torch.ones(3, 4).mT, "not contiguous"), (torch.ones(3, dtype=torch.complex64), "complex")],
)
def test_parameters_that_cannot_be_trained_are_refused(tensor, words):
    with pytest.raises(ValueError, match=words):
        BackProjection(Holds(tensor))


@pytest.mark.parametrize("given", [lambda m: m.parameters(), lambda m: list(m.parameters())])
def test_parameters_in_place_of_the_model_are_a_clear_error(given):
    with pytest.raises(TypeError, match=r"takes the model itself.*BackProjection\(model\)"):
        BackProjection(given(nn.Linear(2, 2)))


def test_a_set_of_parameters_has_no_order_and_is_refused():
    model = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="ordered"):
        BackProjection(model, [{"params": set(model.parameters())}])


BAD = {
    "lr": (-1.0, math.nan, math.inf, "fast"),
    "lambda_w": (0.0, -1.0, math.nan, math.inf),
    "momentum": (-0.1, 1.0, math.nan),
    "weight_decay": (-1e-3, math.inf),
    "gram_decay": (-0.1, 1.0),
    "rest_lr": (-1.0, math.nan),
    "eps": (0.0, -1e-8, math.inf),
    "betas": ((0.9,), (0.9, 1.0), (-0.1, 0.9), (0.9, 0.9, 0.9), 0.9),
    "gram_every": (0, -1, 2.5, math.nan),
    "factor_every": (0, "often"),
    "rows": (0, 1.5),
    "widest": (0, math.inf),
    "judge_every": (0, None),
    "outer": ("newton", None),
}


@pytest.mark.parametrize("name", list(inspect.signature(BackProjection).parameters)[2:])
def test_a_setting_is_a_groups_own_or_refused_in_one(name):
    model = nn.Linear(2, 2)
    if name in (own := BackProjection(model).defaults):
        optimizer = BackProjection(model, [{"params": model.parameters(), name: own[name]}])
        assert optimizer.param_groups[0][name] == own[name]
        return
    with pytest.raises(ValueError, match=f"^{name} is the same for all param groups"):
        BackProjection(model, [{"params": model.parameters(), name: 1}])


def test_rest_takes_modules_and_parameters_of_the_model():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    for rest in (model[1], [model[1]], model[1].weight, (model[1].weight, model[1].bias)):
        assert BackProjection(model, rest=rest).solved() == ["0", "2"]
    with pytest.raises(TypeError, match="rest has '1': give modules or parameters"):
        BackProjection(model, rest=["1"])
    for strange, words in ((nn.Linear(2, 2), "a Linear"), (torch.ones(2), "a tensor")):
        with pytest.raises(ValueError, match=f"rest has {words} that is no part of the model"):
            BackProjection(model, rest=[strange])


def test_layer_with_more_inputs_than_the_widest_is_adamws_and_said_to_be():
    model = nn.Sequential(nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = BackProjection(model, widest=8)
    assert optimizer.solved() == ["2"]
    model(torch.ones(4, 9)).sum().backward()
    with pytest.warns(RuntimeWarning, match="0 has 9 inputs, more than widest=8: AdamW") as caught:
        optimizer.step()
    assert len(caught) == 1
    assert {weight for _, weight in optimizer.curvature.watches.shapes()} == {model[2].weight}
    assert "exp_avg" in optimizer.state[model[0].weight]
    assert "gram" in optimizer.state[model[2].weight]


@pytest.mark.parametrize(("name", "value"), [(n, value) for n in BAD for value in BAD[n]])
def test_bad_settings_are_refused_in_a_line_that_names_them(name, value):
    with pytest.raises(ValueError, match=f"^{name}=") as raised:
        BackProjection(nn.Linear(2, 2), **{name: value})
    assert "\n" not in str(raised.value)


def test_bad_group_is_refused_and_not_added():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = BackProjection(model, model[0].parameters())
    with pytest.raises(ValueError, match=r"^lambda_w="):
        optimizer.add_param_group({"params": model[1].parameters(), "lambda_w": -1.0})
    assert len(optimizer.param_groups) == 1
    assert optimizer.solved() == ["0"]


class DTensor(nn.Parameter):
    """As fully_shard names its shards; a real FullyShardedDataParallel is in test_lifetime.py."""


def test_shards_are_refused():
    model = nn.Linear(2, 2)
    model.weight = DTensor(torch.ones(2, 2))
    with pytest.raises(ValueError, match="weight is in shards"):
        BackProjection(model)
