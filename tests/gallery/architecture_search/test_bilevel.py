"""Hypergradients of α: the paper's toy, dense solves, finite differences, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vjp, vmap
from torch.nn import functional as F  # noqa: N812

from new_algorithm.gallery.architecture_search.bilevel import (
    ImplicitSettings,
    first_order,
    implicit,
    proximal,
    second_order,
)
from new_algorithm.gallery.architecture_search.cells import SearchCell
from new_algorithm.gallery.architecture_search.genotypes import all_edges
from new_algorithm.gallery.architecture_search.operations import NAMES
from new_algorithm.gallery.hypergradients import flat, unflat

F64 = {"dtype": torch.float64}


def exact(damping):
    return ImplicitSettings(
        damping, rtol=1e-10, cg_iterations=200, newton_steps=20, stationarity=1e-6
    )


def toy_val(w, alpha):
    return (alpha["a"] * w["w"] - 2 * alpha["a"] + 1).sum()


def toy_train(w, alpha):
    return (w["w"].square() - 2 * alpha["a"] * w["w"] + alpha["a"].square()).sum()


def toy(hypergradient, steps=50):
    """Gradient descent in turn, from (α, w) = (2, −2); of w, whose step ends at its minimum."""
    w, alpha = {"w": torch.tensor([-2.0], **F64)}, {"a": torch.tensor([2.0], **F64)}
    for _ in range(steps):
        alpha = {"a": alpha["a"] - 0.3 * hypergradient(w, alpha)["a"]}
        w = {"w": w["w"] - 0.5 * grad(toy_train)(w, alpha)["w"]}
    return float(alpha["a"]), float(w["w"])


def test_toy_of_the_paper():
    """Its solution is (1, 1), where w* = α and L_val = (α − 1)²; ∂L_val/∂α = w − 2 is 0 at 2."""
    assert toy(lambda w, a: first_order(toy_val, w, a)) == pytest.approx((2, 2), abs=1e-6)
    # ξ = 1/2 steps to the minimum of L_train, whose second derivative is 2
    assert toy(lambda w, a: second_order(toy_val, toy_train, w, a, 0.5)) == pytest.approx(
        (1, 1), abs=1e-6
    )
    assert toy(
        lambda w, a: implicit(toy_val, toy_train, w, a, exact(0.0)).gradient
    ) == pytest.approx((1, 1), abs=1e-6)


@pytest.mark.parametrize("size", [0.1, 1.0, 7.0])
def test_steps_that_are_too_short_end_where_theory_says(size):
    """At rest w = α. Explicit steps: dw'/dα = 2ξ, so α − 2 + 2ξα = 0. Implicit ones with ρ = 1/ξ:
    dw⁺/dα = 2/(2 + ρ)."""
    xi = size / 10  # steps of more than 1/2 would overshoot
    found = toy(lambda w, a: second_order(toy_val, toy_train, w, a, xi))
    assert found == pytest.approx((2 / (1 + 2 * xi),) * 2, abs=1e-6)
    found = toy(lambda w, a: implicit(toy_val, toy_train, w, a, exact(size)).gradient)
    assert found == pytest.approx((2 / (1 + 2 / (2 + size)),) * 2, abs=1e-6)


class Small(nn.Module):
    """A reduction cell of one inner node with all operations on both of its edges, and a linear
    layer: 763 weights."""

    def __init__(self):
        super().__init__()
        self.stem, self.cell = nn.Conv2d(1, 2, 3, bias=False), SearchCell(2, 2, 1)
        self.head = nn.Linear(2, 3)

    def forward(self, x, alpha):
        x = self.stem(x)
        return self.head(self.cell([x, x], alpha.softmax(-1)).square().mean((2, 3)))


@pytest.fixture(scope="module")
def mixture():
    """val, train, w and α, in float64."""
    torch.manual_seed(0)
    network = Small().double()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 12, 1, 8, 8, generator=generator, **F64)
    labels = torch.randint(0, 3, (2, 12), generator=generator)

    def loss_on(part):
        def loss(w, alpha):
            logits = functional_call(network, dict(w), (images[part], alpha["a"]))
            return F.cross_entropy(logits, labels[part])

        return loss

    w = {name: value.detach() for name, value in network.named_parameters()}
    alpha = torch.randn(len(all_edges(1)), len(NAMES), generator=generator, **F64)
    return loss_on(1), loss_on(0), w, {"a": alpha}


def differences(function, alpha, step=1e-5):
    """Central differences in a few of α's numbers, with the places of these."""
    flat_alpha = flat(alpha)
    places = range(0, len(flat_alpha), 7)
    slopes = []
    for place in places:
        ends = []
        for sign in (1, -1):
            moved = flat_alpha.copy()
            moved[place] += sign * step
            ends.append(float(function(unflat(moved, alpha))))
        slopes.append((ends[0] - ends[1]) / (2 * step))
    return slopes, list(places)


