"""The ReLU's sub-problem of methods that split a layer into Z and max(Z, 0)."""

import math

import numpy as np
from numpy.typing import NDArray


def relu_prox(wanted: NDArray, anchor: NDArray, weight: float) -> NDArray:
    """Return, entry by entry, the u that minimises (v − max(u, 0))² + t (u − m)².

    wanted, anchor: v and m, alike in shape. weight: t > 0. Each side of zero is a parabola:

        u ≥ 0: u₊ = max((v + t m)/(1 + t), 0)        u ≤ 0: u₋ = min(m, 0)

    For m ≥ 0 that is u₊, since u₋ = 0 lies on the other side's parabola too. For m < 0 the costs
    are t (v − m)²/(1 + t) at u₊, if it is not 0, and v² at u₋: u₊ is better where v > 0 and
    −m < κ v, κ = √((1 + t)/t) − 1; and there it is not 0, as t κ < 1/2. A tie goes to u₋.
    """
    kappa = math.expm1(0.5 * math.log1p(1 / weight))  # for large t without cancellation
    positive = weight * anchor
    positive += wanted
    positive /= 1 + weight
    np.maximum(positive, 0, out=positive)
    return np.where(anchor + kappa * np.maximum(wanted, 0) > 0, positive, anchor)
