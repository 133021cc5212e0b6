"""The loss around the end of a run, along the path to it, and between it and another run's end.

A random plane shows how fast the loss rises, in units of the network's own filters; the plane of
the path how straight the training went; a line between two ends whether they lie in one basin.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from new_algorithm.analysis.figures import column
from new_algorithm.analysis.figures import landscape as figures
from new_algorithm.analysis.findings import Findings, Part, Settings, Table
from new_algorithm.analysis.matching import chain_of, matched, permuted
from new_algorithm.analysis.subject import Subject
from new_algorithm.analysis.weight_space import (
    LossSurface,
    barrier,
    filter_normalised,
    on_line,
    on_plane,
    parameters_of,
    path_plane,
    random_walk_shares,
    shapes_of,
)
from new_algorithm.record.files import Row

SIDE = 21  # points of a grid each way
POINTS = 31  # of a line
REACH = 1.0  # of the random plane each way, in lengths of filters
MARGIN = 0.25  # of the path's extent, on each side
THINNEST = 0.2  # a side of the path's plane, of the other one
NOTHING = 1e-5  # a barrier that is rounding alone, of the highest loss


def analyse(subject: Subject, settings: Settings) -> Findings:
    surface = LossSurface(subject, settings.rows, settings.seed, 2 * SIDE**2)
    found = Findings()
    for part in (
        random_plane(subject, surface, settings.seed),
        plane_of_path(subject, surface),
        lines(subject, surface, settings.other),
    ):
        found.tables += part.tables
        found.sentences += part.sentences
    return found


def random_plane(subject: Subject, surface: LossSurface, seed: int) -> Findings:
    """The loss at the end of the run plus a d₁ + b d₂, of two filter-normalised directions."""
    generator = torch.Generator().manual_seed(seed)
    directions = [filter_normalised(subject.network, generator) for _ in range(2)]
    steps = np.linspace(-REACH, REACH, SIDE)
    rows = on_plane(surface, parameters_of(subject.network), directions, steps, steps)
    told = []
    for part in subject.parts:
        at = {radius: _around(rows, f"{part}_loss", radius) for radius in (0.0, 0.5, 1.0)}
        told.append(f"{part} {_shown(at[0.0])}, {_shown(at[0.5])} and {_shown(at[1.0])}")
    sentences = [
        f"On a random plane the loss of up to {surface.count:,} rows of a part at the end, and at "
        ".5 and 1 lengths of each filter from it on average along both directions, is "
        f"{'; '.join(told)}.",
        _coincidence(rows, subject.parts, "random plane"),
    ]
    if surface.norms:
        sentences.append(
            "Batch norms have at each point the statistics of the training rows there, so that the "
            "loss at the end is not quite the record's."
        )
    return Findings(
        [Table("landscape_random", "Loss on a random plane", rows, shown=False)],
        sentences=sentences,
    )


def plane_of_path(subject: Subject, surface: LossSurface) -> Findings:
    """The loss on the plane of the path's two leading principal directions, through the last
    epoch kept."""
    epochs, path = [], []
    for epoch, network in subject.over_time():
        epochs.append(epoch)
        path.append(parameters_of(network))
    if len(path) < 3:
        words = f"The path has {len(path)} of the 3 snapshots that a plane needs: it is not drawn."
        return Findings(sentences=[words])
    plane = path_plane(path)
    a, b = _grid_around(plane.coordinates)
    rows = on_plane(surface, path[-1], plane.directions, a, b)
    steps: list[Row] = []
    for epoch, theta, (i, j) in zip(epochs, path, plane.coordinates, strict=True):
        off = float(torch.dist(theta - path[-1], torch.tensor([i, j]).to(theta) @ plane.directions))
        steps.append({"epoch": epoch, "a": i, "b": j, "off_plane": off, **surface.at(theta)})
    walk = random_walk_shares(len(path))
    sentences = [
        f"The path's two leading directions have {plane.shares[0]:.3f} and {plane.shares[1]:.3f} "
        f"of the variance of its {len(path)} snapshots; of a random walk of as many they would "
        f"have {walk[0]:.3f} and {walk[1]:.3f}. It goes through the last epoch kept, "
        f"{epochs[-1]}.",
        _coincidence(rows, subject.parts, "plane of the path"),
    ]
    return Findings(
        [
            Table("landscape_path", "Loss on the plane of the path", rows, shown=False),
            Table("path", "The path: place on its plane, distance from it, own losses", steps),
        ],
        sentences=sentences,
    )


def lines(subject: Subject, surface: LossSurface, other: Subject | None) -> Findings:
    """The loss from the start of the run to its end, and from there to another run's end."""
    found = Findings()
    end = parameters_of(subject.network)
    ways: dict[str, tuple[Tensor, Tensor]] = {}
    if 0 in subject.snapshots:
        start = parameters_of(subject.load(subject.snapshots[0]()))
        ways["start to end"] = start, end
    if other is not None and shapes_of(other.network) != surface.shapes:
        words = f"{subject.tag} and {other.tag} have different layers: no line joins them."
        found.sentences.append(words)
    elif other is not None:
        ways[f"to {other.tag}"] = end, parameters_of(other.network)
        ours, theirs = chain_of(subject.network), chain_of(other.network)
        if ours and theirs:
            target = permuted(theirs, matched(ours, theirs))
            ways[f"to {other.tag}, units matched"] = end, target
    t = np.linspace(0, 1, POINTS)
    points: list[Row] = []
    barriers: list[Row] = []
    for line, (first, last) in ways.items():
        rows = on_line(surface, first, last, t)
        points += [{"line": line, **row} for row in rows]
        one: Row = {"line": line}
        for name in list(rows[0])[1:]:
            sign = -1 if name.endswith("accuracy") else 1
            one[name], one[f"{name}_at"] = barrier(t, sign * column(rows, name))
        barriers.append(one)
        found.sentences.append(_told(line, rows, one, subject))
    if ways:
        title = "Barriers: how far loss and error rise above the chord of a line, and at which t"
        found.tables = [
            Table("slices", "Loss along lines", points, shown=False),
            Table("barriers", title, barriers),
        ]
    return found


