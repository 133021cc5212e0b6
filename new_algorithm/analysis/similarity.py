"""Numbers on representations H (n, features): how many directions they use, and how alike two are.

Linear CKA (Kornblith et al. 2019) is a cosine between Gram matrices HHᵀ. Here these are U-centred
(Székely and Rizzo 2014), so that their products are the unbiased estimate of HSIC (Song et al.
2012): with centred Gram matrices instead, layers that share nothing seem alike where there are not
many more rows than features.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def effective_rank(h: NDArray) -> float:
    """Return exp of the entropy of the covariance's eigenvalues over their sum, from 1 to the
    number of features (Roy and Vetterli 2007); 0 where all rows are the same."""
    singular = np.linalg.svd(h - h.mean(axis=0), compute_uv=False)
    eigenvalues = singular**2
    if not eigenvalues.sum() > 0:
        return 0.0
    p = eigenvalues / eigenvalues.sum()
    p = p[p > 0]
    return float(np.exp(-(p * np.log(p)).sum()))


def u_centred(h: NDArray) -> NDArray:
    """Return the Gram matrix HHᵀ (n, n) with zeros on its diagonal, then row sums of zero.

    n is 4 at least. For the like of K and L, Σ_ij K_ij L_ij / (n (n − 3)) is the unbiased HSIC.
    """
    n = len(h)
    gram = h @ h.T
    np.fill_diagonal(gram, 0)
    rows = gram.sum(axis=1) / (n - 2)
    gram += rows.sum() / (n - 1) - rows[:, None] - rows[None, :]
    np.fill_diagonal(gram, 0)
    return gram


def cka(first: Sequence[NDArray], second: Sequence[NDArray]) -> NDArray:
    """Return the linear CKA of each of `first` with each of `second`, of the same rows: 1 for the
    same up to a rotation and a factor, around 0 for independent ones. NaN for a constant one."""
    a, b = (_units(one) for one in (first, second))
    return a @ b.T


def _units(representations: Sequence[NDArray]) -> NDArray:
    flat = np.stack([u_centred(h - h.mean(axis=0)).ravel() for h in representations])
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(norms > 0, norms, np.nan)


def principal_components(h: NDArray, count: int = 2) -> tuple[NDArray, NDArray]:
    """Return rows in the leading `count` principal components (n, count) and the shares of the
    variance in these; columns of 0 where there are fewer."""
    centred = h - h.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    missing = max(0, count - len(s))
    scores = np.pad(u * s, ((0, 0), (0, missing)))[:, :count]
    total = (s**2).sum()
    shares = np.pad(s**2, (0, missing))[:count] / (total if total > 0 else 1)
    return scores, shares
