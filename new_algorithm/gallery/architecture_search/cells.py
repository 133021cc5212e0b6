"""Cells and networks of them: the mixture that is searched in, and what is derived from it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from new_algorithm.gallery.architecture_search.genotypes import (
    INPUTS,
    KINDS,
    Edge,
    Genotype,
    Sizes,
    all_edges,
)
from new_algorithm.gallery.architecture_search.mixture import EdgesFromNode
from new_algorithm.gallery.architecture_search.operations import (
    MIXED_NORM,
    OPERATIONS,
    FactorisedReduction,
    Norm,
)

Alphas = Mapping[str, Tensor]  # by kind, (edges, operations)


class SearchCell(nn.Module):
    """All edges with all operations. The output: inner nodes side by side."""

    def __init__(self, channels: int, stride: int, nodes: int) -> None:
        super().__init__()
        edges = all_edges(nodes)
        self.rows = [  # of α, by the source of their edges; the last node has no edge out of it
            [row for row, (source, _) in enumerate(edges) if source == node]
            for node in range(INPUTS + nodes - 1)
        ]
        self.targets = [[edges[row][1] for row in rows] for rows in self.rows]
        self.edges_from = nn.ModuleList(
            EdgesFromNode(channels, stride if node < INPUTS else 1, len(rows))
            for node, rows in enumerate(self.rows)
        )
        self.nodes = nodes

    def forward(self, before: Sequence[Tensor], shares: Tensor) -> Tensor:
        """shares: (edges, operations), the softmax of α."""
        states = list(before)
        into: list[list[Tensor]] = [[] for _ in range(INPUTS + self.nodes)]
        for node, mixed in enumerate(self.edges_from):
            if node >= INPUTS:
                states.append(_sum(into[node]))
            found = mixed(states[node], shares[self.rows[node]])
            for target, one in zip(self.targets[node], found.unbind(1), strict=True):
                into[target].append(one)
        return torch.cat([*states[INPUTS:], _sum(into[-1])], 1)


class DerivedCell(nn.Module):
    """The edges of a genotype alone."""

    def __init__(
        self,
        edges: Sequence[Edge],
        channels: int,
        stride: int,
        nodes: int,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.edges, self.nodes = edges, nodes
        self.chosen = nn.ModuleList(
            OPERATIONS[edge.operation](channels, stride if edge.source < INPUTS else 1, norm)
            for edge in edges
        )

    def forward(self, before: Sequence[Tensor]) -> Tensor:
        states = list(before)
        for target in range(INPUTS, INPUTS + self.nodes):
            into = [
                chosen(states[edge.source])
                for edge, chosen in zip(self.edges, self.chosen, strict=True)
                if edge.target == target
            ]
            states.append(_sum(into))
        return torch.cat(states[INPUTS:], 1)


def _sum(terms: Sequence[Tensor]) -> Tensor:
    return reduce(torch.add, terms)


def kinds_of_cells(cells: int) -> list[str]:
    """Return the kind of every cell: reductions a third and two thirds of the way up."""
    reductions = (cells // 3, 2 * cells // 3)
    return ["reduction" if cell in reductions else "normal" for cell in range(cells)]


def channels_of_cells(cells: int, channels: int) -> list[int]:
    """Return the channels of a node in every cell: twice as many from each reduction on."""
    kinds = kinds_of_cells(cells)
    return [channels * 2 ** kinds[: cell + 1].count("reduction") for cell in range(cells)]


MakeCell = Callable[[str, int, int], nn.Module]  # of kind, channels and stride


class Network(nn.Module):
    """Images (n, c, h, w) → logits (n, classes): a 3 × 3 convolution of stride 2, which makes
    all that follows four times as cheap, cells of which each sees the two before it, and a linear
    layer of means.
    """

    def __init__(
        self,
        image_channels: int,
        classes: int,
        *,
        channels: int,
        cells: int,
        nodes: int,
        make_cell: MakeCell,
        norm: Norm,
    ) -> None:
        super().__init__()
        self.kinds = kinds_of_cells(cells)
        stem = nn.Conv2d(image_channels, channels, 3, 2, 1, bias=False)
        self.stem = nn.Sequential(stem, norm(channels))
        self.enter_older, self.enter_last = nn.ModuleList(), nn.ModuleList()
        self.cells = nn.ModuleList()
        before, halved = (channels, channels), False
        for kind, c in zip(self.kinds, channels_of_cells(cells, channels), strict=True):
            # of the cell before the last, the output is as large as what the last one was given
            older = FactorisedReduction if halved else _pointwise
            self.enter_older.append(older(before[0], c, norm))
            self.enter_last.append(_pointwise(before[1], c, norm))
            halved = kind == "reduction"
            self.cells.append(make_cell(kind, c, 2 if halved else 1))
            before = before[1], nodes * c
        self.head = nn.Linear(before[1], classes)

    def forward(self, x: Tensor, alphas: Alphas | None = None) -> Tensor:
        """alphas: of a mixture."""
        x = self.stem(x)
        before = x, x
        parts = self.kinds, self.enter_older, self.enter_last, self.cells
        shares = {kind: alpha.softmax(-1) for kind, alpha in (alphas or {}).items()}
        for kind, older, last, cell in zip(*parts, strict=True):
            inputs = older(before[0]), last(before[1])
            out = cell(inputs) if alphas is None else cell(inputs, shares[kind])
            before = before[1], out
        return self.head(before[1].mean((2, 3)))

    def norms(self) -> list[float]:
        """Return the Frobenius norms of the parameters of the stem, each cell, and the head."""
        parts = zip(self.enter_older, self.enter_last, self.cells, strict=True)
        cells = [nn.ModuleList(of_cell) for of_cell in parts]
        return [
            float(parameters_to_vector(part.parameters()).detach().norm())
            for part in (self.stem, *cells, self.head)
        ]


def _pointwise(channels: int, out: int, norm: Norm) -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(channels, out, 1, bias=False), norm(out))


class Plan:
    """What networks of one search have in common: images, classes, and how large they are."""

    def __init__(
        self, image_channels: int, classes: int, *, channels: int, cells: int, nodes: int
    ) -> None:
        self.nodes = nodes
        self._cells, self._channels = cells, channels
        self._network = partial(
            Network, image_channels, classes, channels=channels, cells=cells, nodes=nodes
        )

    def mixture(self) -> Network:
        def make_cell(kind: str, channels: int, stride: int) -> nn.Module:
            return SearchCell(channels, stride, self.nodes)

        return self._network(make_cell=make_cell, norm=MIXED_NORM)

    def derived(self, genotype: Genotype) -> Network:
        def make_cell(kind: str, channels: int, stride: int) -> nn.Module:
            return DerivedCell(genotype[kind], channels, stride, self.nodes)

        return self._network(make_cell=make_cell, norm=nn.BatchNorm2d)

    def sizes(self) -> Sizes:
        """Return what each edge adds to the parameters of `derived`."""
        widths = channels_of_cells(self._cells, self._channels)
        edge = dict.fromkeys(
            (
                (kind, inner, name)
                for kind in KINDS
                for inner in (False, True)
                for name in OPERATIONS
            ),
            0,
        )
        for kind, from_input, name in edge:
            stride = 2 if kind == "reduction" and from_input else 1
            for of_kind, channels in zip(kinds_of_cells(self._cells), widths, strict=True):
                if of_kind == kind:
                    built = OPERATIONS[name](channels, stride, nn.BatchNorm2d)
                    edge[kind, from_input, name] += parameters_of(built)
        bare = self.derived({kind: () for kind in KINDS})
        return Sizes(parameters_of(bare), edge)


def parameters_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
