"""What is seen of a forward pass."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from new_algorithm.model_advice.trace import run_traced


class Residual(nn.Module):
    """Two layers, a way around the second one, and a branch that depends on the numbers."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        h = F.relu(self.first(x))
        h = h + F.dropout(self.second(h), 0.5, self.training)
        if h.sum() > 1e6:  # torch.fx cannot trace this
            h = -h
        return F.softmax(self.third(h), dim=1)


def traced(model, *inputs):
    trace, _, _, error = run_traced(model, inputs)
    assert error is None
    return trace


def names(trace):
    return [one.name for one in trace.operations]


def test_modules_and_functions_in_their_order_with_what_they_act_on():
    trace = traced(Residual(), torch.randn(4, 3))
    kinds = {one.name: one.kind for one in trace.operations}
    assert kinds["relu()"] == "relu"
    assert kinds["dropout()"] == "dropout"
    assert kinds["softmax()"] == "softmax"
    assert kinds["second"] == "weighted"
    kept = [name for name in names(trace) if name not in ("sum()", "gt()")]
    assert kept == ["first", "relu()", "second", "dropout()", "add()", "third", "softmax()"]
    add = trace.operations[names(trace).index("add()")]
    assert [trace.operations[i].name for i in add.made_by] == ["relu()", "dropout()"]
    assert [trace.operations[i].name for i in trace.outputs] == ["softmax()"]


def test_line_of_a_function_is_that_of_the_model():
    trace = traced(Residual(), torch.randn(4, 3))
    softmax = trace.operations[trace.outputs[0]]
    file, line = softmax.line.split(":")
    assert file == "test_trace.py"
    source = open(__file__, encoding="utf-8").read().splitlines()  # noqa: SIM115
    assert "F.softmax" in source[int(line) - 1]
    assert softmax.place == f"softmax() at {softmax.line}"


def test_dropout_of_a_function_counts_only_where_it_drops():
    assert traced(Residual(), torch.randn(4, 3)).of_kind("dropout")
    assert not traced(Residual().eval(), torch.randn(4, 3)).of_kind("dropout")
    double = traced(nn.Sequential(nn.Dropout(0.0)), torch.randn(4, 3))
    assert not double.of_kind("dropout")


def test_trunk_leaves_out_what_a_result_goes_around():
    trace = traced(Residual(), torch.randn(4, 3))
    trunk = {trace.operations[i].name for i in trace.trunk()}
    assert {"first", "relu()", "add()", "third", "softmax()"} <= trunk
    assert not {"second", "dropout()"} & trunk


def test_in_place_operations_and_a_module_called_twice():
    layer = nn.Linear(3, 3)
    trace = traced(nn.Sequential(layer, nn.ReLU(inplace=True), layer), torch.randn(4, 3))
    assert names(trace) == ["0", "1", "0"]
    assert [one.made_by for one in trace.operations] == [[None], [0], [1]]


def test_transformer_layer_is_seen_from_inside():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
    trace = traced(layer, torch.randn(2, 3, 8))
    kinds = [one.kind for one in trace.operations if one.kind != "other"]
    assert kinds == [
        *["attention", "dropout", "norm"],
        *["weighted", "relu", "dropout", "weighted", "dropout", "norm"],
    ]


def test_changes_of_shape_are_looked_through_and_the_nearest_norm_is_found():
    model = nn.Sequential(
        *[nn.Dropout(0.5), nn.Linear(4, 4), nn.Unflatten(1, (2, 2)), nn.Flatten()],
        *[nn.BatchNorm1d(4), nn.BatchNorm1d(4)],
    )
    trace = traced(model, torch.randn(5, 4))
    assert trace.source(3).name == "1"
    assert trace.first_downstream(0, ("batch_norm",)) == [4]
    assert trace.consumers(4) == [5]


def test_what_ran_before_an_error_is_kept():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(4, 4))
    trace, output, _, error = run_traced(model, (torch.randn(2, 3),))
    assert output is None
    assert isinstance(error, RuntimeError)
    assert names(trace) == ["0", "1", "2"]


def test_loss_that_refuses_its_input_is_seen():
    trace, _, _, error = run_traced(
        nn.Linear(3, 1), (torch.full((2, 3), 99.0),), lambda out: nn.BCELoss()(out, out * 0 - 9)
    )
    assert isinstance(error, RuntimeError)
    (index,) = trace.of_kind("bce")
    assert trace.operations[index].name == "loss: binary_cross_entropy()"


@pytest.mark.parametrize("training", [True, False])
def test_hooks_are_taken_out_and_results_are_those_without_a_trace(training):
    torch.manual_seed(0)
    model, x = Residual().train(training), torch.randn(4, 3)
    torch.manual_seed(1)
    expected = model(x)
    torch.manual_seed(1)
    assert torch.equal(run_traced(model, (x,))[1], expected)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