def _told(line: str, rows: list[Row], barriers: Row, subject: Subject) -> str:
    train, held_out = (f"{part}_loss" for part in subject.parts)
    losses = column(rows, train)
    heights = (
        f"a barrier of {_shown(barriers[train])} at t = {barriers[f'{train}_at']:.2f} "
        f"(held out {_shown(barriers[held_out])})"
    )
    if barriers[train] < NOTHING * losses.max():
        heights = "no barrier"
    if line != "start to end":
        return f"On the line {line} the train loss has {heights}."
    if (np.diff(losses) <= 0).all():
        return "On the line from the start to the end the train loss falls all the way."
    return (
        f"On the line from the start to the end the train loss does not fall all the way: it "
        f"reaches {_shown(losses.max())}, from {_shown(losses[0])} to {_shown(losses[-1])}, and "
        f"has {heights}."
    )


def _around(rows: list[Row], name: str, radius: float) -> float:
    """The mean over the points of the grid at (±radius, 0) and (0, ±radius)."""
    return float(
        np.mean(
            [
                row[name]
                for row in rows
                if math.isclose(math.hypot(row["a"], row["b"]), radius, abs_tol=1e-9)
                and min(abs(row["a"]), abs(row["b"])) < 1e-9
            ]
        )
    )


def _grid_around(coordinates: NDArray) -> tuple[NDArray, NDArray]:
    """SIDE numbers each way (a, b) around the points of a path (n, 2), and a margin."""
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    extent = np.maximum(high - low, THINNEST * (high - low).max())
    middle, half = (low + high) / 2, (0.5 + MARGIN) * extent
    a, b = np.linspace(middle - half, middle + half, SIDE).T
    return a, b


def _coincidence(rows: list[Row], parts: tuple[str, str], plane: str) -> str:
    """Where train and held-out loss are lowest on a grid, and what one costs at the other's."""
    train, held_out = (column(rows, f"{part}_loss") for part in parts)
    lowest, other = np.nanargmin(train), np.nanargmin(held_out)
    at, there = ((rows[i]["a"], rows[i]["b"]) for i in (lowest, other))
    if lowest == other:
        return (
            f"On the {plane} train and held-out loss are lowest at the same point of the grid, "
            f"({at[0]:.3g}, {at[1]:.3g})."
        )
    return (
        f"On the {plane} the train loss is lowest at ({at[0]:.3g}, {at[1]:.3g}), the held-out "
        f"loss at ({there[0]:.3g}, {there[1]:.3g}), where it is {_shown(held_out[other])} instead "
        f"of {_shown(held_out[lowest])}."
    )


def _shown(number: float) -> str:
    return f"{number:.4g}"


PART = Part(
    "landscape",
    "Loss landscape",
    analyse,
    {
        "landscape_random.csv": (figures.draw_random, (6.4, 5.0)),
        "landscape_path.csv": (figures.draw_path, (6.4, 5.0)),
        "slices.csv": (figures.draw_slices, (9.0, 4.0)),
    },
    {
        "landscape_random": "Loss on a random plane through the end (Li et al. 2018): each "
        "direction has filter by filter the length of the network's; biases and norms stay.",
        "landscape_path": "Loss on the plane of the path's two leading principal directions, "
        "through the last epoch kept; numbers are epochs.",
        "slices": "Straight lines between networks: unbroken on training rows, dashed on held-out "
        "ones.",
    },
)
