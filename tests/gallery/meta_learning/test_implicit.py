"""Implicit meta-gradients against dense solves and finite differences; what is no minimum."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.func import grad, hessian

from new_algorithm.back_projection.conjugate_gradients import conjugate_gradients
from new_algorithm.gallery.hypergradients import hypergradient
from new_algorithm.gallery.meta_learning.episodes import Episodes
from new_algorithm.gallery.meta_learning.implicit import (
    ImplicitMaml,
    Status,
    stacked_conjugate_gradients,
)
from new_algorithm.gallery.meta_learning.learners import Maml, adapted
from new_algorithm.gallery.meta_learning.training import Tally, meta_train
from tests.gallery.meta_learning.problems import F64, apart, episodes, joined, smooth

WEIGHT = 2.0
EXACT = {"rate": 0.2, "steps": 400, "rtol": 1e-12, "cg_iterations": 200, "tolerance": 1e-6}


def definite(seed, size=6):
    a = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), **F64)
    return a @ a.T / size + 0.1 * torch.eye(size, **F64)


def solve(matrices, rhs, **options):
    stack = torch.stack(matrices)
    options = {"rtol": 1e-10, "max_iterations": 50} | options
    return stacked_conjugate_gradients(
        lambda p: (stack @ p.unsqueeze(2)).squeeze(2), rhs, **options
    )


@pytest.mark.parametrize("iterations", [1, 3, 50])
def test_each_of_the_stacked_solves_is_conjugate_gradients_alone(iterations):
    matrices = [definite(0), 100 * definite(1), torch.eye(6, **F64)]
    rhs = torch.randn(3, 6, generator=torch.Generator().manual_seed(2), **F64)
    found = solve(matrices, rhs, max_iterations=iterations)
    for a, b, x, status, residual in zip(
        matrices, rhs, found.solution, found.status, found.residual, strict=True
    ):
        alone = conjugate_gradients(
            lambda p, a=a: a.numpy() @ p, b.numpy(), rtol=1e-10, max_iterations=iterations
        )
        np.testing.assert_allclose(x.numpy(), alone.solution, rtol=1e-8, atol=1e-10)
        assert Status(int(status)).name.lower() == alone.status
        ratio = alone.residual_norms[-1] / alone.residual_norms[0]
        assert float(residual) == pytest.approx(ratio, rel=1e-6, abs=1e-9)


def test_a_solve_that_fails_is_told_and_harms_no_other():
    saddle = torch.diag(torch.tensor([3.0, 1, 1, 1, 1, -2.0], **F64))
    broken = torch.full((6, 6), torch.nan, **F64)
    rhs = torch.ones(4, 6, **F64)
    rhs[3] = 0
    found = solve([saddle, broken, definite(0), definite(1)], rhs)
    expected = ["NONPOSITIVE_CURVATURE", "NOT_FINITE", "CONVERGED", "CONVERGED"]
    assert [Status(int(status)).name for status in found.status] == expected
    torch.testing.assert_close(found.solution[2], torch.linalg.solve(definite(0), rhs[2]))
    assert not found.solution[3].any()


def nearly(model, theta, task):
    """Numbers in a row near the minimum that descent finds: there may be others."""
    learner = ImplicitMaml(model, WEIGHT, 0.2, 100)
    return joined(adapted(learner, theta, task.x, task.y)).detach()


def proximal_minimum(model, theta, task, start):
    """φ* of one task as numbers in a row, by Newton's method from nearby."""
    centre = joined(theta)

    def inner(phi):
        losses = model.losses(apart(phi, theta), task.x, task.y)
        return losses.sum() + WEIGHT / 2 * (phi - centre).square().sum()

    phi = start
    for _ in range(4):
        phi = phi - torch.linalg.solve(hessian(inner)(phi), grad(inner)(phi))
    return phi


@pytest.mark.parametrize("classes", [0, 3])
def test_implicit_gradient_is_that_of_finite_differences_through_the_minimum(classes):
    model, theta = smooth(classes=bool(classes), outputs=classes or 1, hidden=3)
    tasks = episodes(classes=classes)

    starts = [nearly(model, theta, task) for task in tasks.parts(1)]

    def after(theta):
        losses = []
        for task, start in zip(tasks.parts(1), starts, strict=True):
            phi = apart(proximal_minimum(model, theta, task, start), theta)
            losses.append(model.losses(phi, task.new_x, task.new_y))
        return torch.cat(losses).mean()

    found = ImplicitMaml(model, WEIGHT, **EXACT).meta_gradient(theta, tasks)
    assert found.facts["left_out_fraction"] == 0
    torch.testing.assert_close(found.losses.mean(), after(theta).detach())
    gradient, numbers, step = joined(found.gradient), joined(theta), 1e-4
    draw = torch.Generator().manual_seed(0)
    for _ in range(3):
        direction = torch.randn(len(numbers), generator=draw, **F64)
        ends = [after(apart(numbers + sign * step * direction, theta)) for sign in (1, -1)]
        slope = float(ends[0] - ends[1]) / (2 * step)
        assert abs(float(gradient @ direction) - slope) < 1e-6 * gradient.norm() * direction.norm()


