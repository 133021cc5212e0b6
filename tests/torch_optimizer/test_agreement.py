"""The trust region in PyTorch against the same training in NumPy, by the textbook and by the sweep.

torch has the control in units of lr²: its bound is 1, its floor .1 and its ceiling 1 where NumPy's
are lr² times that.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

from new_algorithm.back_projection import optimizer as numpy_optimizer
from new_algorithm.back_projection.network import append_ones
from new_algorithm.back_projection.reference import ReferenceBackProjection
from new_algorithm.back_projection.schedule import warm_up_and_decay
from new_algorithm.back_projection.solvers import Penalties
from new_algorithm.back_projection.step_control import LossWatch, TrustRegion
from new_algorithm.torch_optimizer import BackProjection
from tests.back_projection.problems import TORCH_LOSSES, Problem, factored, problem

WIDTHS = (7, 12, 10, 3)
STEPS = 50


class Unjudged(TrustRegion):
    """Every step is kept and teaches nothing, as without a closure."""

    def judge(self, predicted, before, after, lr_scale):
        return True


@dataclass(frozen=True)
class Scenario:
    """judge_every: None without a closure. takes_back: at least so many steps."""

    lr: float = 0.1
    lambda_w: tuple[float, ...] = (1.0, 1.0, 1.0)
    momentum: float = 0.9
    memory: dict = field(default_factory=lambda: {"gram_decay": 0.9})
    judge_every: int | None = None
    takes_back: int = 0
    worst_rise: float = 0.5
    schedule: Callable[[int], float] = lambda iteration: 1.0
    loss: str = "softmax"

    def control(self) -> TrustRegion:
        kind = Unjudged if self.judge_every is None else TrustRegion
        area = self.lr**2
        watch = LossWatch(worst_rise=self.worst_rise)
        return kind(bound=area, floor=0.1 * area, ceiling=area, watch=watch)

    def textbook(self, made: Problem) -> ReferenceBackProjection:
        return ReferenceBackProjection(
            made.weights,
            made.loss,
            self.lambda_w,
            self.control(),
            momentum=self.momentum,
            judge_every=self.judge_every or STEPS,
            **self.memory,
        )

    def sweeps(self, made: Problem) -> numpy_optimizer.BackProjection:
        memory = {name.replace("gram_decay", "decay"): n for name, n in self.memory.items()}
        return numpy_optimizer.BackProjection(
            made.weights,
            made.loss,
            [factored(Penalties(one), **memory) for one in self.lambda_w],
            self.control(),
            chunk_rows=made.rows,
            momentum=self.momentum,
            judge_every=self.judge_every or STEPS,
        )

    def torch(self, model: nn.Module) -> BackProjection:
        layers = [module for module in model if isinstance(module, nn.Linear)]
        groups = [
            {"params": list(layer.parameters()), "lambda_w": one}
            for layer, one in zip(layers, self.lambda_w, strict=True)
        ]
        optimizer = BackProjection(
            model,
            groups,
            outer="trust",
            lr=self.lr,
            momentum=self.momentum,
            judge_every=self.judge_every or STEPS,
            **{"gram_decay": 0.0, "gram_every": 1, "factor_every": 1} | self.memory,
        )
        optimizer.judge.control.watch.worst_rise = self.worst_rise
        for group in optimizer.param_groups:
            group["initial_lr"] = self.lr  # as torch's schedulers do
        return optimizer


MEMORY = {"gram_decay": 0.8, "gram_every": 2, "factor_every": 3}
RARELY = {"gram_decay": 0.9, "gram_every": 5, "factor_every": 20}
SCENARIOS = {
    "without memory": Scenario(memory={}, momentum=0.0),
    "usual": Scenario(memory=RARELY),
    "a layer's own λ_w": Scenario(lambda_w=(3.0, 0.3, 0.03), memory=MEMORY),
    "whole least-squares steps": Scenario(lr=10.0, lambda_w=(9.0,) * 3, momentum=0.0),
    "squared": Scenario(loss="squared", memory=MEMORY),
    "judged rarely": Scenario(memory=RARELY, judge_every=20),
    "schedule": Scenario(
        memory=MEMORY, judge_every=5, schedule=lambda i: warm_up_and_decay(i, STEPS, 0.3)
    ),
    "judged often": Scenario(memory=MEMORY, judge_every=5),
    "judged always, long steps": Scenario(lr=0.5, memory=MEMORY, judge_every=1),
    "taken back": Scenario(
        lr=1.5, lambda_w=(0.1,) * 3, memory=MEMORY, judge_every=5, worst_rise=0.1, takes_back=1
    ),
    "often taken back": Scenario(
        lr=0.3, lambda_w=(0.1,) * 3, memory=MEMORY, judge_every=1, worst_rise=0.05, takes_back=2
    ),
    "first step taken back": Scenario(
        lr=20.0,
        lambda_w=(0.01,) * 3,
        momentum=0.5,
        judge_every=1,
        worst_rise=0.1,
        loss="squared",
        takes_back=1,
    ),
}


def network(made: Problem) -> nn.Sequential:
    """The same weights, transposed."""
    layers = []
    for weight in made.weights:
        d, m = weight.shape
        layer = nn.Linear(d - 1, m, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight[:-1].T))
            layer.bias.copy_(torch.from_numpy(weight[-1]))
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def vector(weights):
    return np.concatenate([weight.ravel() for weight in weights])


def weights_of(model):
    layers = [module for module in model if isinstance(module, nn.Linear)]
    return vector([np.vstack([one.weight.detach().T, one.bias.detach()]) for one in layers])


def batches(loss: str):
    """Rows of which the labels can be learnt in part."""
    rng = np.random.default_rng(3)
    teacher = rng.standard_normal((8, 3))
    for _ in range(STEPS):
        inputs = append_ones(rng.standard_normal((32, 7)))
        values = inputs @ teacher + rng.standard_normal((32, 3))
        yield inputs, values.argmax(1) if loss == "softmax" else values


@pytest.mark.parametrize("name", SCENARIOS)
def test_fifty_steps_are_those_of_numpy(name):
    scenario = SCENARIOS[name]
    made = problem(WIDTHS, scenario.loss, seed=1)
    textbook, sweeps, model = scenario.textbook(made), scenario.sweeps(made), network(made)
    ours = scenario.torch(model)
    for iteration, (inputs, targets) in enumerate(batches(scenario.loss)):
        x, y = torch.from_numpy(inputs[:, :-1]), torch.from_numpy(targets)

        def closure(x=x, y=y):
            ours.zero_grad()
            loss = TORCH_LOSSES[scenario.loss](model(x), y)
            loss.backward()
            return loss

        scale = scenario.schedule(iteration)
        for group in ours.param_groups:
            group["lr"] = scale * scenario.lr
        kept = textbook.step(inputs, targets, scale)
        result = sweeps.step([(inputs, targets)], scale)
        before = ours.judge.rollbacks
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            if scenario.judge_every is None:
                closure()
                ours.step()
            else:
                ours.step(closure)
        assert iteration > 0 or kept == (name != "first step taken back")
        assert (result.trouble is None) == kept == (ours.judge.rollbacks == before), iteration
        control = ours.judge.control
        assert control.bound * scenario.lr**2 == pytest.approx(textbook.control.bound, rel=1e-7)
        assert control.damping == textbook.control.damping == sweeps.control.damping
        for theirs in (textbook.weights, sweeps.weights):
            off = np.linalg.norm(weights_of(model) - vector(theirs))
            assert off <= 1e-9 * np.linalg.norm(vector(theirs)), iteration
    assert scenario.takes_back <= ours.judge.rollbacks < STEPS / 2, "or it shows nothing"
