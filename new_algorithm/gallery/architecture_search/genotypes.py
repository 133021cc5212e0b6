"""Cells as graphs: what α is about, what is derived from it, and cells drawn at random."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from new_algorithm.gallery.architecture_search.operations import NAMES, NONE

INPUTS = 2  # nodes 0 and 1: the outputs of the two cells before
EDGES_INTO_A_NODE = 2  # of a derived cell
CHOSEN = tuple(name for name in NAMES if name != NONE)  # what an edge of a derived cell may do
KINDS = ("normal", "reduction")  # of cells; reductions halve the sides of images


@dataclass(frozen=True, order=True)
class Edge:
    """From a node to a later one."""

    target: int
    source: int
    operation: str


Genotype = Mapping[str, tuple[Edge, ...]]  # the edges of each kind of cell


def rows_of(genotype: Genotype) -> list[dict[str, object]]:
    """Return a row of a table for each edge."""
    return [{"kind": kind, **vars(edge)} for kind, edges in genotype.items() for edge in edges]


def genotype_of(rows: Iterable[Mapping[str, Any]]) -> Genotype:
    """Return what `rows_of` has made rows of, also where they come from a file."""
    edges = [
        (row["kind"], Edge(int(row["target"]), int(row["source"]), row["operation"]))
        for row in rows
    ]
    return {kind: tuple(edge for of, edge in edges if of == kind) for kind in KINDS}


def all_edges(nodes: int) -> list[tuple[int, int]]:
    """Return (source, target) of every edge of a cell with so many inner nodes: the rows of α."""
    return [(s, t) for t in range(INPUTS, INPUTS + nodes) for s in range(t)]


def derive(alpha: NDArray, nodes: int) -> tuple[Edge, ...]:
    """Return the two strongest edges into every node, each with its strongest operation.

    alpha: (edges, operations). The strength of an edge is the largest share of an operation other
    than `none`, which is never chosen, but takes its part of the softmax (Liu et al. 2019, 2.4).
    """
    shares = np.exp(alpha - alpha.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    shares[:, NAMES.index(NONE)] = -1
    strength, strongest = shares.max(1), shares.argmax(1)
    edges, found = all_edges(nodes), []
    for target in range(INPUTS, INPUTS + nodes):
        into = [row for row, (_, t) in enumerate(edges) if t == target]
        for row in sorted(into, key=lambda row: -strength[row])[:EDGES_INTO_A_NODE]:
            found.append(Edge(target, edges[row][0], NAMES[strongest[row]]))
    return tuple(sorted(found))


@dataclass(frozen=True)
class Sizes:
    """Parameters of a network: `fixed`, whatever its edges; and each edge's, over all its cells,
    by (kind, whether it comes from an input, operation)."""

    fixed: int
    edge: Mapping[tuple[str, bool, str], int]

    def of(self, genotype: Genotype) -> int:
        return self.fixed + sum(
            self.edge[kind, edge.source < INPUTS, edge.operation]
            for kind, edges in genotype.items()
            for edge in edges
        )


def random_genotype(rng: np.random.Generator, nodes: int) -> Genotype:
    """Return two edges into every node from different ones before, evenly drawn, with operations
    other than `none`."""
    targets = range(INPUTS, INPUTS + nodes)
    return {kind: sum((_random_pair(rng, node) for node in targets), ()) for kind in KINDS}


def random_of_size(
    rng: np.random.Generator,
    nodes: int,
    sizes: Sizes,
    parameters: int,
    tolerance: float,
    steps: int = 2_000,
) -> Genotype:
    """Return cells evenly drawn from those that make a network of `parameters` parameters, give or
    take `tolerance` times as many; or, where the walk does not come so near, the last one.

    A walk from `random_genotype`: a node at random gets new edges, unless this leads further away
    from such a size. Inside of it every step is as likely as its reverse, so that in the end all
    cells of that size are equally likely (Metropolis et al. 1953). To draw all edges anew until the
    size is right takes too long where it is an unusual one.
    """

    def further(genotype: Genotype) -> float:
        return max(abs(sizes.of(genotype) / parameters - 1) - tolerance, 0.0)

    now = random_genotype(rng, nodes)
    least = further(now)
    for _ in range(steps):
        kind = KINDS[rng.integers(len(KINDS))]
        node = int(rng.integers(INPUTS, INPUTS + nodes))
        others = (edge for edge in now[kind] if edge.target != node)
        proposed = {**now, kind: tuple(sorted([*others, *_random_pair(rng, node)]))}
        if (distance := further(proposed)) <= least:
            now, least = proposed, distance
    return now


def _random_pair(rng: np.random.Generator, node: int) -> tuple[Edge, ...]:
    """Return the two edges into a node."""
    source = int(rng.integers(node))
    other = (source + 1 + int(rng.integers(node - 1))) % node
    names = (CHOSEN[i] for i in rng.integers(len(CHOSEN), size=EDGES_INTO_A_NODE))
    pair = zip((source, other), names, strict=True)
    return tuple(sorted(Edge(node, source, name) for source, name in pair))
