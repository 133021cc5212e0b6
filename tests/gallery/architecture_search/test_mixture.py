"""The ten operations against torch.nn, and all of them at once against their weighted sum."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from new_algorithm.gallery.architecture_search.cells import DerivedCell, SearchCell
from new_algorithm.gallery.architecture_search.genotypes import Edge, all_edges
from new_algorithm.gallery.architecture_search.mixture import EdgesFromNode
from new_algorithm.gallery.architecture_search.operations import MIXED_NORM, NAMES, OPERATIONS

C = 4


def images(side=7, n=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, C, side, side, dtype=torch.float64, generator=generator)


def normed(x):
    return F.batch_norm(x, None, None, training=True)


def depthwise_by_channel(x, kernel, stride, dilation):
    """Each channel by itself, as a convolution of one channel."""
    padding = dilation * (kernel.shape[-1] // 2)
    planes = [
        F.conv2d(x[:, i : i + 1], kernel[i : i + 1], None, stride, padding, dilation)
        for i in range(C)
    ]
    return torch.cat(planes, 1)


def by_hand(name, x, stride, weights):
    """The operation written out, given its parameters in their order."""
    if name == "none":
        return torch.zeros(*x.shape[:2], *(-(-side // stride) for side in x.shape[2:])).double()
    if name == "skip":
        if stride == 1:
            return x
        padded = F.pad(x.relu(), (0, 1, 0, 1))
        halves = [
            torch.einsum("oi,nihw->nohw", weight[:, :, 0, 0], padded[:, :, i::2, i::2])
            for i, weight in enumerate(weights)
        ]
        sides = [-(-side // stride) for side in x.shape[2:]]
        return normed(torch.cat([half[:, :, : sides[0], : sides[1]] for half in halves], 1))
    if "pool" in name:
        pool = nn.MaxPool2d(3, stride, 1)
        if name.startswith("average"):
            pool = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        return normed(pool(x))
    size = int(name[-1])
    if name.startswith("conv"):
        return normed(F.conv2d(x.relu(), weights[0], None, stride, size // 2))
    for i in range(len(weights) // 2):
        depthwise, pointwise = weights[2 * i : 2 * i + 2]
        dilation = 2 if name.startswith("dilated") else 1
        x = depthwise_by_channel(x.relu(), depthwise, stride if i == 0 else 1, dilation)
        x = normed(torch.einsum("oi,nihw->nohw", pointwise[:, :, 0, 0], x))
    return x


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_each_operation_is_what_its_name_says(name, stride, side):
    torch.manual_seed(1)
    operation, x = OPERATIONS[name](C, stride, MIXED_NORM).double(), images(side)
    found = operation(x)
    assert found.shape == (3, C, -(-side // stride), -(-side // stride))
    torch.testing.assert_close(found, by_hand(name, x, stride, list(operation.parameters())))


def test_there_are_ten_operations_of_which_six_have_weights_when_nothing_is_reduced():
    assert len(NAMES) == 10
    counts = {
        name: sum(p.numel() for p in build(C, 1, MIXED_NORM).parameters())
        for name, build in OPERATIONS.items()
    }
    sizes = {"conv_3x3": 9 * C * C, "conv_5x5": 25 * C * C, "dilated_3x3": 9 * C + C * C}
    sizes |= {"dilated_5x5": 25 * C + C * C, "separable_3x3": 2 * (9 * C + C * C)}
    sizes |= {"separable_5x5": 2 * (25 * C + C * C)}
    assert counts == {name: sizes.get(name, 0) for name in NAMES}


def operation_of(mixed, edge, name):
    """The module with the weights that the mixture has for this operation and edge."""
    module = OPERATIONS[name](mixed.channels, mixed.stride, MIXED_NORM).double()
    for place, parameter in enumerate(module.parameters()):
        parameter.data = mixed.weights[f"{name}:{place}"].detach()[edge]
    return module


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_mixture_is_the_weighted_sum_of_its_operations(stride, side):
    torch.manual_seed(2)
    mixed, x = EdgesFromNode(C, stride, 3).double(), images(side)
    shares = torch.randn(3, len(NAMES), dtype=torch.float64).softmax(-1)
    found = mixed(x, shares)
    for edge in range(3):
        slow = sum(
            shares[edge, o] * operation_of(mixed, edge, name)(x) for o, name in enumerate(NAMES)
        )
        torch.testing.assert_close(found[:, edge], slow)


@pytest.mark.parametrize("stride", [1, 2])
def test_derivatives_of_the_mixture_are_those_of_the_weighted_sum(stride):
    torch.manual_seed(3)
    mixed, x = EdgesFromNode(C, stride, 1).double(), images()
    shares = torch.randn(1, len(NAMES), dtype=torch.float64).softmax(-1).requires_grad_()
    modules = [operation_of(mixed, 0, name) for name in NAMES]
    slow = sum(share * one(x) for share, one in zip(shares[0], modules, strict=True))
    target = torch.randn(slow.shape, dtype=torch.float64)
    fast_gradients = torch.autograd.grad(
        (mixed(x, shares)[:, 0] * target).sum(), [shares, *mixed.weights.values()]
    )
    parameters = [p for module in modules for p in module.parameters()]
    slow_gradients = torch.autograd.grad((slow * target).sum(), [shares, *parameters])
    for fast, slow_one in zip(fast_gradients, slow_gradients, strict=True):
        torch.testing.assert_close(fast.reshape(slow_one.shape), slow_one)


@pytest.mark.parametrize("stride", [1, 2])
def test_derived_cell_is_the_searched_one_where_each_edge_is_sure(stride):
    torch.manual_seed(4)
    nodes, rng = 3, np.random.default_rng(0)
    searched, edges = SearchCell(C, stride, nodes).double(), all_edges(nodes)
    shares = torch.zeros(len(edges), len(NAMES), dtype=torch.float64)
    shares[:, NAMES.index("none")] = 1  # an edge that is not chosen
    chosen = []
    for target in range(2, 2 + nodes):
        for source in rng.permutation(target)[:2].tolist():
            name = NAMES[rng.integers(1, len(NAMES))]
            row = edges.index((source, target))
            shares[row] = F.one_hot(torch.tensor(NAMES.index(name)), len(NAMES))
            chosen.append(Edge(target, source, name))
    derived = DerivedCell(chosen, C, stride, nodes, MIXED_NORM).double()
    for edge, module in zip(chosen, derived.chosen, strict=True):
        mixed = searched.edges_from[edge.source]
        place = searched.targets[edge.source].index(edge.target)
        module.load_state_dict(operation_of(mixed, place, edge.operation).state_dict())
    before = images(8, seed=5), images(8, seed=6)
    torch.testing.assert_close(derived(before), searched(before, shares))
