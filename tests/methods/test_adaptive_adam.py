"""Adam that adapts: its three rules by themselves, and its steps beside a slow oracle."""

import copy
import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from new_algorithm.methods.adaptive_adam import WINDOW, AdaptiveAdam, evidence
from new_algorithm.methods.adaptive_adam_sketch import AdaptiveAdamSketch

SHAPES = (5, 3), (3,), (3, 2)


def parameters(seed=0):
    made = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=made, dtype=torch.float64) for shape in SHAPES]


def walk(optimizer, steps, seed=1, scale=1.0, unit=1.0, drift=0.3):
    """Steps on random gradients of mean `drift` and falling random losses, in such units; what is
    drawn depends on the seed alone."""
    rng = np.random.default_rng(seed)
    own = [p for group in optimizer.param_groups for p in group["params"]]
    for number in range(steps):
        for p in own:
            g = drift + rng.standard_normal(p.shape)
            p.grad = torch.from_numpy(scale * np.asarray(g)).to(p.dtype)
        loss = unit * (3 * math.exp(-number / 40) + 0.1 * rng.random())
        optimizer.step(lambda loss=loss: loss)
    return own


def noise(count, seed=0):
    return (1 + 0.1 * np.random.default_rng(seed).standard_normal(count)).tolist()


# Steps.


