"""Curvature of a ReLU network's mean loss by products of its own, quicker than autograd's.

What does not depend on the vector is kept: H̃, the masks m_l of the ReLUs, and D_l = ∂L/∂Z_l. With
T_l the change of Z_l and Ḣ_l that of H_l (Ḣ_0 = 0) along a change V of all layers,

    T_l = Ḣ_{l−1} W_l + H̃_{l−1} V_l,    Ḣ_l = m_l ∘ T_l                          forwards
    R_L = Λ T_L / n,    R_{l−1} = m_{l−1} ∘ (R_l W_lᵀ [+ D_l V_lᵀ])             backwards
    GN V = H̃_{l−1}ᵀ R_l,    H V = GN V [+ Ḣ_{l−1}ᵀ D_l]                          of layer l

(Pearlmutter 1994; where no Z is 0 the masks stay). Without the terms in brackets this is the
Gauss–Newton matrix. Of one layer's block the two are one,

    B V = (1/n) Σ_k H̃ᵀ(c_k ∘ S_k),    c_k = rowsum((H̃ V) ∘ S_k),

S_k what b_k of Σ_k b_k b_kᵀ = Λ (likelihood.py) becomes when it is passed back to the layer: after
one pass back a product costs the same at any depth.
"""

import torch
from curvlinops._torch_base import PyTorchLinearOperator
from torch import Tensor, nn

from new_algorithm.analysis.likelihood import row_residual, times_hessian
from new_algorithm.analysis.spectra import HESSIAN
from new_algorithm.back_projection.losses import Loss


class _ByColumns(PyTorchLinearOperator):
    """A symmetric matrix on lists of tensors shaped like some layers' weights (d_out, d_in) and
    biases (d_out,): what curvlinops needs of it."""

    SELF_ADJOINT = True

    def __init__(self, parameters: list[Tensor]) -> None:
        shapes = [tuple(one.shape) for one in parameters]
        super().__init__(shapes, shapes)
        self._like = parameters[0]

    @property
    def device(self) -> torch.device:
        return self._like.device

    @property
    def dtype(self) -> torch.dtype:
        return self._like.dtype

    def product(self, v: list[Tensor]) -> list[Tensor]:
        raise NotImplementedError

    def _matmat(self, matrix: list[Tensor]) -> list[Tensor]:
        """One column at a time: a thousand rows are enough to be quick."""
        columns = zip(*(part.unbind(-1) for part in matrix), strict=True)
        products = [self.product(list(column)) for column in columns]
        return [torch.stack(parts, dim=-1) for parts in zip(*products, strict=True)]


class ReluMatrix(_ByColumns):
    """Hessian or Gauss–Newton matrix of a ReLU network's mean loss over rows x (n, d) and y, in all
    parameters."""

    @torch.no_grad()
    def __init__(self, kind: str, network: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> None:
        parameters = [p.detach() for p in network.parameters()]
        super().__init__(parameters)
        self.weights, self.is_hessian = parameters[::2], kind == HESSIAN
        self.inputs = [x]
        for module in network.children():
            self.inputs.append(module(self.inputs[-1]))
        outputs = self.inputs.pop()
        self.inputs = self.inputs[::2]  # of linear layers
        self.masks = [(h > 0).to(h.dtype) for h in self.inputs[1:]]
        self.of_rows = times_hessian(loss, outputs)
        residual = torch.from_numpy(row_residual(loss, outputs.numpy(), y.numpy()))
        self.gradients = [-residual / len(x)]  # D_1 … D_L
        for weight, mask in zip(self.weights[:0:-1], self.masks[::-1], strict=True):
            self.gradients.insert(0, mask * (self.gradients[0] @ weight))

    @torch.no_grad()
    def product(self, v: list[Tensor]) -> list[Tensor]:
        weights, biases = v[::2], v[1::2]
        moved: list[Tensor] = []  # Ḣ_1 … Ḣ_{L−1}, and T_L
        for index, (h, weight) in enumerate(zip(self.inputs, self.weights, strict=True)):
            t = torch.addmm(biases[index], h, weights[index].T)
            if index:
                t.addmm_(moved[-1], weight.T)
            moved.append(t.mul_(self.masks[index]) if index < len(self.masks) else t)
        r, products = self.of_rows(moved.pop()) / len(self.inputs[0]), []
        for index in reversed(range(len(self.weights))):
            of_weight = r.T @ self.inputs[index]
            if self.is_hessian and index:
                of_weight.addmm_(self.gradients[index].T, moved[index - 1])
            products += [r.sum(0), of_weight]
            if index:
                below = r @ self.weights[index]
                if self.is_hessian:
                    below.addmm_(self.gradients[index], weights[index])
                r = below.mul_(self.masks[index - 1])
        return products[::-1]


class LayerBlock(_ByColumns):
    """A layer's block, from its H̃ (n, d_in + 1) and S (k, n, d_out)."""

    def __init__(self, inputs: Tensor, passed: Tensor) -> None:
        self.inputs, self.passed = inputs, passed
        weight = inputs.new_empty(passed.shape[2], inputs.shape[1] - 1)
        super().__init__([weight, weight[:, 0]])

    def of_folded(self, v: Tensor) -> Tensor:
        """Return B V of V like W̃ (d_in + 1, d_out)."""
        z = self.inputs @ v
        c = (self.passed * z).sum(-1, keepdim=True)
        return self.inputs.T @ (self.passed * c).sum(0) / len(self.inputs)

    def product(self, v: list[Tensor]) -> list[Tensor]:
        found = self.of_folded(torch.cat([v[0].T, v[1][None]]))
        return [found[:-1].T, found[-1]]

    def mean_eigenvalue(self) -> float:
        """Return trace(B) over its order: Σ_i ‖h̃_i‖² Σ_k ‖s_ki‖² / n."""
        squares = self.inputs.double().square().sum(1), self.passed.double().square().sum((0, 2))
        return float(squares[0] @ squares[1]) / (len(self.inputs) * self.shape[0])
