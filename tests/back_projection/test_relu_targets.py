"""What a ReLU can make of a wanted hidden change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from new_algorithm.back_projection.relu_targets import RELU_TARGETS, mask, project
from numpy.typing import NDArray

from new_algorithm.back_projection.network import append_ones
from new_algorithm.back_projection.sweep import ReluTarget

finite = st.floats(-10, 10)
pre_activations = hnp.arrays(np.float64, (4, 3), elements=finite)


def hidden_of(z: NDArray) -> NDArray:
    return append_ones(np.maximum(z, 0))


def target_of(relu_target: ReluTarget, wanted: NDArray, hidden: NDArray) -> NDArray:
    """Of δH, which a sweep over n rows keeps as δH/n."""
    made = wanted / len(hidden)
    assert relu_target(made, hidden) is None
    return made * len(hidden)


@given(pre_activations, pre_activations)
def test_mask_is_the_derivative_of_the_relu_times_the_change(z, wanted):
    z = np.where(np.abs(z) < 1e-3, 1.0, z)  # the ReLU has no derivative at 0
    step = 1e-6
    difference = (np.maximum(z + step * wanted, 0) - np.maximum(z - step * wanted, 0)) / (2 * step)
    np.testing.assert_allclose(target_of(mask, wanted, hidden_of(z)), difference, atol=1e-6)


@given(pre_activations, pre_activations)
def test_project_lands_on_the_nearest_activation_that_a_relu_can_have(z, wanted):
    h = np.maximum(z, 0)
    reached = h + target_of(project, wanted, hidden_of(z))
    assert (reached >= -1e-12).all()
    for other in (np.zeros_like(h), h, np.abs(h + wanted)):
        assert np.linalg.norm(h + wanted - reached) <= np.linalg.norm(h + wanted - other) + 1e-12


def test_project_can_revive_a_dead_unit_and_mask_cannot():
    hidden, wanted = hidden_of(np.array([[-1.0]])), np.array([[0.5]])
    assert target_of(project, wanted, hidden) == pytest.approx(0.5)
    assert target_of(mask, wanted, hidden) == 0


@pytest.mark.parametrize("relu_target", RELU_TARGETS.values(), ids=RELU_TARGETS)
def test_hidden_units_are_left_as_they_are(relu_target):
    rng = np.random.default_rng(0)
    hidden, wanted = hidden_of(rng.standard_normal((4, 3))), rng.standard_normal((4, 3))
    before, old = hidden.copy(), wanted.copy()
    relu_target(wanted, hidden)
    np.testing.assert_array_equal(hidden, before)
    assert (wanted != old).any()
