"""Curvature of the train loss: its Hessian, its Gauss–Newton matrix, and back projection's belief.

In a ReLU network the outputs are piecewise linear in the weights of one layer, so that a layer's
block of the Hessian is its Gauss–Newton block: there blocks of the latter alone are looked at.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from new_algorithm.analysis.beliefs import Point, beliefs, bend, folded, overlap, promises
from new_algorithm.analysis.directions import penalties_of
from new_algorithm.analysis.figures import curvature as figures
from new_algorithm.analysis.findings import Findings, Part, Settings, Table
from new_algorithm.analysis.spectra import (
    GAUSS_NEWTON,
    HESSIAN,
    Batches,
    Eigenpairs,
    Operator,
    density,
    leading_eigenpairs,
    operator,
    trace,
)
from new_algorithm.analysis.subject import Subject, is_relu_network
from new_algorithm.analysis.told_curvature import told_of_beliefs, told_of_spectra
from new_algorithm.methods.torch_network import folded_weights
from new_algorithm.record.files import Row

LEADING, LEADING_OF_LAYER = 10, 5  # eigenvalues
LOWEST = 1  # of a Hessian, whose lowest may be below zero
RANK, RANK_OF_LAYER = 12, 8  # of Hutch++: the outliers, of which each class has about one
ESTIMATES = 4  # of a trace
STEPS, PROBES = 32, 3  # of a density
FEWER, BATCH = 20, 25  # convolutions and sequences: a twentieth of the rows, so many at a time
ETAS = np.array([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0])  # steps


class Spectrum(NamedTuple):
    """pairs: leading eigenpairs, of a Hessian those of the lower end too. trace, error: of it."""

    block: str
    matrix: str
    size: int
    pairs: Eigenpairs
    trace: float
    error: float

    @property
    def largest(self) -> float:
        return float(self.pairs.values[-1]) if len(self.pairs.values) else math.nan

    @property
    def smallest(self) -> float:
        """NaN of a Gauss–Newton matrix, which has none below zero, and where none converged."""
        return float(self.pairs.values[0]) if self.pairs.lowest else math.nan

    def row(self) -> Row:
        return {
            "block": self.block,
            "matrix": self.matrix,
            "parameters": self.size,
            "largest": self.largest,
            "smallest": self.smallest,
            "worst_residual": float(np.max(self.pairs.residuals, initial=0.0)),
            "trace": self.trace,
            "trace_error": self.error,
        }

    def eigenvalues(self) -> Iterator[Row]:
        pairs = zip(self.pairs.values[::-1], self.pairs.residuals[::-1], strict=True)
        for value, residual in pairs:
            named = {"block": self.block, "matrix": self.matrix}
            yield named | {"eigenvalue": float(value), "residual": float(residual)}


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
    block: str, kind: str, matrix: Operator, seed: int, leading: int, rank: int
) -> Spectrum:
    pairs = leading_eigenpairs(matrix, leading, seed, LOWEST if kind == HESSIAN else 0)
    return Spectrum(block, kind, matrix.shape[0], pairs, *trace(matrix, rank, ESTIMATES))


def whole(subject: Subject, batches: Batches, seed: int) -> tuple[list[Spectrum], list[Row]]:
    """Return the spectra of both matrices, and their densities."""
    spectra, rows = [], []
    for kind in (GAUSS_NEWTON, HESSIAN):
        matrix = operator(kind, subject.network, subject.objective, batches)
        one = spectrum("all", kind, matrix, seed, LEADING, RANK)
        spectra.append(one)
        low = one.smallest if kind == HESSIAN else 0.0
        if one.largest > low:
            points = zip(*density(matrix, (low, one.largest), STEPS, PROBES), strict=True)
            names = "eigenvalue", "density", "error"
            found = (dict(zip(names, map(float, point), strict=True)) for point in points)
            rows += [{"matrix": kind} | point for point in found]
    return spectra, rows


def of_layers(subject: Subject, batches: Batches, seed: int) -> list[Spectrum]:
    kinds = (GAUSS_NEWTON,) if is_relu_network(subject.network) else (GAUSS_NEWTON, HESSIAN)
    found = []
    for name, layer in named_layers(subject).items():
        for kind in kinds:
            own = list(layer.parameters())
            matrix = operator(kind, subject.network, subject.objective, batches, own)
            found.append(spectrum(name, kind, matrix, seed, LEADING_OF_LAYER, RANK_OF_LAYER))
    return found


def of_beliefs(
    subject: Subject, settings: Settings, layers: Sequence[Spectrum]
) -> tuple[list[Row], list[Row]]:
    """Return a row a layer, and a row a step of all layers together and of each alone."""
    subject = subject.in_double()
    x, y = subject.rows("train", settings.rows, settings.seed)
    matrix = operator(GAUSS_NEWTON, subject.network, subject.objective, [(x, y)])
    point = Point(folded_weights(subject.network), x.numpy(), y.numpy(), subject.loss, matrix)
    believed = beliefs(point, penalties_of(subject.record, len(layers)))
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
        (gauss_newton, hessian), densities = whole(subject, batches, settings.seed)
        layers = of_layers(subject, batches, settings.seed)
    spectra = [gauss_newton, hessian, *layers]
    count = sum(len(x) for x, _ in batches)
    told = [one.row() for one in spectra]
    pairs = [row for one in spectra for row in one.eigenvalues()]
    found = Findings(
        tables=[
            Table("curvature", f"Eigenvalues and traces, on {count:,} train rows", told),
            Table("eigenvalues", "Leading eigenvalues", pairs, shown=False),
            Table("density", "Spectral densities", densities, shown=False),
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


PART = Part(
    "curvature",
    "Curvature",
    analyse,
    {
        "density.csv": (figures.draw_density, (8.0, 3.6)),
        "curvature.csv": (figures.draw_layers, (8.0, 3.6)),
        "decreases.csv": (figures.draw_decreases, (8.0, 3.8)),
    },
    {
        "density": "Spectral density by stochastic Lanczos quadrature: the mean over probes, and a "
        "standard error on both sides of it.",
        "curvature": "Each layer's block: its largest eigenvalue, and its trace with two standard "
        "errors.",
        "decreases": "Decrease of the loss along back projection's changes, over what the slope "
        "promises: all layers together, and some of them alone.",
    },
)
