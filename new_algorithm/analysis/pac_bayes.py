"""A PAC-Bayes bound on the error of a random network, as Dziugaite and Roy 2017 compute it.

Weights are drawn from Q = N(w, diag s). For a prior P = N(w₀, λ I) around the initial weights, with
probability 1 − δ over the n training rows the error e of such networks on new rows and theirs ê on
the training rows have

    kl(ê ‖ e) ≤ B = (KL(Q ‖ P) + 2 ln j + ln(π² n / 6δ)) / (n − 1)

for all w, s and all λ = c exp(−j/b) at once, j = 1, 2, …: prior j has the share 6/(π² j²) of δ
(the kl bound is Langford and Seeger's). w and s are found by Adam on the cross-entropy in
units of ln 2, which is at least the error, plus √(B/2); λ is the best for them at each step. ê is
estimated by draws, each of a row and a network, and replaced by an upper bound that holds with
probability 1 − δ'.

Each row has a network of its own: what a layer of independent Gaussian weights makes of a row h is
again Gaussian and independent, of mean hᵀw and variance (h²)ᵀs (Kingma, Salimans and Welling 2015),
which is exact for any one row, and less noisy than one network for a batch.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy.optimize import brentq
from torch import Tensor
from torch.nn import functional

C, B = 0.1, 100  # of the grid λ = C exp(−j/B), as there
DELTA, DELTA_DRAWS = 0.025, 0.01  # as there: both bounds hold with probability .965
DRAWS = 150_000
STEPS, BATCH = 1000, 250
RATE_MEAN, RATE_SPREAD = 1e-2, 2e-2  # of Adam, on w and on ln s
START = 1.0  # of √s, in units of the root mean square of w − w₀

Layers = Sequence[Tensor]  # W̃ (d_in + 1, d_out), the bias as the last row


class Certificate(NamedTuple):
    """bound: on the error on new rows. train, held_out: estimates of it. kl: KL(Q ‖ P), in nats.
    variance: λ of the prior."""

    bound: float
    train: float
    held_out: float
    kl: float
    variance: float


def binary_kl(q: float, p: float) -> float:
    """Return kl(q ‖ p) = q ln(q/p) + (1 − q) ln((1 − q)/(1 − p)) in nats, for 0 < p < 1."""
    first = q * math.log(q / p) if q > 0 else 0.0
    return first + ((1 - q) * math.log((1 - q) / (1 - p)) if q < 1 else 0.0)


def kl_inverse(q: float, most: float) -> float:
    """Return the largest p in [q, 1] with kl(q ‖ p) ≤ most."""
    low, high = max(q, 1e-300), 1 - 2**-53
    if q >= high or binary_kl(q, high) <= most:
        return 1.0
    if binary_kl(q, low) >= most:
        return q
    return float(brentq(lambda p: binary_kl(q, p) - most, low, high, xtol=1e-15))


def gaussian_kl(mean: Tensor, variance: Tensor, prior: Tensor, of_prior: Tensor) -> Tensor:
    """Return KL(N(mean, diag variance) ‖ N(prior, of_prior I)) in nats; all but the last are
    (P,)."""
    spread = (variance.sum() + (mean - prior).square().sum()) / of_prior
    return (spread - len(mean) + len(mean) * of_prior.log() - variance.log().sum()) / 2


def layer_moments(mean: Tensor, variance: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (n, d_out) of what a layer makes of rows x (n, d)."""
    h = functional.pad(x, (0, 1), value=1.0)
    return h @ mean, (h.square() @ variance).sqrt()


def drawn_above(
    first: tuple[Tensor, Tensor], means: Layers, variances: Layers, rng: torch.Generator
) -> Tensor:
    """Return F (n, m), each row by a network of its own, from the first layer's `layer_moments` and
    the layers above it."""
    z = _normal(*first, rng)
    for mean, variance in zip(means, variances, strict=True):
        z = _normal(*layer_moments(mean, variance, z.relu()), rng)
    return z


def _normal(mean: Tensor, deviation: Tensor, rng: torch.Generator) -> Tensor:
    return torch.addcmul(mean, deviation, torch.empty_like(mean).normal_(generator=rng))


def drawn_outputs(means: Layers, variances: Layers, x: Tensor, rng: torch.Generator) -> Tensor:
    """Return F (n, m) of rows x (n, d), each by a network of its own."""
    first = layer_moments(means[0], variances[0], x)
    return drawn_above(first, means[1:], variances[1:], rng)


