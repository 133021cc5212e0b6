"""Meta-gradients against finite differences and plain loops; the read-out against dense solves."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch.func import functional_call, hessian
from torch.nn import functional as F  # noqa: N812

from new_algorithm.back_projection.layer_problem import objective
from new_algorithm.gallery.meta_learning.learners import (
    LayerProblem,
    Maml,
    Reptile,
    adapted,
    solved_read_out,
)
from tests.gallery.meta_learning.problems import F64, apart, episodes, joined, one, slopes, smooth


def plain_loss(model, theta, x, y):
    """The loss of one task, written with the body as a module and torch's own losses."""
    body = {n.removeprefix("body."): v for n, v in theta.items() if n.startswith("body.")}
    hidden = functional_call(model.body, body, (x,))
    outputs = hidden @ theta["read_out"][:-1] + theta["read_out"][-1]
    return F.cross_entropy(outputs, y) if model.classes else F.mse_loss(outputs, y)


def plain_steps(model, theta, x, y, rate, steps):
    """One task's gradient steps, by a loop."""
    phi = {name: value.clone().requires_grad_() for name, value in theta.items()}
    for _ in range(steps):
        found = torch.autograd.grad(plain_loss(model, phi, x, y), list(phi.values()))
        pairs = zip(phi.items(), found, strict=True)
        phi = {name: (value - rate * slope).detach() for (name, value), slope in pairs}
        phi = {name: value.requires_grad_() for name, value in phi.items()}
    return phi


@pytest.mark.parametrize("classes", [0, 3])
def test_stacked_tasks_are_each_as_if_alone(classes):
    model, theta = smooth(classes=bool(classes), outputs=classes or 1)
    tasks = episodes(classes=classes)
    alone = [plain_loss(model, theta, x, y) for x, y in zip(tasks.x, tasks.y, strict=True)]
    found = model.losses(theta, tasks.x, tasks.y)
    torch.testing.assert_close(found, torch.stack(alone), rtol=1e-12, atol=0)
    phi = adapted(Maml(model, 0.1, 2), theta, tasks.x, tasks.y)
    for task, (x, y) in enumerate(zip(tasks.x, tasks.y, strict=True)):
        of_task = joined({name: value[task] for name, value in phi.items()})
        expected = joined(plain_steps(model, theta, x, y, 0.1, 2))
        torch.testing.assert_close(of_task, expected, rtol=1e-10, atol=1e-12)


def checked_by_differences(learner, theta, tasks):
    """The meta-gradient, which is that of finite differences; these; and the loss of θ."""

    def after(theta):
        phi = adapted(learner, theta, tasks.x, tasks.y)
        return learner.model.losses(phi, tasks.new_x, tasks.new_y).mean()

    found = learner.meta_gradient(theta, tasks)
    expected = slopes(after, theta)
    torch.testing.assert_close(joined(found.gradient), expected, rtol=1e-6, atol=1e-9)
    return found, expected, after


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("steps", [1, 3])
def test_maml_of_second_order_has_the_slopes_of_the_loss_after_adaptation(classes, steps):
    model, theta = smooth(classes=bool(classes), outputs=classes or 1)
    tasks, learner = episodes(classes=classes), Maml(model, 0.3, steps)

    found, expected, after = checked_by_differences(learner, theta, tasks)
    torch.testing.assert_close(found.losses.mean(), after(theta).detach())
    first = replace(learner, second_order=False).meta_gradient(theta, tasks)
    assert (joined(first.gradient) - expected).norm() > 1e-2 * expected.norm()


def test_maml_of_first_order_is_the_gradient_at_phi():
    model, theta = smooth()
    tasks, learner = episodes(), Maml(model, 0.3, 2, second_order=False)
    expected = torch.zeros_like(joined(theta))
    for task in range(3):
        small = one(tasks, task)
        phi = plain_steps(model, theta, small.x[0], small.y[0], 0.3, 2)
        loss = plain_loss(model, phi, small.new_x[0], small.new_y[0])
        expected += joined(dict(enumerate(torch.autograd.grad(loss, list(phi.values()))))) / 3
    found = joined(learner.meta_gradient(theta, tasks).gradient)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_one_step_of_second_order_is_that_of_first_order_times_one_minus_the_hessian():
    model, theta = smooth()
    task, rate = one(episodes(), 0), 0.3
    first, second = (
        joined(Maml(model, rate, 1, order).meta_gradient(theta, task).gradient)
        for order in (False, True)
    )
    dense = hessian(lambda t: plain_loss(model, apart(t, theta), task.x[0], task.y[0]))
    expected = first - rate * dense(joined(theta)) @ first
    torch.testing.assert_close(second, expected, rtol=1e-9, atol=1e-12)


