"""What an optimizer keeps is counted to the byte, and its time beside that of a bare pass."""

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from new_algorithm.measurements import optimizer_cost
from new_algorithm.measurements.optimizer_cost import (
    CYCLE,
    OPTIMIZERS,
    draw_optimizer_cost,
    iteration,
    measure,
    state_bytes,
    steady_mean,
    time_hooks,
)
from new_algorithm.torch_optimizer import BackProjection

M, D = 2, 3
FLOATS = {
    "AdamW": 2 * (M * D + M) + 2,  # moments, and the steps of weight and bias
    # Ḡ and A⁻¹, the velocity, the weight of the average, the size of outputs and the updates
    "back projection, orthogonal": 2 * (D + 1) ** 2 + M * (D + 1) + 3,
    "back projection, trust": 2 * (D + 1) ** 2 + M * (D + 1) + 3,
    "back projection, adam": 2 * (D + 1) ** 2 + 2 * M * (D + 1) + 3,
    "Muon": M * D + 2 * M + 1,  # Adam's moments of the bias alone
}


@pytest.mark.parametrize("name", FLOATS)
def test_memory_of_the_state(name):
    model = nn.Linear(D, M)
    build, settings = OPTIMIZERS[name]
    optimizer = build(model, settings)
    iteration(model, torch.ones(4, D), optimizer)()
    assert state_bytes(optimizer) == 4 * FLOATS[name]


def test_every_subject_is_measured_with_every_optimizer(monkeypatch):
    monkeypatch.setattr(optimizer_cost, "WARM_UP", 1)
    monkeypatch.setattr(optimizer_cost, "TIMED", CYCLE)
    subject = "a layer", nn.Linear(D, M), torch.ones(4, D)
    monkeypatch.setattr(optimizer_cost, "subjects", lambda: iter([subject]))
    rows = measure()
    assert [(row["subject"], row["optimizer"]) for row in rows] == [
        ("a layer", name) for name in OPTIMIZERS
    ]
    for row in rows:
        assert row["passes_ms"] > 0
        assert row["optimizer_ms"] > 0
        whole = row["passes_ms"] + row["optimizer_ms"]
        assert math.isclose(row["times_of_passes"], whole / row["passes_ms"])
    assert not subject[1]._forward_pre_hooks  # copies are measured


def test_time_within_hooks_is_told_from_that_of_passes(monkeypatch):
    now, model = [0.0], nn.Linear(D, M)
    monkeypatch.setattr(optimizer_cost.time, "process_time", lambda: now[0])

    def spend(seconds):
        now[0] += seconds

    optimizer = BackProjection(model)
    take_in = optimizer.curvature.watches.count
    optimizer.curvature.watches.count = lambda shown: (take_in(shown), spend(3.0))
    model.register_forward_hook(lambda *_: spend(5.0))
    model.weight.register_hook(lambda _: spend(7.0))
    in_hooks = []
    time_hooks(model, optimizer, in_hooks)
    assert iteration(model, torch.ones(4, D), optimizer)() == (15.0, 0.0)
    assert sum(in_hooks) == 8.0


def test_what_every_cycle_has_once_counts_and_a_disturbance_does_not():
    seconds = np.tile([CYCLE + 1.0] + [1.0] * (CYCLE - 1), 3)
    seconds[[7, CYCLE, 2 * CYCLE + 7]] += 100
    assert steady_mean(seconds) == pytest.approx(2)


def test_figure_shows_every_cost_where_its_subject_and_optimizer_are(tmp_path):
    path = tmp_path / "costs.csv"
    path.write_text(
        "subject,optimizer,times_of_passes,state_mb\n"
        '"a layer, wide",AdamW,1.25,2.0\n"a layer, wide",Muon,1.5,1.0\nanother,Muon,3.0,4.0\n'
    )
    figure = Figure()
    draw_optimizer_cost(figure, path)
    times, memory = figure.axes
    names = [label.get_text() for label in times.get_yticklabels()]
    assert names == ["another", "a layer, wide"]  # the first on top
    drawn = {line.get_label(): line.get_xydata().tolist() for line in times.lines}
    assert drawn == {"AdamW": [[1.25, 1]], "Muon": [[1.5, 1], [3, 0]]}
    assert [line.get_xdata().tolist() for line in memory.lines] == [[2], [1, 4]]