def complexity(kl: float, j: int, n: int) -> float:
    """Return B of prior j."""
    return (kl + 2 * math.log(j) + math.log(math.pi**2 * n / (6 * DELTA))) / (n - 1)


def certify(
    trained: Layers,
    initial: Layers,
    train: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor],
    seed: int,
    steps: int = STEPS,
    draws: int = DRAWS,
) -> Certificate:
    """Optimise Q from the trained weights and return what it certifies.

    train, held_out: rows x (n, d), of which train must be those trained on, and labels (n,) from 0;
    one output stands for the second of two classes.
    """
    rng = torch.Generator().manual_seed(seed)
    prior, shapes = _flat(initial), [w.shape for w in initial]
    mean = _flat(trained).requires_grad_()
    far = (mean.detach() - prior).square().mean().sqrt()
    start = 2 * (START * far.clamp(min=1e-3)).log().item()
    log_variance = torch.full_like(prior, start).requires_grad_()
    groups = [{"params": [mean], "lr": RATE_MEAN}, {"params": [log_variance], "lr": RATE_SPREAD}]
    optimizer = torch.optim.Adam(groups, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    x, y = train
    n = len(x)
    for _ in range(steps):
        rows = torch.randint(n, (min(BATCH, n),), generator=rng)
        variance = log_variance.exp()
        means, variances = _layers(mean, shapes), _layers(variance, shapes)
        loss = _cross_entropy(drawn_outputs(means, variances, x[rows], rng), y[rows])
        kl = gaussian_kl(mean, variance, prior, _best_variance(mean, variance, prior))
        slack = (kl + math.log(math.pi**2 * n / (6 * DELTA))) / (2 * (n - 1))
        optimizer.zero_grad()
        (loss / math.log(2) + slack.clamp(min=1e-12).sqrt()).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        variance = log_variance.exp()
        network = _layers(mean, shapes), _layers(variance, shapes)
        train_error = _drawn_error(network, train, draws, rng)
        held_out_error = _drawn_error(network, held_out, draws // 10, rng)
        mean, variance = mean.double(), variance.double()
        j = max(1, round(B * math.log(C / float(_best_variance(mean, variance, prior)))))
        of_prior = C * math.exp(-j / B)
        chosen = torch.tensor(of_prior, dtype=torch.float64)
        nats = float(gaussian_kl(mean, variance, prior.double(), chosen))
    at_most = kl_inverse(train_error, math.log(2 / DELTA_DRAWS) / draws)
    bound = kl_inverse(at_most, complexity(nats, j, n))
    return Certificate(bound, train_error, held_out_error, nats, of_prior)


def _flat(tensors: Layers) -> Tensor:
    return torch.cat([one.flatten() for one in tensors])


def _layers(vector: Tensor, shapes: Sequence[torch.Size]) -> Layers:
    """Views of a vector (P,) as its layers."""
    pieces = vector.split([shape.numel() for shape in shapes])
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def _best_variance(mean: Tensor, variance: Tensor, prior: Tensor) -> Tensor:
    """λ with the least KL(Q ‖ P): the mean of s + (w − w₀)², if that is on the grid."""
    best = (variance + (mean - prior).square()).mean()
    return best.detach().clamp(max=C * math.exp(-1 / B))


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    if outputs.shape[1] == 1:
        outputs = functional.pad(outputs, (1, 0))
    return functional.cross_entropy(outputs, labels)


def _drawn_error(
    network: tuple[Layers, Layers], part: tuple[Tensor, Tensor], draws: int, rng: torch.Generator
) -> float:
    """The share of mistakes among draws of a row, with replacement, and a network."""
    (x, y), (means, variances) = part, network
    wrong = 0
    for chunk in torch.randint(len(x), (draws,), generator=rng).sort().values.split(5000):
        rows, times = chunk.unique_consecutive(return_counts=True)
        centre, spread = (  # once for a row drawn often
            one.repeat_interleave(times, dim=0)
            for one in layer_moments(means[0], variances[0], x[rows])
        )
        outputs = drawn_above((centre, spread), means[1:], variances[1:], rng)
        if outputs.shape[1] == 1:
            outputs = functional.pad(outputs, (1, 0))
        wrong += int((outputs.argmax(dim=1) != y[chunk]).sum())
    return wrong / draws
