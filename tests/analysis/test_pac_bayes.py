"""The PAC-Bayes bound: its inverse, its divergence and its draws against slower routes."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from new_algorithm.analysis import pac_bayes
from new_algorithm.analysis.pac_bayes import binary_kl, kl_inverse
from new_algorithm.methods.torch_network import folded_weights
from tests.analysis.subjects import relu_subject


def bisected(q, most):
    low, high = q, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        if middle >= 1 or (middle > 0 and binary_kl(q, middle) > most):
            high = middle
        else:
            low = middle
    return low


@given(st.floats(0, 1), st.floats(1e-6, 20))
def test_the_inverse_of_the_binary_kl_is_bisections(q, most):
    assert kl_inverse(q, most) == pytest.approx(bisected(q, most), abs=1e-9)


def test_limits_of_the_inverse():
    assert kl_inverse(0.0, 0.3) == pytest.approx(1 - math.exp(-0.3))  # kl(0 ‖ p) = −ln(1 − p)
    assert kl_inverse(1.0, 0.3) == 1
    assert kl_inverse(0.2, 0.0) == pytest.approx(0.2)
    assert kl_inverse(0.2, 1e9) == pytest.approx(1)
    # Pinsker: kl ≥ 2 (p − q)²
    assert 0.2 < kl_inverse(0.2, 0.01) < 0.2 + math.sqrt(0.01 / 2)


def test_the_divergence_of_gaussians_is_the_mean_log_ratio():
    rng = np.random.default_rng(0)
    mean, prior = rng.standard_normal((2, 3))
    log_variance, variance = rng.uniform(-2, 0, 3), 0.7
    draws = mean + np.exp(log_variance / 2) * rng.standard_normal((400_000, 3))
    ratio = ((draws - prior) ** 2 / variance - (draws - mean) ** 2 / np.exp(log_variance)).sum(1)
    ratio = (ratio + 3 * math.log(variance) - log_variance.sum()) / 2
    as_tensors = [torch.tensor(a) for a in (mean, np.exp(log_variance), prior, variance)]
    closed = float(pac_bayes.gaussian_kl(*as_tensors))
    assert closed == pytest.approx(ratio.mean(), abs=5 * ratio.std() / math.sqrt(len(draws)))
    same = [torch.zeros(3), torch.ones(3), torch.zeros(3), torch.tensor(1.0)]
    assert float(pac_bayes.gaussian_kl(*same)) == 0


def test_the_best_prior_variance_has_no_better_neighbour():
    mean, variance = torch.tensor([0.1, -0.2]), torch.tensor([-5.0, -4.0]).exp()
    prior = torch.zeros(2)
    best = pac_bayes._best_variance(mean, variance, prior)
    kls = [pac_bayes.gaussian_kl(mean, variance, prior, best * f) for f in (0.99, 1, 1.01)]
    assert kls[1] < min(kls[0], kls[2])


def test_the_union_over_priors_spends_delta():
    n, kl = 500, 12.0
    j = np.arange(1, 10**6)
    shares = 6 * pac_bayes.DELTA / (math.pi * j) ** 2
    assert shares.sum() == pytest.approx(pac_bayes.DELTA, rel=1e-5)
    expected = (kl + math.log(n / shares[6])) / (n - 1)
    assert pac_bayes.complexity(kl, 7, n) == pytest.approx(expected)


def test_the_published_bound_follows_from_the_published_numbers():
    """Dziugaite and Roy 2017, table 1, T-600: m = 55,000, an error of the random network of .028,
    a divergence of 5,144 nats, a bound of .161. λ is not told, and hardly matters."""
    at_most = kl_inverse(0.028, math.log(2 / pac_bayes.DELTA_DRAWS) / pac_bayes.DRAWS)
    for j in (50, 500):
        bound = kl_inverse(at_most, pac_bayes.complexity(5144, j, 55_000))
        assert bound == pytest.approx(0.161, abs=0.004)  # .028 is rounded, and dbound/derror 2


def test_outputs_of_rows_are_those_of_drawn_networks():
    """Mean and variance of F of a row over networks, drawn weight by weight."""
    rng = np.random.default_rng(1)
    widths = (3, 4, 2)
    means = [torch.tensor(rng.standard_normal((a + 1, b))) for a, b in pairwise(widths)]
    logs = [torch.tensor(rng.uniform(-3, -1, m.shape)) for m in means]
    x, draws = rng.standard_normal(3), 100_000
    h = np.tile(x, (draws, 1))
    for i, (mean, log) in enumerate(zip(means, logs, strict=True)):
        spread = np.exp(log.numpy() / 2)
        w = mean.numpy() + spread * rng.standard_normal((draws, *mean.shape))
        h = np.einsum("ri,rio->ro", np.column_stack([h, np.ones(draws)]), w)
        h = h if i == 1 else np.maximum(h, 0)
    generator = torch.Generator().manual_seed(0)
    rows = torch.tensor(x).repeat(draws, 1)
    variances = [log.exp() for log in logs]
    found = pac_bayes.drawn_outputs(means, variances, rows, generator).numpy()
    noise = h.std(axis=0) / math.sqrt(draws)
    np.testing.assert_allclose(found.mean(0), h.mean(0), atol=7 * noise.max())
    np.testing.assert_allclose(np.cov(found.T), np.cov(h.T), rtol=0.05, atol=0.02)
    none = [torch.zeros_like(m) for m in means]
    sure, again = (pac_bayes.drawn_outputs(means, none, rows[:1], generator) for _ in range(2))
    torch.testing.assert_close(sure, again)


def test_the_error_of_draws_is_that_of_a_loop_over_networks():
    """Without variance, the network's own on rows drawn with replacement; with it, the mean over
    rows of what one row at a time comes to."""
    rng = np.random.default_rng(2)
    x, y = torch.tensor(rng.standard_normal((6, 3))), torch.tensor(rng.integers(0, 4, 6))
    means = [torch.tensor(rng.standard_normal(shape)) for shape in ((4, 5), (6, 4))]
    draws = 30_000
    for variance in (0.0, 0.3):
        variances = [torch.full_like(m, variance) for m in means]
        generator = torch.Generator().manual_seed(0)
        found = pac_bayes._drawn_error((means, variances), (x, y), draws, generator)
        of_rows = [
            (
                pac_bayes.drawn_outputs(means, variances, row.expand(4000, -1), generator).argmax(1)
                != label
            )
            .double()
            .mean()
            for row, label in zip(x, y, strict=True)
        ]
        assert found == pytest.approx(float(sum(of_rows)) / 6, abs=0.02)


@pytest.mark.parametrize("name", ["synthetic", "spirals"])
def test_the_bound_is_above_the_error_and_optimisation_lowers_it(name):
    subject = relu_subject(name, rows=400)
    trained, initial = (
        [torch.from_numpy(w) for w in folded_weights(net)]
        for net in (subject.network, dict(subject.over_time())[0])
    )
    parts = [subject.rows(part, 400, 0) for part in subject.parts]
    kept = [w.clone() for w in trained]
    first, last = (
        pac_bayes.certify(trained, initial, *parts, seed=0, steps=steps, draws=4000)
        for steps in (1, 200)
    )
    for one in (first, last):
        assert max(one.train, one.held_out - 0.05) < one.bound <= 1
        assert one.kl > 0
    assert last.bound < first.bound
    for before, after in zip(kept, trained, strict=True):
        assert torch.equal(before, after)
