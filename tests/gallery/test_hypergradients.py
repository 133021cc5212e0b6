"""Gradients through an inner minimum, against a dense solve, finite differences, closed forms."""

import math

import numpy as np
import pytest
import torch

from new_algorithm.gallery.hypergradients import flat, hypergradient, unflat, what_forbids

F64 = {"dtype": torch.float64}


def forbidden(found, stationary=1e-6, solved=1e-3):
    return what_forbids(found.solve, found.stationarity, stationary=stationary, solved=solved)


def quadratic(seed=0, size=5, outer_size=3):
    """g = ½ φᵀHφ − φᵀ(Cθ) with the minimum φ* = H⁻¹Cθ; F = ½‖φ − t‖² + <u, θ>."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((size, size))
    h = torch.from_numpy(a @ a.T + np.eye(size))
    c = torch.from_numpy(rng.standard_normal((size, outer_size)))
    t, u = (torch.from_numpy(rng.standard_normal(n)) for n in (size, outer_size))

    def inner(phi, theta):
        x = torch.cat([phi["a"], phi["b"].flatten()])
        return x @ h @ x / 2 - x @ c @ theta["theta"]

    def outer(phi, theta):
        x = torch.cat([phi["a"], phi["b"].flatten()])
        return (x - t).square().sum() / 2 + u @ theta["theta"]

    theta = torch.from_numpy(rng.standard_normal(outer_size))
    solution = torch.linalg.solve(h, c @ theta)
    exact = u + c.T @ torch.linalg.solve(h, solution - t)
    phi = {"a": solution[:2], "b": solution[2:].reshape(3, 1)}
    return inner, outer, phi, {"theta": theta}, exact


def test_quadratic_problem_has_the_gradient_of_its_closed_form():
    inner, outer, phi, theta, exact = quadratic()
    found = hypergradient(outer, inner, phi, theta, rtol=1e-12)
    torch.testing.assert_close(found.gradient["theta"], exact, rtol=1e-9, atol=1e-9)
    assert found.solve.status == "converged"
    assert found.solve.relative_residual < 1e-11
    assert forbidden(found, stationary=1e-9) is None


def minimum(inner, phi, theta):
    """Newton's method, by a dense Hessian."""
    phi = phi.clone()
    for _ in range(50):
        gradient = torch.func.grad(lambda p: inner({"phi": p}, theta))(phi)
        hessian = torch.func.hessian(lambda p: inner({"phi": p}, theta))(phi)
        phi = phi - torch.linalg.solve(hessian, gradient)
    return phi


def test_problem_that_is_not_quadratic_agrees_with_finite_differences():
    data = torch.randn(12, 4, generator=torch.Generator().manual_seed(1), **F64)
    labels = (data.sum(1) > 0).double()

    def inner(phi, theta):  # logistic regression, with a weight decay for each coefficient
        fit = torch.nn.functional.binary_cross_entropy_with_logits(data @ phi["phi"], labels)
        return fit + (theta["decay"].exp() * phi["phi"].square()).sum() / 2

    def outer(phi, theta):
        return (phi["phi"] - 1).square().sum() + theta["decay"].square().sum()

    decay = torch.tensor([-1.0, -2.0, -0.5, -1.5], **F64)
    start = torch.zeros(4, **F64)

    def after(decay):
        theta = {"decay": decay}
        return float(outer({"phi": minimum(inner, start, theta)}, theta))

    solution = minimum(inner, start, {"decay": decay})
    found = hypergradient(outer, inner, {"phi": solution}, {"decay": decay}, rtol=1e-12)
    step = 1e-5
    for i in range(4):
        change = torch.zeros(4, **F64)
        change[i] = step
        slope = (after(decay + change) - after(decay - change)) / (2 * step)
        assert math.isclose(float(found.gradient["decay"][i]), slope, rel_tol=1e-6)


def test_what_is_no_minimum_is_told():
    theta = {"theta": torch.ones(2, **F64)}

    def saddle(phi, theta):
        return phi["phi"][0] ** 2 - phi["phi"][1] ** 2

    def outer(phi, theta):
        return phi["phi"].sum()

    at_saddle = hypergradient(outer, saddle, {"phi": torch.zeros(2, **F64)}, theta)
    assert forbidden(at_saddle) == "negative curvature"

    def bowl(phi, theta):
        return phi["phi"].square().sum() + theta["theta"] @ phi["phi"]

    beside = hypergradient(outer, bowl, {"phi": torch.ones(2, **F64)}, theta)
    assert beside.stationarity == pytest.approx(3 * math.sqrt(2))
    assert forbidden(beside, stationary=1e-3) == "not stationary"
    assert forbidden(beside, stationary=5.0) is None
    unsolved = hypergradient(outer, bowl, {"phi": torch.ones(2, **F64)}, theta, max_iterations=0)
    assert forbidden(unsolved, stationary=5.0) == "system not solved"


def test_the_way_to_the_solution_is_not_differentiated():
    inner, outer, phi, theta, exact = quadratic()
    tracked = {name: (value.clone().requires_grad_() * 1.0) for name, value in phi.items()}
    found = hypergradient(outer, inner, tracked, theta, rtol=1e-12)
    assert not found.gradient["theta"].requires_grad
    torch.testing.assert_close(found.gradient["theta"], exact, rtol=1e-9, atol=1e-9)


def test_flat_numbers_return_to_their_places_and_types():
    like = {"a": torch.ones(2, 3), "b": torch.zeros(4, **F64)}
    numbers = np.arange(10.0)
    back = unflat(numbers, like)
    assert [value.dtype for value in back.values()] == [torch.float32, torch.float64]
    np.testing.assert_array_equal(flat(back), numbers)
