"""A finite λ_h: the left factor by which a layer leaves a share of the residual to the others.

With Δ passed down whole, every layer's problem would make all of the wanted change by itself. With
λ_h = ρ, relative to the mean eigenvalue s̄ of the curvature S (m, m) in a layer's outputs,

    δW̃ = (1 + ρ) (S/s̄ + ρ I)⁻¹ M A⁻¹

is smaller where what lies above is sensitive; ρ = ∞ leaves M A⁻¹. Both factors are positive
definite, so that <δW̃, M> ≥ 0: descent is kept, which it is not where a factor is passed down
through the masks of ReLU units. S is

- in a chain of nn.Linear, nn.ReLU, nn.Linear: (Wᵀ S' W) ∘ E[d dᵀ], with W and S' of the layer above
  and d the mask of the ReLU: the recursion of KFRA (Botev, Ritter and Barber 2017);
- elsewhere a moving average of ΔᵀΔ/n, as in K-FAC (Martens and Grosse 2015).
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from new_algorithm.torch_optimizer.directions import damped_factor
from new_algorithm.torch_optimizer.layers import Layer


def layers_above(model: nn.Module, layers: Mapping[Tensor, Layer]) -> dict[Tensor, Layer]:
    """Return, by its weight, the layer above each that is in a chain."""
    above = {}
    for module in model.modules():
        if not isinstance(module, nn.Sequential):
            continue
        parts = list(module)
        for lower, between, upper in zip(parts, parts[1:], parts[2:], strict=False):
            if not (isinstance(lower, nn.Linear) and isinstance(upper, nn.Linear)):
                continue
            both = {lower.weight, upper.weight}
            trained = both <= layers.keys() and all(one.requires_grad for one in both)
            if isinstance(between, nn.ReLU) and trained:
                above[lower.weight] = layers[upper.weight]
    return above


def residual_rows(layer: Layer, gradient: Tensor) -> Tensor:
    """Return the gradient of a layer's outputs as rows (blocks, n, m); none of what is no output
    of the layer alone, as of a subclass."""
    channels, dims = layer.weight.shape[0], layer.weight.dim()
    rows = gradient
    if dims > 2:  # a convolution: (images, channels, …), or one image (channels, …)
        rows = gradient.movedim(0 if gradient.dim() < dims else 1, -1)
    if rows.shape[-1] != channels:
        rows = rows.new_zeros(0, channels)
    return rows.reshape(-1, layer.blocks, channels // layer.blocks).transpose(0, 1)


def curvatures(
    layers: Iterable[Layer], seen: Mapping[Tensor, Tensor], above: Mapping[Tensor, Layer]
) -> dict[Tensor, Tensor]:
    """Return S (blocks, m, m) of each layer, up to a factor, by weights; of each once.

    seen: ΔᵀΔ/n or, in a chain, E[d dᵀ], by weights.
    """
    found: dict[Tensor, Tensor] = {}

    def curvature(layer: Layer) -> Tensor:
        if layer.weight not in found:
            s, upper = seen[layer.weight], above.get(layer.weight)
            if upper is not None and upper.weight in seen:
                w = upper.matrix()[:, :, : layer.shape[0]]
                s = (w.mT @ curvature(upper).to(w.dtype) @ w) * s
            found[layer.weight] = s
        return found[layer.weight]

    for layer in layers:
        curvature(layer)
    return found


def left_factor(s: Tensor, lambda_h: float) -> Tensor:
    """Return (1 + ρ) (S/s̄ + ρ I)⁻¹ of each block; I where S is 0 or not finite."""
    mean = s.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    identity = torch.eye(s.shape[-1], dtype=s.dtype, device=s.device)
    sound = torch.isfinite(s).flatten(-2).all(-1)[..., None, None] & (mean > 0)
    relative = torch.where(sound, s / torch.where(sound, mean, 1.0), identity)
    damping = torch.full(s.shape[:-2], lambda_h, dtype=s.dtype, device=s.device)
    factor, failed = damped_factor(relative, damping)
    found = (1 + lambda_h) * torch.cholesky_inverse(factor)
    return torch.where(failed[..., None, None], identity, found)
