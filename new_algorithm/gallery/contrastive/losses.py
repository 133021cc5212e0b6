"""What pulls two views of a row together and pushes other rows apart.

Embeddings lie on the unit sphere: query and key (n, d), negatives (m, d). Similarities are
s = <query, ·>/τ with the temperature τ.
"""

import math

import torch
from torch import Tensor


def info_nce(query: Tensor, key: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Return the mean of −log(e^{s⁺} / (e^{s⁺} + Σ_j e^{s_j})) (He et al. 2020, equation 1)."""
    positive = (query * key).sum(1) / temperature
    of_negatives = (query @ negatives.T / temperature).logsumexp(1)
    return (torch.logaddexp(positive, of_negatives) - positive).mean()


def hard_negative_loss(
    query: Tensor,
    key: Tensor,
    negatives: Tensor,
    temperature: float,
    *,
    concentration: float,
    class_prior: float,
) -> Tensor:
    """Return the mean of −log(e^{s⁺} / (e^{s⁺} + m g)) (Robinson et al. 2021).

    Negatives are to come from q(x) ∝ e^{β s} p⁻(x), β = `concentration` ≥ 0, where those most like
    the query weigh most. All of them having been drawn from p = τ⁺ p⁺ + (1 − τ⁺) p⁻, importance
    weights w_j = e^{β s_j} / mean_j e^{β s_j} stand for q, and what of them is of the query's own
    class, a share of τ⁺ = `class_prior` in [0, 1), is taken off, the key standing for p⁺:

        g = max((mean_j w_j e^{s_j} − τ⁺ e^{s⁺}) / (1 − τ⁺), e^{−1/τ}),

    bounded since s is at least −1/τ (the estimator of Chuang et al. 2020). β = 0 and τ⁺ = 0 give
    `info_nce`; with β → ∞ all m negatives are the hardest one. The gradient goes through the
    weights too. In logarithms, since e^{(1 + β) s} overflows for a small τ.
    """
    s = query @ negatives.T / temperature
    positive = (query * key).sum(1) / temperature
    weighted = ((1 + concentration) * s).logsumexp(1) - (concentration * s).logsumexp(1)
    if class_prior > 0:
        # log(e^a − e^b) = a + log(1 − e^{b − a}) where a > b. Elsewhere the bound holds, or what
        # the clamp leaves, 1e-30 of e^a; either is nothing beside e^{s⁺}, which is then larger.
        excess = positive + math.log(class_prior) - weighted
        left = torch.log(-torch.expm1(excess.clamp(max=-1e-30)))
        weighted = weighted + left - math.log1p(-class_prior)
    of_negatives = weighted.clamp(min=-1 / temperature) + math.log(len(negatives))
    return (torch.logaddexp(positive, of_negatives) - positive).mean()


def alignment(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean of ‖x − y‖² over pairs of views, 0 where they agree (Wang and Isola 2020)."""
    return (one - other).square().sum(1).mean()


def uniformity(embeddings: Tensor) -> Tensor:
    """Return log mean e^{−2‖x − y‖²} over pairs of n ≥ 2 points on the unit sphere (same source).

    0 where all are one point, lower the more evenly they fill the sphere.
    """
    n = len(embeddings)
    first, second = torch.triu_indices(n, n, 1, device=embeddings.device)
    cosines = (embeddings @ embeddings.T)[first, second]  # ‖x − y‖² = 2 − 2 <x, y>
    return (4 * (cosines - 1)).logsumexp(0) - math.log(n * (n - 1) / 2)
