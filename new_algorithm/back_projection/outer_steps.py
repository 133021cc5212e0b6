"""From a sweep's changes to steps: what the weights do with δW̃.

δW̃ is a direction. Each rule makes of it, or of the moments M that it is solved for, a direction D,
and the weights move by W̃ ← W̃ + s D, s the schedule's factor:

- momentum: V ← μ V + η δW̃, D = V, the heavy ball (Polyak 1964);
- nesterov: the same V, D = η δW̃ + μ V, a heavy ball that looks ahead (Sutskever et al. 2013);
- adam: D = η m̂/(√v̂ + ε), with moving averages m of δW̃ and v of its squares, entry by entry (Kingma
  and Ba 2015, Algorithm 1, for which −δW̃ is the gradient), as in ProxProp (Frerix et al. 2018,
  section 5.3), here with a moving Ḡ and the input in its eigenbasis;
- orthogonal: V ← μ V + M, and D = η √max(1, m/d) A^(−1/2) polar(A^(−1/2) (M + μ V)), A = Ḡ + λ_w I.

The last one is the steepest descent for a bounded operator norm. A layer's outputs change by H̃ D,
whose mean squares over the rows are at most those of A^(1/2) D = Y. Of all Y (d, m) with ‖Y‖₂ ≤ 1
the one along which the loss falls fastest, <D, M> = <Y, A^(−1/2) M>, has U Vᵀ for the singular
vectors A^(−1/2) M = U Σ Vᵀ: the sum of the Σ is the norm dual to ‖·‖₂. So Y is the polar factor,
Muon's step (Jordan et al. 2024) in coordinates in which the inputs are white. No root of A is
needed: with X = A⁻¹M, what a layer is solved for,

    A^(−1/2) polar(A^(−1/2) M) = X (MᵀX)^(−1/2) = (X Mᵀ)^(−1/2) X,

the smaller of MᵀX (m, m) and X Mᵀ (d, d) being taken. As DᵀAD = I where m ≤ d, every output changes
by η, root mean square over the rows; √max(1, m/d) does the same where d < m.
"""

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.network import FlatParameters
from new_algorithm.back_projection.right_factors import RightFactors
from new_algorithm.back_projection.state import Stateful

# Coefficients of X ← aX + b(XXᵀ)X + c(XXᵀ)²X, one row a step: the odd quintics that bring
# singular values in [0.005, 1] nearest to 1, each for the interval to which those before have
# brought them (Amsel et al. 2025); they end in [0.917, 1.083].
QUINTICS = (
    (8.298709, -24.430533, 18.090334),
    (3.915221, -2.921131, 0.559223),
    (3.174603, -2.380433, 0.497826),
    (2.189462, -1.567220, 0.407887),
)
BETA2 = 0.99  # of Adam: less than its usual .999, which remembers longer than these runs last
IN_CACHE = 1 << 15  # entries of Adam's arrays: one pass over them, not one for each operation
WIDEST, BLOCK = 256, 128  # smaller side above which outputs are made orthogonal in blocks


class OuterStep(Stateful):
    """direction: D of the last step, like the weights."""

    remembered: ClassVar[tuple[str, ...]] = ("direction",)

    def __init__(
        self, weights: FlatParameters, momentum: float, right_factors: RightFactors | None = None
    ) -> None:
        """momentum: μ, or β₁ of Adam, in [0, 1). right_factors: those of the sweeps."""
        self.direction = weights.zeros_like()
        self._momentum, self._right_factors = momentum, right_factors

    def update(self, changes: FlatParameters, step_size: float, layer: int | None = None) -> None:
        """Make D of δW̃ and η, for all layers or for one alone."""
        raise NotImplementedError

    def rotate_input(self, rotation: NDArray) -> None:
        """Take the input layer to the coordinates of another basis."""
        for stack in self._stacks():
            stack.matrices[0][:] = rotation @ stack.matrices[0]

    def forget(self) -> None:
        """Begin again at rest."""
        for stack in self._stacks():
            stack.flat[:] = 0

    def _stacks(self) -> list[FlatParameters]:
        remembered = (getattr(self, name) for name in self.remembered)
        return [stack for stack in remembered if isinstance(stack, FlatParameters)]


class HeavyBall(OuterStep):
    """η, which may depend on the batch, is inside V, so that a batch with a large δW̃ weighs no more
    in it than others."""

    def update(self, changes: FlatParameters, step_size: float, layer: int | None = None) -> None:
        changes, velocity = _parts(layer, changes, self.direction)
        velocity.scale(self._momentum)
        velocity.add(step_size, changes)


class Nesterov(OuterStep):
    remembered = ("direction", "_velocity")

    def __init__(self, weights: FlatParameters, *options: Any) -> None:
        super().__init__(weights, *options)
        self._velocity = weights.zeros_like()

    def update(self, changes: FlatParameters, step_size: float, layer: int | None = None) -> None:
        changes, velocity, ahead = _parts(layer, changes, self._velocity, self.direction)
        _look_ahead(velocity, self._momentum, step_size, changes, ahead)


