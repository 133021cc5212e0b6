"""What makes steps of changes: torch's optimizers as oracles, and the SVD for polar factors."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from new_algorithm.back_projection import outer_steps
from new_algorithm.back_projection.network import FlatParameters
from new_algorithm.back_projection.outer_steps import (
    OUTER,
    Orthogonal,
    OuterStep,
    inverse_root,
    orthogonal,
)
from tests.back_projection.problems import assert_near

SHAPES = [(4, 3), (3, 5)]
# the range to which the quintics bring singular values in [0.005, 1]
LEAST, MOST = 0.917, 1.083


def drawn(rng, scale=1.0):
    return [scale * rng.standard_normal(shape) for shape in SHAPES]


def step(outer: OuterStep, changes: list) -> None:
    """One update with these changes, or with these moments of layers solved with A = I."""
    flat = FlatParameters.of(changes)
    if isinstance(outer, Orthogonal):
        flat = outer.right_side(flat)
    outer.update(flat, 0.1)


TORCH = {
    "momentum": lambda leaves: torch.optim.SGD(leaves, lr=1.0, momentum=0.8),
    "nesterov": lambda leaves: torch.optim.SGD(leaves, lr=1.0, momentum=0.8, nesterov=True),
    "adam": lambda leaves: torch.optim.Adam(leaves, lr=0.3, betas=(0.8, 0.99), eps=1e-12),
}


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("outer", TORCH)
def test_steps_are_those_of_torch_with_the_changes_for_minus_the_gradients(outer, one_by_one):
    rng = np.random.default_rng(0)
    start = drawn(rng)
    weights = FlatParameters.of(start)
    leaves = [torch.tensor(one, requires_grad=True) for one in start]
    theirs, ours = TORCH[outer](leaves), OUTER[outer](weights, 0.8)
    for _ in range(6):
        changes = drawn(rng)
        for layer in (1, 0) if one_by_one else (None,):
            # 0.3 of a change within V is 0.3 of V where it is constant, as in torch
            ours.update(FlatParameters.of(changes), 0.3, layer)
        weights.add(1.0, ours.direction)
        factor = 1.0 if outer == "adam" else 0.3
        for leaf, change in zip(leaves, changes, strict=True):
            leaf.grad = torch.from_numpy(-factor * change)
        theirs.step()
        for leaf, weight in zip(leaves, weights.matrices, strict=True):
            assert_near(weight, leaf.detach().numpy(), 1e-7)


@pytest.mark.parametrize("outer", OUTER)
def test_after_a_rollback_steps_are_those_of_a_new_one(outer):
    rng = np.random.default_rng(1)
    weights = FlatParameters.of(drawn(rng))
    used, fresh = OUTER[outer](weights, 0.9), OUTER[outer](weights, 0.9)
    for _ in range(3):
        step(used, drawn(rng))
    used.forget()
    changes = drawn(rng)
    for one in used, fresh:
        step(one, changes)
    np.testing.assert_array_equal(used.direction.flat, fresh.direction.flat)


@pytest.mark.parametrize("outer", OUTER)
def test_a_rotated_input_takes_rotated_steps(outer):
    rng = np.random.default_rng(2)
    signs = np.diag([1.0, -1.0, -1.0, 1.0])[[2, 0, 1, 3]]  # bases differ by little else
    weights = FlatParameters.of(drawn(rng))
    plain, turned = OUTER[outer](weights, 0.9), OUTER[outer](weights, 0.9)
    turned_changes = []
    for number in range(4):
        if number == 2:
            turned.rotate_input(signs)
        changes = drawn(rng)
        turned_changes = [signs @ changes[0], changes[1]] if number >= 2 else changes
        step(plain, changes)
        step(turned, turned_changes)
    assert_near(turned.direction.matrices[0], signs @ plain.direction.matrices[0])
    assert_near(turned.direction.matrices[1], plain.direction.matrices[1])


def layer(rng, d, m, condition=30.0):
    """A (d, d), its root, M (d, m) of that condition in white coordinates, and U, Vᵀ, κ of it."""
    vectors = np.linalg.qr(rng.standard_normal((d, d)))[0]
    values = np.geomspace(0.1, 10, d)
    root = (vectors * np.sqrt(values)) @ vectors.T
    k = min(d, m)
    u, v = (np.linalg.qr(rng.standard_normal((n, k)))[0] for n in (d, m))
    white = (u * np.geomspace(1, 1 / condition, k)) @ v.T
    return root @ root, root, root @ white, u @ v.T


@pytest.mark.parametrize(("d", "m"), [(6, 6), (9, 4), (4, 9), (7, 1), (1, 5)])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_the_polar_factor_is_that_of_the_svd(d, m, scale):
    a, root, moment, polar = layer(np.random.default_rng(d + m), d, m)
    moment = scale * moment
    found = orthogonal(moment, np.linalg.solve(a, moment))
    white = root @ found / np.sqrt(max(1, m / d))
    # the same singular vectors, and values near 1
    near = polar.T @ white if m <= d else white @ polar.T
    assert_near(near, near.T, 1e-9)
    values = np.linalg.eigvalsh(near)[-min(d, m) :]
    assert LEAST - 1e-3 < values.min() <= values.max() < MOST + 1e-3
    if m >= d:  # nothing outside the row space
        assert_near(white @ polar.T @ polar, white, 1e-9)


@pytest.mark.parametrize("k", [1, 5, 40])
def test_the_inverse_root_is_near_that_by_eigenvectors(k):
    rng = np.random.default_rng(k)
    vectors = np.linalg.qr(rng.standard_normal((k, k)))[0]
    values = np.geomspace(1e-3, 1, k)
    found = inverse_root((vectors * values) @ vectors.T)
    near_one = np.sqrt(values) * np.diag(vectors.T @ found @ vectors)
    assert LEAST - 1e-3 < near_one.min() <= near_one.max() < MOST + 1e-3
    assert np.isfinite(inverse_root(np.zeros((k, k)))).all()


@given(st.integers(0, 10**6))
def test_nothing_of_its_size_promises_a_larger_decrease(seed):
    rng = np.random.default_rng(seed)
    d, m = rng.integers(1, 7, 2)
    a, root, moment, _ = layer(rng, d, m, condition=10.0)
    found = orthogonal(moment, np.linalg.solve(a, moment)) / np.sqrt(max(1, m / d))
    size = np.linalg.norm(root @ found, 2)
    other = rng.standard_normal((d, m))
    other *= size / np.linalg.norm(root @ other, 2)
    # up to the inexactness of the quintics, the steepest descent for a bounded operator norm
    assert np.vdot(found, moment) >= LEAST / MOST * np.vdot(other, moment)
    assert np.vdot(found, moment) > 0


def test_every_output_changes_by_the_step_size():
    rng = np.random.default_rng(3)
    inputs = rng.standard_normal((50, 8))
    for m in 3, 8:
        moment = inputs.T @ rng.standard_normal((50, m))
        change = orthogonal(moment, np.linalg.solve(inputs.T @ inputs / 50, moment))
        sizes = np.sqrt(np.square(inputs @ change).mean(axis=0))
        assert LEAST - 0.01 < sizes.min() <= sizes.max() < MOST + 0.01


def test_wide_layers_are_made_orthogonal_in_blocks_of_outputs(monkeypatch):
    rng = np.random.default_rng(4)
    moment = rng.standard_normal((9, 7))
    blocks = [orthogonal(moment[:, part], moment[:, part]) for part in (slice(3), slice(3, 6))]
    blocks.append(orthogonal(moment[:, 6:], moment[:, 6:]))
    monkeypatch.setattr(outer_steps, "WIDEST", 5)
    monkeypatch.setattr(outer_steps, "BLOCK", 3)
    assert_near(orthogonal(moment, moment), np.hstack(blocks), 1e-12)


def test_no_moment_no_step():
    assert not orthogonal(np.zeros((4, 3)), np.zeros((4, 3))).any()
