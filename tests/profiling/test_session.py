"""Profiles of trainings: the same bits as without, calls and products as they must be, tables."""

import csv
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.optim.optimizer as optimizer
from torch.nn.modules import module

import bench_mnist
from datasets import load_dataset
from new_algorithm import n_layer_relu_data
from new_algorithm.back_projection.losses import SOFTMAX
from new_algorithm.back_projection.network import Workspace
from new_algorithm.cli.ranks import Ranks
from new_algorithm.plots.profile_figure import PROFILE_SIZE, draw_profile
from new_algorithm.plots.style import draw
from new_algorithm.profiling import torch_profile
from new_algorithm.profiling.session import profiled
from new_algorithm.profiling.torch_events import MODULES
from new_algorithm.profiling.windows import Windows
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.files import save_csv
from tests.recorder import Recorder

WIDTHS = (21, 16, 8, 4)  # of synthetic data, the ones among the inputs
ROWS = 32


def replaceable():
    """Some of what is replaced during a profile."""
    return TrainingClock.__enter__, TrainingClock.__exit__, Workspace.forward, SOFTMAX.value


UNTOUCHED = replaceable()


class TableRecorder(Recorder):
    """Keeps tables too."""

    def __init__(self):
        super().__init__()
        self.tables = {}

    def table(self, name, rows, title, shown=None):
        self.tables[name] = rows


def trained(kind, profile, rows=4800):
    """Train for one epoch of 150 steps by back projection or in PyTorch."""
    run, data = TableRecorder(), load_dataset("synthetic", train_limit=rows)
    flags = {"widths": WIDTHS[1:-1], "epochs": 1, "batch_size": ROWS}
    with profiled(profile, kind, run):
        if kind == "NumPy":
            config = n_layer_relu_data.in_force(n_layer_relu_data.Config(**flags), rows)
            n_layer_relu_data.train_and_record(config, data, None, run, Ranks())
        else:
            bench_mnist.train(bench_mnist.Config(**flags, lr=0.1), data, run)
    return run


@pytest.fixture(scope="module", params=["NumPy", "PyTorch"])
def both(request):
    """A training with the profile, one without it, and its kind."""
    kind = request.param
    return trained(kind, profile=True), trained(kind, profile=False), kind


def test_the_numbers_of_a_training_are_the_same_with_and_without(both):
    with_it, without, _ = both
    for ours, theirs in zip(with_it.weights, without.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert with_it.loss == without.loss


def test_without_it_nothing_is_left_and_nothing_stays_replaced(both):
    assert both[1].tables == {}
    assert replaceable() == UNTOUCHED
    assert not optimizer._global_optimizer_post_hooks
    assert not module._global_forward_hooks


def test_phases_add_up_to_a_step_and_layers_to_no_more_than_their_phases(both):
    tables = both[0].tables
    phases = {row["phase"]: row["ms"] for row in tables["profile_phases"]}
    assert sum(row["share"] for row in tables["profile_phases"]) == pytest.approx(1)
    of_layers = dict.fromkeys(phases, 0.0)
    for row in tables["profile_layers"]:
        parts = {name[:-3]: ms for name, ms in row.items() if name.endswith(" ms")}
        assert sum(parts.values()) == pytest.approx(row["all_ms"])
        for name, ms in parts.items():
            of_layers[name] += ms
    assert all(ms <= phases[name] * (1 + 1e-9) for name, ms in of_layers.items())
    assert of_layers["forward"] > 0


def test_calls_and_products_are_those_of_the_steps(both):
    tables, kind = both[0].tables, both[2]
    phases = {row["phase"]: row for row in tables["profile_phases"]}
    shapes = [(ROWS, d, m) for d, m in pairwise(WIDTHS)]
    if kind == "NumPy":  # the bias is a row of the weights; every 20th step is judged, by one more
        shapes = [shapes[0], *((n, d + 1, m) for n, d, m in shapes[1:])]
        passes, layers = 1 + 1 / 20, ("layer 1", "layer 2", "layer 3")
        assert phases["solves"]["calls"] == 3
        assert phases["forward"]["calls"] == pytest.approx(3 * passes)
        assert phases["Δ passed down"]["calls"] == 2
        down = sum(2 * ROWS * m * (d - 1) for _, d, m in shapes[1:])
        assert phases["Δ passed down"]["gflop"] * 1e9 == pytest.approx(down)
    else:
        shapes = [(ROWS, WIDTHS[0] - 1, WIDTHS[1]), *shapes[1:]]
        passes, layers = 1, ("0 Linear", "2 Linear", "4 Linear")
        assert phases["optimizer's step"]["calls"] == 1
        operators = {row["operator"]: row for row in tables["profile_operators"]}
        assert operators["aten::addmm"]["calls"] == 3
        assert operators[MODULES]["calls"] == 6  # the whole, 3 layers, 2 ReLUs
        # of each layer the gradient of the weights, and that of the inputs but for the first's
        back = 2 * sum(2 * n * d * m for n, d, m in shapes) - 2 * np.prod(shapes[0])
        assert phases["backward"]["gflop"] * 1e9 == pytest.approx(back)
    forward = passes * sum(2 * n * d * m for n, d, m in shapes)
    assert phases["forward"]["gflop"] * 1e9 == pytest.approx(forward)
    found = {row["layer"]: row["product"] for row in tables["profile_layers"] if row["gflop"]}
    assert found == dict(zip(layers, (f"{n} × {d} × {m}" for n, d, m in shapes), strict=True))


def test_the_cost_is_told(both):
    told = {row["quantity"]: row["value"] for row in both[0].tables["profile"]}
    assert told["steps profiled"] == {"NumPy": 60, "PyTorch": 20}[both[2]]
    assert np.isfinite(told["cost of the profile, of a step's CPU time"])


def test_the_figure_is_drawn_from_the_tables_alone(both, tmp_path):
    for name, rows in both[0].tables.items():
        save_csv(tmp_path / f"{name}.csv", rows)
    with (tmp_path / "profile_layers.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(both[0].tables["profile_layers"])
    image = draw(lambda figure: draw_profile(figure, tmp_path / "profile.csv"), PROFILE_SIZE)
    assert image.startswith(b"\x89PNG")


def test_a_run_of_too_few_steps_leaves_no_table(capsys):
    run = trained("NumPy", profile=True, rows=3 * ROWS)
    assert run.tables == {}
    assert "3 steps are too few" in capsys.readouterr().out


def test_blocks_are_short_where_a_step_has_many_operators(monkeypatch):
    monkeypatch.setattr(torch_profile, "MOST_EVENTS", 1)
    told = {row["quantity"]: row["value"] for row in trained("PyTorch", True).tables["profile"]}
    assert told["steps profiled"] == 2
    cost = told["cost of the profile, of a step's CPU time"]
    assert cost is None or np.isfinite(cost)  # where the clock stood still over a step


def test_memory_of_steps_by_torch_func_is_that_of_one_step():
    """A trace with shapes keeps their tensors, so that memory would grow from step to step."""
    profiler = torch_profile.TorchProfiler("cpu")
    windows, x = Windows(profiler), torch.randn(256, 256)
    gradient = torch.func.grad(lambda weight: (x @ weight).relu().sum())
    step = windows.ending(lambda: gradient(x))
    windows.resume()
    while windows.kind != "over":
        step()
    found = profiler.profile(windows)
    assert 2 * x.nbytes <= found.peak_bytes <= 5 * x.nbytes