class Adam(OuterStep):
    """beta2: β₂. eps: ε, beside √v̂ of δW̃, which large penalties make small."""

    remembered = ("direction", "_mean", "_squares", "_updates")

    def __init__(
        self, weights: FlatParameters, *options: Any, beta2: float = BETA2, eps: float = 1e-12
    ) -> None:
        super().__init__(weights, *options)
        self._beta2, self._eps = beta2, eps
        self._mean, self._squares = weights.zeros_like(), weights.zeros_like()  # v/(1 − β₂)
        self._updates = [0] * len(weights.matrices)  # of each layer

    def update(self, changes: FlatParameters, step_size: float, layer: int | None = None) -> None:
        layers = range(len(self._updates)) if layer is None else [layer]
        for one in layers:
            self._updates[one] += 1
        updates, beta = self._updates[layers[0]], self._momentum
        stacks = _parts(layer, changes, self._mean, self._squares, self.direction)
        of_root = float(np.sqrt((1 - self._beta2) / (1 - self._beta2**updates)))
        rate = step_size / (1 - beta**updates)
        for begin in range(0, changes.flat.size, IN_CACHE):
            here = slice(begin, begin + IN_CACHE)
            change, mean, squares, root = (stack.flat[here] for stack in stacks)
            np.multiply(change, 1 - beta, out=root)
            mean *= beta
            mean += root
            np.square(change, out=root)
            squares *= self._beta2
            squares += root
            np.sqrt(squares, out=root)
            root *= of_root
            root += self._eps  # √v̂ + ε, in whose place D comes
            np.divide(mean, root, out=root)
            root *= rate

    def rotate_input(self, rotation: NDArray) -> None:
        before = self._squares.matrices[0].copy()
        super().rotate_input(rotation)
        self._squares.matrices[0][:] = np.square(rotation) @ before

    def forget(self) -> None:
        super().forget()
        self._updates = [0] * len(self._updates)


class Orthogonal(OuterStep):
    remembered = ("direction", "_velocity")

    def __init__(self, weights: FlatParameters, *options: Any) -> None:
        super().__init__(weights, *options)
        self._velocity, self._ahead = weights.zeros_like(), weights.zeros_like()
        self._asked = self._ahead if self._right_factors is None else weights.zeros_like()

    def right_side(self, moments: FlatParameters) -> FlatParameters:
        """Return M + μ V, times R^(1/2): what the layers are to be solved for, in place of M."""
        _look_ahead(self._velocity, self._momentum, 1.0, moments, self._ahead)
        if self._right_factors is not None:
            self._right_factors.multiply(self._ahead, self._asked)
        return self._asked

    def update(self, changes: FlatParameters, step_size: float, layer: int | None = None) -> None:
        stacks = self._asked, changes, self.direction
        for moment, change, out in zip(*(stack.matrices for stack in stacks), strict=True):
            np.multiply(orthogonal(moment, change), step_size, out=out)
        if self._right_factors is not None:  # R^(1/2) on this side too
            self._right_factors.multiply(self.direction, self._ahead)
            self.direction.flat[:] = self._ahead.flat


def _look_ahead(
    velocity: FlatParameters,
    momentum: float,
    factor: float,
    changes: FlatParameters,
    ahead: FlatParameters,
) -> None:
    """V ← μ V + factor · X, and write factor · X + μ V to `ahead`."""
    velocity.scale(momentum)
    velocity.add(factor, changes)
    np.multiply(velocity.flat, momentum, out=ahead.flat)
    ahead.add(factor, changes)


def _parts(layer: int | None, *stacks: FlatParameters) -> list[FlatParameters]:
    return [stack if layer is None else stack.part(layer) for stack in stacks]


def orthogonal(moment: NDArray, change: NDArray) -> NDArray:
    """Return about √max(1, m/d) A^(−1/2) polar(A^(−1/2) M) from M and X = A⁻¹M, both (d, m).

    Where both sides are above WIDEST, of BLOCK outputs at a time: the cost of a root grows with the
    cube of the smaller side. Zero for M = 0.
    """
    d, m = moment.shape
    if min(d, m) > WIDEST:
        cuts = range(BLOCK, m, BLOCK)
        pairs = zip(np.split(moment, cuts, axis=1), np.split(change, cuts, axis=1), strict=True)
        return np.concatenate([orthogonal(*pair) for pair in pairs], axis=1)
    if m <= d:
        return change @ inverse_root(moment.T @ change)
    return np.sqrt(m / d, dtype=change.dtype) * (inverse_root(change @ moment.T) @ change)


def inverse_root(s: NDArray) -> NDArray:
    """Return about S^(−1/2) of S (k, k) without negative eigenvalues, symmetric or not.

    It is finite for S = 0 too, where X is 0.

    With Q = S/trace(S), none of whose eigenvalues is above 1, and T = I each quintic is
    P = aI + bQ + cQ², T ← P T, Q ← P Q P: X ← P X in terms of Q = X Xᵀ alone. An eigenvalue of
    Q below 0.005² ends up too small in X: of such a direction nothing but noise is known.
    """
    size = max(float(s.trace()), float(np.finfo(s.dtype).tiny) * 1e6)
    q, t = s / size, None
    diagonal = slice(None, None, len(s) + 1)
    for step, (a, b, c) in enumerate(QUINTICS, start=1):
        p = q @ q
        p *= c
        p += b * q
        p.flat[diagonal] += a
        t = p if t is None else p @ t
        if step < len(QUINTICS):
            q = p @ q @ p
    assert t is not None
    t *= size**-0.5
    return t


Outer = Literal["momentum", "nesterov", "adam", "orthogonal"]
OUTER: dict[Outer, type[OuterStep]] = {
    "momentum": HeavyBall,
    "nesterov": Nesterov,
    "adam": Adam,
    "orthogonal": Orthogonal,
}
