"""Curvature of the train loss: its Hessian, its Gauss–Newton matrix, and back projection's belief.

In a ReLU network the outputs are piecewise linear in the weights of one layer, so that a layer's
block of the Hessian is its Gauss–Newton block: there blocks of the latter alone are looked at.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from new_algorithm.analysis.beliefs import Point, beliefs, bend, folded, overlap, promises
from new_algorithm.analysis.directions import deltas, input_basis, penalties_of
from new_algorithm.analysis.figures import curvature as figures
from new_algorithm.analysis.findings import Findings, Part, Settings, Table
from new_algorithm.analysis.likelihood import exact_factors, is_exact
from new_algorithm.analysis.relu_curvature import LayerBlock, ReluMatrix
from new_algorithm.analysis.spectra import (
    GAUSS_NEWTON,
    HESSIAN,
    Batches,
    Density,
    Eigenpairs,
    Operator,
    density,
    leading_eigenpairs,
    operator,
    trace,
)
from new_algorithm.analysis.subject import Subject, is_relu_network
from new_algorithm.analysis.told_curvature import told_of_beliefs, told_of_spectra
from new_algorithm.back_projection.network import append_ones, forward
from new_algorithm.methods.torch_network import folded_weights
from new_algorithm.record.files import Row

LEADING, LEADING_OF_LAYER = 10, 5  # eigenvalues
LOWEST = 1  # of a Hessian, whose lowest may be below zero
RANK, RANK_OF_LAYER = 12, 8  # of Hutch++: the outliers, of which each class has about one
ESTIMATES = 4  # of a trace
STEPS, PROBES = 32, 3  # of a density
STEPS_OF_LAYER = 24
TENTH = 0.1  # of the largest eigenvalue: above it lies what is counted as large
FEWER, BATCH = 20, 25  # convolutions and sequences: a twentieth of the rows, so many at a time
ETAS = np.array([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0])  # steps


class Spectrum(NamedTuple):
    """pairs: leading eigenpairs, of a Hessian those of the lower end too. trace, error: of it.
    density: none where no eigenvalue is above the lower end."""

    block: str
    matrix: str
    size: int
    pairs: Eigenpairs
    trace: float
    error: float
    density: Density | None

    @property
    def largest(self) -> float:
        return largest_of(self.pairs)

    def row(self) -> Row:
        return {
            "block": self.block,
            "matrix": self.matrix,
            "parameters": self.size,
            "largest": self.largest,
            "smallest": smallest_of(self.pairs),
            "worst_residual": float(np.max(self.pairs.residuals, initial=0.0)),
            "trace": self.trace,
            "trace_error": self.error,
            **self._large(),
        }

    def _large(self) -> Row:
        """The number of eigenvalues above a tenth of the largest, by the density."""
        if self.density is None:
            return {"above_a_tenth": math.nan, "above_a_tenth_error": math.nan}
        share, error = self.density.share_above(TENTH * self.largest)
        return {"above_a_tenth": share * self.size, "above_a_tenth_error": error * self.size}

    def eigenvalues(self) -> Iterator[Row]:
        pairs = zip(self.pairs.values[::-1], self.pairs.residuals[::-1], strict=True)
        for value, residual in pairs:
            named = {"block": self.block, "matrix": self.matrix}
            yield named | {"eigenvalue": float(value), "residual": float(residual)}

    def densities(self) -> Iterator[Row]:
        if self.density is None:
            return
        columns = self.density.grid, self.density.mean, self.density.error
        for point in zip(*columns, strict=True):
            names = "eigenvalue", "density", "error"
            named = {"block": self.block, "matrix": self.matrix}
            yield named | dict(zip(names, map(float, point), strict=True))


def largest_of(pairs: Eigenpairs) -> float:
    """NaN where none converged."""
    return float(pairs.values[-1]) if len(pairs.values) else math.nan


def smallest_of(pairs: Eigenpairs) -> float:
    """NaN of a Gauss–Newton matrix, which has none below zero, and where none converged."""
    return float(pairs.values[0]) if pairs.lowest else math.nan


def batches_of(subject: Subject, settings: Settings) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the training rows that the matrices are means over."""
    if is_relu_network(subject.network):
        return [subject.rows("train", settings.rows, settings.seed)]
    x, y = subject.rows("train", max(1, settings.rows // FEWER), settings.seed)
    return list(zip(x.split(BATCH), y.split(BATCH), strict=True))


def named_layers(subject: Subject) -> dict[str, nn.Module]:
    """Return layers by what a reader calls them."""
    if is_relu_network(subject.network):
        return {f"layer {i}": one for i, one in enumerate(subject.layers.values(), start=1)}
    return subject.layers


def spectrum(
    block: str, kind: str, matrix: Operator, seed: int, leading: int, rank: int, steps: int
) -> Spectrum:
    pairs = leading_eigenpairs(matrix, leading, seed, LOWEST if kind == HESSIAN else 0)
    of_trace = trace(matrix, rank, ESTIMATES)
    bounds = smallest_of(pairs) if kind == HESSIAN else 0.0, largest_of(pairs)
    of_all = density(matrix, bounds, steps, PROBES) if bounds[1] > bounds[0] else None
    return Spectrum(block, kind, matrix.shape[0], pairs, *of_trace, of_all)


def whole(subject: Subject, batches: Batches, seed: int) -> list[Spectrum]:
    """Return the spectra of both matrices."""
    found = []
    for kind in (GAUSS_NEWTON, HESSIAN):
        if is_relu_network(subject.network):
            matrix = ReluMatrix(kind, subject.network, subject.loss, *batches[0])
        else:
            matrix = operator(kind, subject.network, subject.objective, batches)
        found.append(spectrum("all", kind, matrix, seed, LEADING, RANK, STEPS))
    return found


def of_layers(subject: Subject, batches: Batches, seed: int) -> list[Spectrum]:
    sizes = LEADING_OF_LAYER, RANK_OF_LAYER, STEPS_OF_LAYER
    return [
        spectrum(name, kind, matrix, seed, *sizes)
        for name, matrices in blocks(subject, batches).items()
        for kind, matrix in matrices.items()
    ]


def blocks(subject: Subject, batches: Batches) -> dict[str, Mapping[str, Operator]]:
    """Return the matrices of each layer by kind, those of a ReLU network being one."""
    relu = is_relu_network(subject.network)
    names = named_layers(subject)
    if relu and is_exact(subject.network(batches[0][0][:1]).detach().numpy()):
        own = layer_blocks(subject, batches[0][0])
        return {name: {GAUSS_NEWTON: one} for name, one in zip(names, own, strict=True)}
    given = subject.network, subject.objective, batches
    kinds = (GAUSS_NEWTON,) if relu else (GAUSS_NEWTON, HESSIAN)
    return {
        name: {kind: operator(kind, *given, list(layer.parameters())) for kind in kinds}
        for name, layer in names.items()
    }


def layer_blocks(subject: Subject, x: torch.Tensor) -> list[LayerBlock]:
    """Return those of a ReLU network's layers, as `likelihood.exact_factors` are passed back."""
    weights = folded_weights(subject.network)
    inputs, outputs = forward(weights, append_ones(x.numpy()))
    hidden = [h[:, :-1] for h in inputs[1:]]  # above 0 where Z is
    passed = deltas(weights, hidden, exact_factors(subject.loss, outputs))
    return [LayerBlock(*map(torch.from_numpy, pair)) for pair in zip(inputs, passed, strict=True)]


def of_beliefs(
    subject: Subject, settings: Settings, layers: Sequence[Spectrum]
) -> tuple[list[Row], list[Row]]:
    """Return a row a layer, and a row a step of all layers together and of each alone."""
    subject = subject.in_double()
    x, y = subject.rows("train", settings.rows, settings.seed)
    matrix = ReluMatrix(GAUSS_NEWTON, subject.network, subject.loss, x, y)
    point = Point(folded_weights(subject.network), x.numpy(), y.numpy(), subject.loss, matrix)
    penalties = penalties_of(subject.record, len(layers))
    believed = beliefs(point, penalties, input_basis(subject))
    told: list[Row] = []
    steps = promises(point, "all", dict(enumerate(believed)), ETAS)
    for index, (belief, block) in enumerate(zip(believed, layers, strict=True)):
        steps += promises(point, block.block, {index: belief}, ETAS)
        values, outputs = belief.of_g[0], point.weights[index].shape[1]
        vectors = folded(block.pairs.vectors, outputs)
        share, chance = overlap(vectors, belief.of_g[1]) if len(vectors) else (math.nan, math.nan)
        along = _ratio(belief.slope, bend(point, {index: belief.change}))
        told.append(
            {
                "layer": block.block,
                "largest_of_model": float(values[-1]),
                "largest_of_block": block.largest,
                "ratio": _ratio(float(values[-1]), block.largest),
                "ratio_of_traces": _ratio(float(values.sum()) * outputs, block.trace),
                "ratio_along_change": along,
                "overlap": share,
                "by_chance": chance,
            }
        )
    return told, steps


def _ratio(model: float, actual: float) -> float:
    return model / actual if actual > 0 else math.nan


def analyse(subject: Subject, settings: Settings) -> Findings:
    batches = batches_of(subject, settings)
    # of attention only the plain form has a derivative forwards
    with torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH):
        torch.manual_seed(settings.seed)
        of_all = whole(subject, batches, settings.seed)
        layers = of_layers(subject, batches, settings.seed)
    spectra = [*of_all, *layers]
    count = sum(len(x) for x, _ in batches)
    told = [one.row() for one in spectra]
    pairs = [row for one in spectra for row in one.eigenvalues()]
    found = Findings(
        tables=[
            Table("curvature", f"Eigenvalues and traces, on {count:,} train rows", told),
            Table("eigenvalues", "Leading eigenvalues", pairs, shown=False),
            Table("density", "Spectral densities", _densities(of_all), shown=False),
            Table("density_layers", "Those of layers", _densities(layers), shown=False),
        ]
    )
    relu = is_relu_network(subject.network)
    found.sentences += told_of_spectra(told, pairs, count, relu)
    if relu:
        rows, steps = of_beliefs(subject, settings, layers)
        title = "What back projection believes of each layer, over what is"
        found.tables += [
            Table("beliefs", title, rows),
            Table("decreases", "Decrease along the changes", steps, shown=False),
        ]
        found.sentences += told_of_beliefs(rows, steps)
    return found


def _densities(spectra: Sequence[Spectrum]) -> list[Row]:
    return [row for one in spectra for row in one.densities()]


PART = Part(
    "curvature",
    "Curvature",
    analyse,
    {
        "density.csv": (figures.draw_density, (8.0, 3.6)),
        "density_layers.csv": (figures.draw_densities_of_layers, (9.0, 6.6)),
        "curvature.csv": (figures.draw_layers, (8.0, 3.6)),
        "decreases.csv": (figures.draw_decreases, (8.0, 3.8)),
    },
    {
        "density": "Spectral density by stochastic Lanczos quadrature: the mean over probes, and a "
        "standard error on both sides of it.",
        "density_layers": "The same of the layers' blocks; of more than "
        f"{figures.PANELS} layers so many, evenly.",
        "curvature": "Each layer's block: its largest eigenvalue, and its trace with two standard "
        "errors.",
        "decreases": "Decrease of the loss along back projection's changes, over what the slope "
        "promises: all layers together, and some of them alone.",
    },
)