def test_first_order_holds_the_weights(mixture):
    val, _, w, alpha = mixture
    slopes, places = differences(lambda alpha: val(w, alpha), alpha)
    np.testing.assert_allclose(flat(first_order(val, w, alpha))[places], slopes, atol=1e-8)


def test_second_order_is_the_papers_up_to_its_finite_differences(mixture):
    """Equations 7 and 8: ∂L_val/∂α at w' − ξ (∂L_train/∂α at w⁺ − the same at w⁻)/(2ε), with
    w± = w ± ε ∂L_val/∂w'."""
    val, train, w, alpha = mixture
    xi = 0.05
    slope = grad(train)(w, alpha)
    stepped = {name: value - xi * slope[name] for name, value in w.items()}
    towards_w, towards_alpha = grad(val, argnums=(0, 1))(stepped, alpha)
    epsilon = 1e-4 / np.linalg.norm(flat(towards_w))  # 1e-2 in the paper
    ends = [
        {name: value + sign * epsilon * towards_w[name] for name, value in w.items()}
        for sign in (1, -1)
    ]
    at_ends = [flat(grad(train, argnums=1)(end, alpha)) for end in ends]
    expected = flat(towards_alpha) - xi * (at_ends[0] - at_ends[1]) / (2 * epsilon)
    found = flat(second_order(val, train, w, alpha, xi))
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert np.abs(expected - flat(towards_alpha)).max() > 1e-3  # the last term is not 0


def dense_hessian(function, w):
    times_hessian = vjp(grad(function), w)[1]
    units = torch.eye(sum(value.numel() for value in w.values()), **F64)
    parts = units.split([value.numel() for value in w.values()], 1)
    units = {name: part.unflatten(1, w[name].shape) for name, part in zip(w, parts, strict=True)}
    rows = vmap(lambda unit: times_hessian(unit)[0], chunk_size=128)(units)
    return torch.cat([rows[name].flatten(1) for name in w], 1).numpy()


def test_implicit_is_what_a_dense_solve_gives(mixture):
    """H is indefinite (−4.2 to 4.5), and positive definite with the damping."""
    val, train, w, alpha = mixture
    found = implicit(val, train, w, alpha, ImplicitSettings(10.0, rtol=1e-10, cg_iterations=200))
    assert found.trouble is None
    inner, point = proximal(train, w, 10.0), found.minimum
    sizes = [np.linalg.norm(flat(grad(inner)(at, alpha))) for at in (point, w)]
    assert found.stationarity == pytest.approx(sizes[0] / sizes[1], rel=1e-9)
    assert found.stationarity < 0.1
    towards_w, direct = grad(val, argnums=(0, 1))(point, alpha)
    hessian = dense_hessian(lambda w: inner(w, alpha), point)
    assert np.linalg.eigvalsh(hessian)[0] > 0
    v = unflat(np.linalg.solve(hessian, flat(towards_w)), w)

    def along_v(alpha):
        slope = grad(inner)(point, alpha)
        return sum((slope[name] * v[name]).sum() for name in v)

    expected = flat(direct) - flat(grad(along_v)(alpha))
    np.testing.assert_allclose(flat(found.gradient), expected, rtol=1e-7, atol=1e-10)
    for other in (direct, second_order(val, train, w, alpha, 0.1)):  # it does matter
        assert np.linalg.norm(expected - flat(other)) > 0.02 * np.linalg.norm(expected)


def test_without_a_minimum_there_is_no_gradient(mixture):
    val, train, w, alpha = mixture
    found = implicit(val, train, w, alpha, ImplicitSettings(1.0))
    assert found.gradient is None
    assert found.trouble == "negative curvature"


@pytest.mark.parametrize(
    ("trouble", "settings"),
    [
        ("not stationary", {"newton_steps": 1, "stationarity": 1e-9}),
        ("system not solved", {"rtol": 1e-9, "cg_iterations": 2}),
    ],
)
def test_each_condition_is_told(mixture, trouble, settings):
    val, train, w, alpha = mixture
    found = implicit(val, train, w, alpha, ImplicitSettings(10.0, **settings))
    assert (found.gradient, found.trouble) == (None, trouble)


def test_weights_that_are_not_finite_are_told(mixture):
    val, train, w, alpha = mixture
    broken = {name: value * float("nan") for name, value in w.items()}
    found = implicit(val, train, broken, alpha, ImplicitSettings(10.0))
    assert (found.gradient, found.trouble) == (None, "not finite")


def test_with_more_damping_it_comes_to_second_order_then_to_first(mixture):
    val, train, w, alpha = mixture
    near, far = (
        flat(implicit(val, train, w, alpha, ImplicitSettings(rho, rtol=1e-9)).gradient)
        for rho in (1e4, 1e8)
    )
    first = flat(first_order(val, w, alpha))
    second = flat(second_order(val, train, w, alpha, 1e-4))
    assert np.linalg.norm(near - second) < 0.02 * np.linalg.norm(near - first)
    np.testing.assert_allclose(far, first, atol=1e-7)