def test_reptile_is_a_plain_loop():
    model, theta = smooth()
    tasks = episodes()
    expected, losses = torch.zeros_like(joined(theta)), []
    for task in range(3):
        small = one(tasks, task)
        x = torch.cat((small.x[0], small.new_x[0]))
        y = torch.cat((small.y[0], small.new_y[0]))
        phi = plain_steps(model, theta, x, y, 0.2, 4)
        expected += (joined(theta) - joined(phi)).detach() / 3
        losses.append(plain_loss(model, phi, x, y).detach())
    found = Reptile(model, 0.2, 4).meta_gradient(theta, tasks)
    torch.testing.assert_close(joined(found.gradient), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.losses, torch.stack(losses))


def read_out_problem(rows, width=5, outputs=2, seed=0):
    """H̃ and Y of two tasks, W̃₀, λ."""
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(2, rows, width, generator=draw, **F64)
    hidden[..., -1] = 1
    targets = torch.randn(2, rows, outputs, generator=draw, **F64)
    start = torch.randn(width, outputs, generator=draw, **F64)
    return hidden, targets, start, torch.tensor(0.3, **F64)


@pytest.mark.parametrize("rows", [3, 5, 9])  # fewer than columns, as many, more
def test_read_out_is_the_ridge_solution_of_a_dense_least_squares_problem(rows):
    hidden, targets, start, penalty = read_out_problem(rows)
    found = solved_read_out(hidden, targets, start, penalty)
    for h, y, w in zip(hidden, targets, found, strict=True):
        above = torch.cat((h, (rows * penalty).sqrt() * torch.eye(5, **F64)))
        below = torch.cat((y - h @ start, torch.zeros(5, 2, **F64)))
        expected = start + torch.linalg.lstsq(above, below).solution
        torch.testing.assert_close(w, expected, rtol=1e-10, atol=1e-12)


def test_read_out_minimises_the_layer_problem():
    hidden, targets, start, penalty = read_out_problem(4)
    found = solved_read_out(hidden, targets, start, penalty)
    weight, h, y = (value.numpy() for value in (start, hidden[0], targets[0]))
    delta, still = y - h @ weight, 0 * h[:, :-1]

    def value(change):
        return objective(h, weight, delta, float(penalty), torch.inf, change, still)

    change = (found[0] - start).numpy()
    draw = torch.Generator().manual_seed(1)
    for _ in range(20):
        away = torch.randn(change.shape, generator=draw, **F64).numpy()
        assert value(change + 1e-3 * away) > value(change)
        assert abs(value(change + 1e-6 * away) - value(change)) < 1e-10


def test_primal_and_dual_form_are_the_same():
    """A column of zeros changes no output, and makes the dual form of what was the primal one."""
    hidden, targets, start, penalty = read_out_problem(5)
    primal = solved_read_out(hidden, targets, start, penalty)
    wide = torch.cat((0 * hidden[..., :1], hidden), -1)
    dual = solved_read_out(wide, targets, torch.cat((start[:1], start)), penalty)
    torch.testing.assert_close(dual[:, 1:], primal, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(dual[:, 0], start[:1].expand(2, -1))


@pytest.mark.parametrize("rows", [3, 9])
def test_read_out_has_the_derivatives_of_finite_differences(rows):
    inputs = [value.requires_grad_() for value in read_out_problem(rows)]
    assert torch.autograd.gradcheck(solved_read_out, inputs)


@pytest.mark.parametrize("warm", [0, 2])
@pytest.mark.parametrize("classes", [0, 3])
def test_the_layer_problem_has_the_slopes_of_the_loss_after_it(warm, classes):
    model, theta = smooth(classes=bool(classes), outputs=classes or 1)
    tasks = episodes(classes=classes)
    learner = LayerProblem(model, rate=0.2, warm=warm)
    theta = learner.start(theta)
    learnt = {"log_penalty": True, "log_scale": bool(classes), "log_rate": bool(warm)}
    assert {name for name in theta if "log_" in name} == {n for n, yes in learnt.items() if yes}

    found, _, _ = checked_by_differences(learner, theta, tasks)
    for name, yes in learnt.items():
        assert not yes or found.gradient[name].abs() > 1e-6


def test_tasks_that_are_linear_in_the_features_are_solved_exactly():
    model, theta = smooth()
    tasks = episodes(rows=12)
    draw = torch.Generator().manual_seed(3)
    weight = torch.randn(3, 6, 1, generator=draw, **F64)
    y, new_y = (model.hidden(theta, x).detach() @ weight for x in (tasks.x, tasks.new_x))
    tasks = replace(tasks, y=y, new_y=new_y)
    learner = LayerProblem(model, penalty=1e-12)
    before, after = islice(learner.path(learner.start(theta), tasks.x, tasks.y), 2)
    assert model.losses(before, tasks.new_x, tasks.new_y).min() > 1e-2
    assert model.losses(after, tasks.new_x, tasks.new_y).max() < 1e-8
