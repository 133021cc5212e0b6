"""A network's losses as a function of all its parameters θ (p,), and directions and planes among
them: filter-normalised ones (Li et al. 2018, section 4) and those of a path (section 7).

p numbers are too many to look at; what a plane or a line shows of them is a section.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils import parameters_to_vector
from torch.utils.flop_counter import FlopCounterMode

from new_algorithm.analysis.subject import Rows, Subject, is_relu_network
from new_algorithm.record.files import Row

MOST_OPERATIONS = 2e12  # of all points together: a minute of one core
FEWEST_ROWS = 20
CHUNK = 500  # rows in a pass: images become large inside a network


def parameters_of(network: nn.Module) -> Tensor:
    """Return θ (p,): all parameters of a network in their order, without a graph."""
    return parameters_to_vector(network.parameters()).detach()


def shapes_of(network: nn.Module) -> dict[str, torch.Size]:
    return {name: one.shape for name, one in network.named_parameters()}


class LossSurface:
    """Mean losses and accuracies on `rows` training rows and as many held-out ones, of networks
    with a subject's architecture and any parameters.

    rows: at most; fewer where `points` passes through all of them would take minutes.

    Batch norms have at each point the means and variances of the training rows there, as a network
    trained at that point would: with the statistics of the end, a step along a layer's weights
    is followed by a norm made for others, and even a change of scale alone, to which such a
    network is blind, would look like a slope. The paper's code keeps the end's.
    """

    def __init__(self, subject: Subject, rows: int, seed: int, points: int) -> None:
        self.network = copy.deepcopy(subject.network)
        self.shapes = shapes_of(self.network)
        self._objective, self._accuracy = subject.objective, subject.loss.accuracy
        self.norms = [
            one
            for one in self.network.modules()
            if isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
        ]
        for norm in self.norms:
            norm.momentum = 1.0  # statistics of the last pass alone
        one_row = subject.rows("train", 1, seed)[0]
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self.network(one_row)
        passes = 3 if self.norms else 2  # of at()
        most = MOST_OPERATIONS / max(passes * points * counter.get_total_flops(), 1)
        self.count = min(rows, max(FEWEST_ROWS, int(most)))
        self._rows = {part: subject.rows(part, self.count, seed) for part in subject.parts}

    @torch.no_grad()
    def linear(self, theta: Tensor) -> dict[Rows, Tensor] | None:
        """Return what the first layer makes of both parts' rows at θ, which is linear in θ; None of
        a network that does not begin with such a layer, and is more than it."""
        if not is_relu_network(self.network) or len(self.shapes) == 2:
            return None
        weight, bias = list(self._state(theta).values())[:2]
        return {part: functional.linear(x, weight, bias) for part, (x, _) in self._rows.items()}

    def _state(self, theta: Tensor) -> dict[str, Tensor]:
        sizes = [shape.numel() for shape in self.shapes.values()]
        return {
            name: piece.view(shape)
            for (name, shape), piece in zip(self.shapes.items(), theta.split(sizes), strict=True)
        }

    @torch.no_grad()
    def at(self, theta: Tensor, first: Mapping[Rows, Tensor] | None = None) -> Row:
        """Return <part>_loss, and of classifiers <part>_accuracy, of both parts at θ (p,).

        first: `linear` of θ, where it is known.
        """
        state = self._state(theta)
        state |= {name: one.clone() for name, one in self.network.named_buffers()}
        if self.norms:
            self._train_norms(True)
            functional_call(self.network, state, (self._rows["train"][0],))  # into the clones
            self._train_norms(False)
        values: Row = {}
        network = self.network
        if first is None:
            passes = {part: x.split(CHUNK) for part, (x, _) in self._rows.items()}
        else:
            passes = {part: (z,) for part, z in first.items()}
            assert isinstance(network, nn.Sequential)  # as `linear` knows
            network = network[1:]  # its modules keep their names
            state = dict(list(state.items())[2:])
        for part, (_, y) in self._rows.items():
            outputs = torch.cat([functional_call(network, state, (one,)) for one in passes[part]])
            values[f"{part}_loss"] = float(self._objective(outputs, y))
            if self._accuracy:
                flat = outputs.flatten(0, -2).numpy()
                values[f"{part}_accuracy"] = self._accuracy(flat, y.flatten().numpy())
        return values

    def _train_norms(self, mode: bool) -> None:
        for norm in self.norms:
            norm.train(mode)


def filter_normalised(network: nn.Module, generator: torch.Generator) -> Tensor:
    """Return a random direction (p,) of which each filter is as long as the network's.

    Filters are the rows of a weight, d_ij ← d_ij / ‖d_ij‖ · ‖θ_ij‖ (Li et al. 2018, section 4);
    biases and the parameters of norms, which have one dimension, do not move, as in the authors'
    code.
    """
    pieces = []
    for weight in network.parameters():
        piece = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        if weight.dim() <= 1:
            pieces.append(torch.zeros(weight.numel(), dtype=weight.dtype))
            continue
        rows = piece.flatten(1)
        lengths = weight.detach().flatten(1).norm(dim=1, keepdim=True)
        pieces.append((rows / rows.norm(dim=1, keepdim=True) * lengths).flatten())
    return torch.cat(pieces)


class PathPlane(NamedTuple):
    """directions: orthonormal (2, p). coordinates: of each point of the path (n, 2), from its last.
    shares: of the path's variance along each principal direction (n − 1,), falling."""

    directions: Tensor
    coordinates: NDArray
    shares: NDArray


