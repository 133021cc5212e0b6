"""How far a step goes, and what is learnt from it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from new_algorithm.back_projection.step_control import FixedStep, LossWatch, TrustRegion

LOSS = 2.0


def region(**settings: float) -> TrustRegion:
    """Room for the bound on both sides."""
    return TrustRegion(**{"bound": 3e-3, "floor": 1e-6, "ceiling": 1.0} | settings)


def judged(control: TrustRegion, curvature: float, scale: float = 1.0) -> bool:
    """Step by `scale` along f(t) = f_0 − t + c t²/2, a full step being t = 0.1."""
    t = 0.1 * scale
    return control.judge(t, LOSS, LOSS - t + curvature * t**2 / 2, scale)


def growth(ratio: float, **settings: float) -> float:
    """Of the bound's logarithm, by a full step of that ratio of actual to predicted decrease."""
    control = region(**settings)
    before = control.bound
    assert control.judge(0.1, LOSS, LOSS - 0.1 * ratio, 1.0)
    return math.log(control.bound / before)


@given(
    slope=st.floats(1e-12, 1e12),
    bound=st.floats(1e-9, 1.0),
    longest=st.sampled_from([1.0, 7.0, math.inf]),
)
def test_step_size_meets_the_bound_or_is_the_longest(slope, bound, longest):
    eta = TrustRegion(bound=bound, longest=longest).step_size(slope)
    assert 0 < eta <= longest
    assert eta**2 * slope <= bound * (1 + 1e-12)
    assert eta == longest or eta**2 * slope == pytest.approx(bound)


def test_a_state_from_before_there_was_a_longest_step_has_had_one():
    control, state = TrustRegion(longest=math.inf), TrustRegion(bound=0.2).state_dict()
    del state["longest"]
    control.load_state_dict(state)
    assert (control.bound, control.longest) == (0.2, 1.0)


@pytest.mark.parametrize("slope", [0.0, -1.0, math.nan])
def test_nothing_promised_is_no_step(slope):
    assert TrustRegion().step_size(slope) == 0.0


@pytest.mark.parametrize("curvature", [-1.0, 0.0, 3.0, 10.0, 14.0, 20.0])
@pytest.mark.parametrize("scale", [0.02, 0.1, 0.5])
def test_scaled_step_teaches_what_the_full_one_would(scale, curvature):
    whole, part = region(), region()
    assert judged(whole, curvature)
    assert judged(part, curvature, scale)
    assert part.bound == pytest.approx(whole.bound)


@pytest.mark.parametrize(("curvature", "shortfall"), [(0.0, 0.0), (10.0, 0.5), (20.0, 1.0)])
def test_log_bound_follows_the_shortfall_of_a_parabola(curvature, shortfall):
    # c t/2 of the slope: a half at the parabola's minimum, all of it at twice that
    control = region()
    assert judged(control, curvature)
    expected = control.gain * (1 - shortfall / control.wanted_shortfall)
    assert math.log(control.bound / region().bound) == pytest.approx(expected)


def test_wanted_shortfall_keeps_the_bound():
    assert growth(1 - TrustRegion().wanted_shortfall) == pytest.approx(0.0, abs=1e-12)
    assert growth(0.9, wanted_shortfall=0.1) == pytest.approx(0.0, abs=1e-12)


def test_more_decrease_never_lowers_the_bound_and_the_gain_limits_it():
    found = [growth(ratio) for ratio in np.linspace(-3, 3, 50)]
    assert (np.diff(found) >= 0).all()
    gain = TrustRegion().gain
    assert found[0] == pytest.approx(-gain)
    assert found[-1] == pytest.approx(gain)


def test_bound_rises_to_the_ceiling_on_a_straight_decrease_and_falls_on_overshoot():
    control, bounds = TrustRegion(), []
    for _ in range(40):
        assert judged(control, 0.0)
        bounds.append(control.bound)
    climbing = [bound for bound in bounds if bound < control.ceiling]
    assert len(climbing) > 3
    assert (np.diff(climbing) > 0).all()
    assert bounds[-1] == control.ceiling
    for _ in range(100):
        assert judged(control, 25.0)
    assert control.floor <= control.bound < 1.5 * control.floor


def test_only_rollbacks_lead_below_the_floor():
    control = TrustRegion()
    control.shrink()
    below = control.bound
    assert below < control.floor
    assert judged(control, 25.0)
    assert control.bound == below
    assert judged(control, 0.0)
    assert control.bound > below


def test_bound_settles_where_the_shortfall_is_the_wanted_one():
    # a step of squared length b goes t = √b along a parabola of slope 1: shortfall c t / 2
    control, curvature = region(bound=1e-5), 20.0
    for _ in range(200):
        t = math.sqrt(control.bound)
        control.judge(t, LOSS, LOSS - t + curvature * t**2 / 2, 1.0)
    expected = 2 * control.wanted_shortfall / curvature
    assert math.sqrt(control.bound) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("after", [math.nan, math.inf, LOSS * 1.5 + 1e-9, 1e300])