def test_implicit_gradient_is_that_of_dense_solves_and_of_the_general_form():
    model, theta = smooth()
    tasks, learner = episodes(), ImplicitMaml(smooth()[0], WEIGHT, **EXACT)
    expected, general = torch.zeros_like(joined(theta)), torch.zeros_like(joined(theta))
    for task in tasks.parts(1):
        phi = proximal_minimum(model, theta, task, nearly(model, theta, task))

        def loss(phi, x=task.x, y=task.y):
            return model.losses(apart(phi, theta), x, y).sum()

        towards = grad(lambda phi, t=task: model.losses(apart(phi, theta), t.new_x, t.new_y).sum())
        system = torch.eye(len(phi), **F64) + hessian(loss)(phi) / WEIGHT
        expected += torch.linalg.solve(system, towards(phi)) / 3

        def inner(phi, theta, x=task.x, y=task.y):
            away = joined(phi) - joined(theta)
            return model.losses(phi, x, y).sum() + WEIGHT / 2 * away.square().sum()

        def outer(phi, theta, x=task.new_x, y=task.new_y):
            return model.losses(phi, x, y).sum()

        whole = hypergradient(outer, inner, apart(phi, theta), theta, rtol=1e-12)
        general += joined(whole.gradient) / 3
    found = joined(learner.meta_gradient(theta, tasks).gradient)
    assert (found - expected).norm() < 1e-6 * expected.norm()
    assert (found - general).norm() < 1e-6 * expected.norm()


def kept_for_backward(learner, theta, tasks):
    """Bytes that autograd holds at most for backward passes, each storage once."""
    alive, most = {}, 0

    class Held:
        def __init__(self, tensor):
            nonlocal most
            self.tensor, self.key = tensor, tensor.untyped_storage().data_ptr()
            count, size = alive.get(self.key, (0, tensor.untyped_storage().nbytes()))
            alive[self.key] = count + 1, size
            most = max(most, sum(size for _, size in alive.values()))

        def __del__(self):
            count, size = alive.pop(self.key)
            if count > 1:
                alive[self.key] = count - 1, size

    with saved_tensors_hooks(Held, lambda held: held.tensor):
        learner.meta_gradient(theta, tasks)
    return most


def test_memory_is_constant_in_the_inner_steps_where_that_of_maml_grows():
    model, theta = smooth()
    tasks = episodes()
    implicit, maml = (
        [kept_for_backward(learner(steps), theta, tasks) for steps in (2, 8, 32)]
        for learner in (
            lambda steps: ImplicitMaml(model, WEIGHT, 0.1, steps, tolerance=10.0),
            lambda steps: Maml(model, 0.1, steps),
        )
    )
    assert implicit[0] > 0
    assert implicit == [implicit[0]] * 3
    assert maml[2] > 3 * maml[1] > 6 * maml[0]


@dataclass
class Bowls:
    """Stands in for a model: the loss of a task is ½ Σ x φ² of learnt, y φ of new rows."""

    def losses(self, phi, x, y):
        bowl = (x[:, :, 0] * phi["phi"].square()).sum(1) / 2
        return bowl + (y[:, :, 0] * phi["phi"]).sum(1)


def bowls(*curvatures):
    x = torch.tensor(curvatures, **F64).unsqueeze(2)
    zeros = torch.zeros_like(x)
    return Episodes(x, zeros, zeros, torch.ones_like(x))


def test_a_task_whose_inner_solution_is_no_minimum_is_left_out_and_counted():
    theta = {"phi": torch.tensor([0.0, 1.0], **F64)}
    learner = ImplicitMaml(Bowls(), WEIGHT, 0.1, 200, rtol=1e-12)
    tasks = bowls([1.0, 1.0], [-5.0, 1.0])  # the second is at a saddle, its gradient zero there
    found = learner.meta_gradient(theta, tasks)
    # (I + diag(1, 1)/λ)⁻¹ (1, 1) of the first alone
    expected = torch.full((2,), WEIGHT / (WEIGHT + 1), **F64)
    torch.testing.assert_close(found.gradient["phi"], expected)
    assert found.facts["solve_nonpositive_curvature_fraction"] == 0.5
    assert found.facts["left_out_fraction"] == 0.5
    assert found.facts["not_stationary_fraction"] == 0.0


def test_a_task_that_is_not_solved_is_left_out_and_counted():
    theta = {"phi": torch.tensor([0.0, 1.0], **F64)}
    found = ImplicitMaml(Bowls(), WEIGHT, 1e-9, 1).meta_gradient(theta, bowls([1.0, 1.0]))
    assert found.gradient is None
    assert found.facts["not_stationary_fraction"] == 1.0
    assert found.facts["stationarity"] == pytest.approx(1.0, abs=1e-6)


def test_an_iteration_without_a_single_minimum_changes_nothing_and_is_counted():
    theta = {"phi": torch.tensor([0.0, 1.0], **F64)}
    start = theta["phi"].clone()
    learner, tasks = ImplicitMaml(Bowls(), WEIGHT, 0.1, 50), bowls([-5.0, 1.0])
    options = {"iterations": 3, "tasks": 1, "lr": 0.1}
    drawn = meta_train(learner, theta, lambda *_: tasks, np.random.default_rng(0), **options)
    tally = Tally.of(drawn)
    assert torch.equal(theta["phi"], start)
    assert tally.facts["skipped_iterations"] == 3
    assert tally.facts["left_out_fraction"] == 1.0


def test_descent_never_raises_what_it_minimises():
    model, theta = smooth()
    tasks = episodes()
    tasks = replace(tasks, y=30 * tasks.y)  # steep: the first rate is too large
    learner = ImplicitMaml(model, WEIGHT, rate=1.0, steps=1)
    values = []
    for _, now in zip(range(40), learner.path(theta, tasks.x, tasks.y), strict=False):
        away = sum((now[n] - theta[n]).square().flatten(1).sum(1) for n in theta)
        values.append(model.losses(now, tasks.x, tasks.y).detach() + WEIGHT / 2 * away.detach())
    falls = torch.stack(values).diff(dim=0)
    assert (falls <= 1e-12).all()
    assert (values[-1] < 0.9 * values[0]).all()