def path_plane(path: Sequence[Tensor]) -> PathPlane:
    """Return the plane through the end of a path of at least three points θ_i (p,) along its two
    leading principal directions, those of the rows θ_i − θ_n (Li et al. 2018, section 7).

    All parameters count, as by default in the authors' code: a bias that moves is a part of the
    path.
    """
    steps = (torch.stack(list(path)) - path[-1]).double()
    singular, directions = torch.linalg.svd(steps - steps.mean(0), full_matrices=False)[1:]
    variances = singular.square()[:-1]  # centred rows have one rank less
    leading = directions[:2]
    # the sign of a singular vector is free: the path begins at coordinates ≥ 0
    leading = leading * torch.where(leading @ steps[0] < 0, -1.0, 1.0)[:, None]
    shares = (variances / variances.sum()).numpy()
    return PathPlane(leading.to(path[-1].dtype), (steps @ leading.T).numpy(), shares)


def random_walk_shares(n: int) -> NDArray:
    """Return the shares of variance (n − 1,) along the principal directions of n points of a random
    walk in very many dimensions.

    Centred points are D⁺ times independent steps, D (n − 1, n) the differences of neighbours;
    the eigenvalues of DDᵀ are 4 sin²(πk/2n). For n → ∞ the shares are 6/(πk)² (Antognini and
    Sohl-Dickstein 2018).
    """
    eigenvalues = np.sin(math.pi * np.arange(1, n) / (2 * n)) ** -2.0
    return eigenvalues / eigenvalues.sum()


def on_plane(
    surface: LossSurface,
    origin: Tensor,
    directions: Sequence[Tensor] | Tensor,
    a: NDArray,
    b: NDArray,
) -> list[Row]:
    """Return a row a point origin + a d₁ + b d₂ of a grid: a, b and what the surface has there."""
    first, second = directions
    through = [surface.linear(one) for one in (origin, first, second)]
    return [
        {"a": i, "b": j}
        | surface.at(origin + i * first + j * second, _combined(through, (1.0, i, j)))
        for i in map(float, a)
        for j in map(float, b)
    ]


def _combined(
    through: Sequence[Mapping[Rows, Tensor] | None], factors: Sequence[float]
) -> dict[Rows, Tensor] | None:
    """`LossSurface.linear` of a combination of points, from that of each."""
    known = [one for one in through if one is not None]
    if not known:
        return None
    return {
        part: sum((f * one[part] for f, one in zip(factors, known, strict=True)), torch.zeros(()))
        for part in known[0]
    }


def on_line(surface: LossSurface, start: Tensor, end: Tensor, t: NDArray) -> list[Row]:
    """Return a row a point (1 − t) start + t end: t and what the surface has there."""
    ends = [surface.linear(one) for one in (start, end)]
    return [
        {"t": s} | surface.at(torch.lerp(start, end, s), _combined(ends, (1 - s, s)))
        for s in map(float, t)
    ]


def barrier(t: NDArray, values: NDArray) -> tuple[float, float]:
    """Return max_t L(t) − ((1 − t) L(0) + t L(1)), at least 0, and the t where it is reached.

    The error barrier of Frankle et al. (2020), above the chord as in Entezari et al. (2022).
    """
    above = values - ((1 - t) * values[0] + t * values[-1])
    highest = int(np.argmax(above))
    return max(float(above[highest]), 0.0), float(t[highest])