def test_step_that_makes_the_loss_much_worse_is_not_kept(after):
    control = TrustRegion(damping=3.0)
    before = control.numbers()
    assert control.judge(0.1, LOSS, after, 1.0) is False
    assert control.numbers() == before, "a rollback is what changes them"


@pytest.mark.parametrize("after", [0.0, LOSS, 1.5 * LOSS])
def test_other_steps_are_kept(after):
    assert TrustRegion().judge(0.1, LOSS, after, 1.0) is True


def test_step_that_lowers_the_loss_of_a_hard_batch_is_kept():
    control = TrustRegion()
    for loss in np.geomspace(LOSS, 0.01, 60):
        assert control.judge(0.1, loss, loss, 1.0)
    assert control.judge(0.1, 0.8 * LOSS, 0.7 * LOSS, 1.0) is True


def test_harm_done_before_the_step_is_seen_in_the_smoothed_loss():
    control = TrustRegion()
    assert control.judge(0.1, LOSS, LOSS, 1.0)
    assert control.judge(0.1, 20 * LOSS, 19 * LOSS, 1.0) is False
    assert control.judge(0.1, LOSS, LOSS, 1.0) is True, "back at the last good weights"


def test_slow_rise_over_many_steps_is_not_kept_either():
    control, loss, kept = TrustRegion(), LOSS, 0
    while kept < 1_000 and control.judge(0.1, loss, 1.01 * loss, 1.0):
        loss, kept = 1.01 * loss, kept + 1
    assert 1.5 * LOSS < loss < 1.7 * LOSS, "the smoothed loss is ten steps behind"


def test_lowest_loss_is_smoothed_so_that_one_easy_batch_says_little():
    control = TrustRegion()
    assert control.judge(0.1, LOSS, LOSS, 1.0)
    assert control.judge(0.1, LOSS, 0.0, 1.0)
    lowest = control.watch.smoothing * LOSS
    before = lowest - 1.0
    assert control.judge(0.1, before, lowest + 0.5 * LOSS - 1e-9, 1.0) is True
    assert control.judge(0.1, before, lowest + 0.5 * LOSS + 1e-9, 1.0) is False


def test_loss_of_unknown_start_is_not_kept():
    assert TrustRegion().judge(0.1, math.nan, 1.0, 1.0) is False


@pytest.mark.parametrize(("predicted", "scale"), [(0.1, 0.0199), (0.0, 1.0), (-0.1, 1.0)])
def test_steps_that_say_nothing_leave_the_bound(predicted, scale):
    control = region()
    assert control.judge(predicted, LOSS, LOSS - 0.5, scale)
    assert control.bound == region().bound


def test_shrinking_divides_the_bound_and_damps_and_kept_steps_undo_the_damping():
    control = TrustRegion()
    bound = control.bound
    control.shrink()
    control.shrink()
    assert control.numbers() == {"damping": 16.0, "step_bound": bound / 16}
    dampings = []
    for _ in range(40):
        judged(control, 0.0)
        dampings.append(control.damping)
    assert dampings[0] == pytest.approx(16 * control.recovery)
    assert (np.diff(dampings) <= 0).all()
    assert dampings[-1] == 1.0


numbers = st.floats(allow_nan=True, allow_infinity=True)
likely = st.floats(-1e3, 1e3)
steps = st.one_of(
    st.tuples(numbers, numbers, numbers, st.floats(1e-6, 1.0)),
    st.tuples(st.floats(1e-12, 1e3), likely, likely, st.just(1.0)),
)


@given(actions=st.lists(st.none() | steps, max_size=30), slope=numbers)
def test_whatever_happens_bound_and_damping_stay_positive_and_finite(actions, slope):
    control = TrustRegion()
    with np.errstate(all="ignore"):
        for action in actions:
            if action is None:
                control.shrink()
            else:
                control.judge(*action)
            assert 0 < control.bound <= control.ceiling
            assert 1 <= control.damping < math.inf
            assert 0 <= control.step_size(slope) <= 1


def test_fixed_step_is_fixed_and_watches_the_loss():
    control = FixedStep(0.3)
    assert {control.step_size(slope) for slope in (0.0, 1e-9, 1e9)} == {0.3}
    assert control.judge(0.1, 1.0, 1.2, 1.0) is True
    assert control.judge(0.1, 1.0, 1e9, 1.0) is False
    assert control.judge(0.1, 1.0, math.nan, 1.0) is False
    assert control.judge(0.1, 1.0, math.inf, 1.0) is False
    control.shrink()
    assert control.numbers() == {"damping": 4.0}
    assert control.step_size(1.0) == 0.3


@pytest.mark.parametrize("first", [1e-4, 0.05, 0.3])
def test_loss_of_an_easy_first_batch_does_not_set_the_limit_for_the_others(first):
    watch, rng = LossWatch(start=0.7), np.random.default_rng(0)
    assert watch.accepts(first, first)
    kept = [watch.accepts(loss, loss) for loss in rng.exponential(0.7, 200)]
    assert np.mean(kept) > 0.85