def test_where_neither_adapts_it_is_torchs_adam():
    options = {"lr": 0.03, "eps": 1e-6}
    ours = AdaptiveAdam(parameters(), rate_range=1.0, momenta=(0.8, 0.8), beta2=0.99, **options)
    theirs = torch.optim.Adam(parameters(), betas=(0.8, 0.99), **options)
    for a, b in zip(walk(ours, 60), walk(theirs, 60), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_steps_are_those_of_the_formulas_entry_by_entry():
    """Beside averages written out as sums over the whole past."""
    lr, least, most, beta2, eps, range_ = 0.02, 0.5, 0.9, 0.99, 1e-8, 3.0
    start, optimizer = parameters(), AdaptiveAdam(parameters(), lr, rate_range=range_)
    group = optimizer.param_groups[0]
    group["momenta"], group["beta2"], group["eps"] = (least, most), beta2, eps
    rng = np.random.default_rng(3)
    seen, losses, momenta = [[] for _ in SHAPES], [], [[] for _ in SHAPES]
    expected = [p.numpy().copy() for p in start]
    for number in range(50):
        losses.append(2 * math.exp(-number / 10) + 0.05 * rng.random())
        for i, p in enumerate(group["params"]):
            drift = (0.4, 0.6, 1.0)[i]
            seen[i].append(drift + rng.standard_normal(p.shape))
            p.grad = torch.from_numpy(seen[i][-1].copy())
        optimizer.step(lambda: losses[-1])
        rate = lr * range_ ** evidence(losses[-WINDOW:])
        for i, history in enumerate(seen):
            signal = power = 0.0
            for t in range(1, len(history)):
                age = len(history) - 1 - t
                kept = 0.02 * 0.98**age
                before = average(history[:t], momenta[i][:t])
                signal += kept * float(np.sum(history[t] * before))
                power += kept * float(np.sum(history[t] ** 2))
            ratio = 1 - 2 * signal / power if power else most
            momenta[i].append(min(max(ratio, least), most))
            square = average([g**2 for g in history], [beta2] * len(history))
            expected[i] -= rate * average(history, momenta[i]) / (np.sqrt(square) + eps)
            np.testing.assert_allclose(group["params"][i].numpy(), expected[i], rtol=1e-9)
    strays = [np.ptp(m) for m in momenta]
    assert min(strays) > 0.1  # β₁ did change


def average(values, momenta):
    """Σ w_i v_i/Σ w_i, w_i = (1 − β_i) Π_{j > i} β_j."""
    weights = [(1 - m) * np.prod(momenta[i + 1 :]) for i, m in enumerate(momenta)]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


@given(st.lists(st.floats(0, 0.999), min_size=1, max_size=30))
def test_constant_gradients_are_their_own_average_whatever_beta1_was(momenta):
    p = torch.zeros(3, dtype=torch.float64)
    gradient = torch.tensor([1.0, -2.0, 1e-3], dtype=torch.float64)
    optimizer = AdaptiveAdam([p], lr=1.0, rate_range=1.0)
    for momentum in momenta:
        optimizer.param_groups[0]["momenta"] = (momentum, momentum)
        p.grad = gradient.clone()
        optimizer.step(lambda: 1.0)
        state = optimizer.state[p]
        torch.testing.assert_close(state["mean"] / state["weight"], gradient, rtol=1e-10, atol=0)


def test_the_sketch_inflates_the_average_where_beta1_rises():
    """From .9 to .99 at step 10, as its text says: by (1 − .9⁹ · .99)/(1 − .99¹⁰)."""
    p = torch.zeros(1, dtype=torch.float64)
    optimizer = AdaptiveAdamSketch([p], lr=1.0)
    for step in range(10):
        beta1 = 0.9 if step < 9 else 0.99
        optimizer.param_groups[0]["betas"] = (beta1, beta1, 0.999)
        p.grad, before = torch.ones(1, dtype=torch.float64), p.clone()
        optimizer.step(lambda: 1.0)
    factor = (1 - 0.9**9 * 0.99) / (1 - 0.99**10)
    assert factor == pytest.approx(6.45, abs=0.01)
    assert (before - p).item() == pytest.approx(0.98 * factor, rel=1e-6)  # the rate shrank once


def test_the_scales_of_loss_and_gradients_change_nothing():
    walked = [
        walk(AdaptiveAdam(parameters(), 0.01, rate_range=4.0, eps=0.0), 80, scale=a, unit=b)
        for a, b in ((1.0, 1.0), (1e-6, 1e5), (3e4, 1e-7))
    ]
    for other in walked[1:]:
        for a, b in zip(walked[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_beta1_is_large_where_gradients_are_noise_and_small_where_they_are_not():
    noisy, steady = torch.zeros(200), torch.zeros(200)
    optimizer = AdaptiveAdam([noisy, steady], momenta=(0.0, 0.99))
    rng = np.random.default_rng(0)
    found = {0.05: [], 1.5: []}
    for _ in range(600):
        for drift, p in ((0.05, noisy), (1.5, steady)):
            p.grad = torch.from_numpy(drift + rng.standard_normal(200)).float()
        weights = [optimizer.state[p].get("weight", 0.0) for p in (noisy, steady)]
        optimizer.step(lambda: 1.0)
        for drift, p, before in zip(found, (noisy, steady), weights, strict=True):
            # w ← β w + 1 − β, until w is 1 to rounding
            if before < 1 - 1e-6:
                found[drift].append((1 - optimizer.state[p]["weight"]) / (1 - before))
    assert np.mean(found[0.05][100:]) > 0.97
    ratio = 1.5**2 / (1 + 1.5**2)  # 1 − 2 · .69 < 0: no average is needed
    assert 1 - 2 * ratio < 0
    assert found[1.5][-1] == pytest.approx(0, abs=1e-6)


def test_beta1_makes_noise_no_larger_than_signal():
    """μ² = .2, σ² = 1: β₁ = 1 − 2 · .2/1.2 = 2/3, where σ² (1 − β)/(1 + β) = μ²."""
    p = torch.zeros(4000)
    optimizer = AdaptiveAdam([p], momenta=(0.0, 0.99))
    rng = np.random.default_rng(1)
    for _ in range(400):
        p.grad = torch.from_numpy(math.sqrt(0.2) + rng.standard_normal(4000)).float()
        optimizer.step(lambda: 1.0)
    state = optimizer.state[p]
    assert 1 - 2 * state["signal"] / state["power"] == pytest.approx(2 / 3, abs=0.02)
    assert state["mean"].var().item() == pytest.approx(0.2, rel=0.15)


# The rate.


def test_evidence_answers_to_trend_and_variance():
    falling = [2.0 - 0.05 * i + 0.1 * e for i, e in enumerate(noise(32))]
    assert evidence(falling) == 1
    assert evidence([4 - v for v in falling]) == -1
    wild = [1 + (0.01 if i < 16 else 0.1) * (-1) ** i for i in range(32)]
    assert evidence(wild) == -1
    assert evidence(wild[::-1]) == 0  # calmer is no reason for more
    both = [v - 0.01 * i for i, v in enumerate(wild)]
    assert -1 < evidence(both) < 1  # falls, and scatters more
    assert evidence([1.0] * 32) == 0
    assert evidence([0.0] * 32) == 0
    assert evidence([1.0, 0.5, 0.2]) == 0  # too few to tell


@given(st.lists(st.floats(-1e3, 1e3), max_size=WINDOW), st.sampled_from([2.0**-40, 2.0**30]))
def test_evidence_is_bounded_and_blind_to_units(losses, unit):
    found = evidence(losses)
    assert -1 <= found <= 1
    if len(set(losses)) < 2 or np.std(losses) > 1e-100:  # otherwise squares underflow
        assert evidence([unit * loss for loss in losses]) == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("count", [6, 12, 32])
def test_a_trend_counts_by_the_normal_quantile_of_students_p_value(count):
    """From two standard deviations on, fully from four, beside the exact distribution."""
    rng = np.random.default_rng(0)
    time = np.arange(count)
    told = 0
    for _ in range(300):
        losses = 1 + 1e-3 * (rng.standard_normal(count) + 0.3 * time * rng.normal())
        line = stats.linregress(time, losses)
        if line.slope < 0 and not scatters_more(losses):
            expected = np.clip(stats.norm.isf(line.pvalue / 2) / 2 - 1, 0, 1)
            told += 0 < expected < 1
            assert evidence(losses.tolist()) == pytest.approx(expected, abs=0.02)
    assert told > 5


def scatters_more(losses):
    half = len(losses) // 2
    parts = losses[:half], losses[-half:]
    residuals = [part - np.poly1d(np.polyfit(range(half), part, 1))(range(half)) for part in parts]
    return (residuals[1] ** 2).sum() > (residuals[0] ** 2).sum()


def factors(losses):
    """The factors on the rate over a walk with such losses, by the size of Adam's first step."""
    p = torch.zeros(1, dtype=torch.float64)
    optimizer = AdaptiveAdam([p], 1.0, rate_range=2.0, momenta=(0.0, 0.0), beta2=0.0, eps=0.0)
    found = []
    for loss in losses:
        p.grad, before = torch.ones(1, dtype=torch.float64), p.clone()
        optimizer.step(lambda loss=loss: loss)
        found.append((before - p).item())
        assert optimizer.param_groups[0]["lr"] == 1.0
    return np.array(found)


def sketched_rates(losses):
    p = torch.zeros(1, dtype=torch.float64)
    optimizer = AdaptiveAdamSketch([p], 1.0)
    rates = []
    for loss in losses:
        p.grad = torch.ones(1, dtype=torch.float64)
        optimizer.step(lambda loss=loss: loss)
        rates.append(optimizer.param_groups[0]["lr"])
    return np.array(rates)


def test_the_rate_is_made_anew_from_the_evidence_at_every_step():
    losses = [*noise(60), *(1 - 0.02 * i for i in range(40))]
    seen = [losses[max(0, i + 1 - WINDOW) : i + 1] for i in range(100)]
    expected = [2 ** evidence(window) for window in seen]
    np.testing.assert_allclose(factors(losses), expected, rtol=1e-12)
    assert expected[-1] == 2


def test_noise_leaves_the_rate_alone_and_carries_the_sketchs_away():
    """800 losses without a trend, six times."""
    series = [noise(800, seed) for seed in range(6)]
    ours = np.array([[evidence(s[i - WINDOW : i]) for i in range(WINDOW, 800)] for s in series])
    assert np.mean(ours == 0) > 0.9
    assert abs(ours.mean()) < 0.03
    assert abs(ours[:, 400:].mean() - ours[:, :400].mean()) < 0.03
    theirs = np.log([sketched_rates(s) for s in series])
    assert np.abs(theirs).max() > 0.5  # carried off
    assert theirs[:, 400:].std() > 2 * theirs[:, 99].std()  # and further the longer it goes
    # fault 2: one and the same training, in units in which its scatter is "large"
    in_other_units = sketched_rates([10 * loss for loss in noise(200)])
    assert in_other_units[-1] == pytest.approx(0.98**191)


def test_schedules_keep_working():
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = AdaptiveAdam([p], lr=0.4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.4, 50, cycle_momentum=False)
    rates = []
    for number in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        p.grad = torch.ones(1)
        optimizer.step(lambda number=number: 50.0 - number)
        schedule.step()
    assert max(rates) == pytest.approx(0.4)
    assert rates[-1] < 1e-3


# State.


def test_the_state_is_bounded():
    optimizer = AdaptiveAdam(parameters(), 0.01)
    walk(optimizer, WINDOW)

    def size():
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        return len(file.getvalue()), len(optimizer.state["losses"])

    before = size()
    walk(optimizer, 500)
    assert size()[1] == before[1] == WINDOW
    assert size()[0] == pytest.approx(before[0], abs=64)
    sketch = AdaptiveAdamSketch(parameters(), 0.01)
    walk(sketch, 500)
    assert len(sketch.losses) == 500
    assert "losses" not in sketch.state_dict()["state"]


@pytest.mark.parametrize("steps", [0, 1, 45])
def test_a_resumed_walk_has_the_bits_of_one_that_was_not_interrupted(steps):
    whole = AdaptiveAdam(parameters(), 0.01, rate_range=3.0)
    walk(whole, steps)
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    file.seek(0)
    resumed = AdaptiveAdam(copy.deepcopy(whole.param_groups[0]["params"]), 1.0)
    resumed.load_state_dict(torch.load(file))
    kept = copy.deepcopy(whole.state_dict())
    state = whole.state_dict()
    for a, b in zip(walk(whole, 40, seed=9), walk(resumed, 40, seed=9), strict=True):
        assert torch.equal(a, b)
    assert state["state"]["losses"] == kept["state"]["losses"]  # not changed under its holder


def test_losses_that_are_not_finite_are_no_evidence():
    losses = noise(20)
    broken = [*losses[:10], math.nan, *losses[10:], math.inf]
    np.testing.assert_array_equal(
        np.delete(factors([3 - 0.1 * i * v for i, v in enumerate(broken)]), [10, 21])[:10],
        factors([3 - 0.1 * i * v for i, v in enumerate(losses[:10])]),
    )
    optimizer = AdaptiveAdam(parameters())
    walk(optimizer, 3)
    seen = optimizer.state["losses"]
    optimizer.step(lambda: math.inf)
    assert optimizer.state["losses"] == seen


def test_parameters_without_a_gradient_stay_and_groups_have_their_own_rates():
    a, b, c = parameters()
    optimizer = AdaptiveAdam([{"params": [a, b]}, {"params": [c], "lr": 0.5}], lr=0.25)
    before = [p.clone() for p in (a, b, c)]
    a.grad, c.grad = torch.ones_like(a), torch.ones_like(c)
    optimizer.step(lambda: 1.0)
    torch.testing.assert_close(before[0] - a, torch.full_like(a, 0.25))
    assert torch.equal(before[1], b)
    torch.testing.assert_close(before[2] - c, torch.full_like(c, 0.5))


@pytest.mark.parametrize("make", [AdaptiveAdam, AdaptiveAdamSketch])
def test_a_closure_is_asked_for(make):
    with pytest.raises(ValueError, match="needs a closure that returns the loss"):
        make(parameters()).step()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momenta": (0.9, 0.8)}, "least ≤ most"),
        ({"momenta": (0.9, 1.0)}, "most < 1"),
        ({"rate_range": 0.5}, "1 or more"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveAdam(parameters(), **options)
