"""Hidden units of one network in the order of another's: weight matching (Ainsworth et al. 2023).

The units of a hidden layer can be put into any order without a change of the function: row i of
W_l and column i of W_(l+1) move together. Two runs lie in different corners of that symmetry; what
is left of the barrier between them after it is undone is theirs.
"""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

SWEEPS = 50  # at most: each raises the inner product or is the last


def chain_of(network: nn.Module) -> list[nn.Linear] | None:
    """Return the layers of a network of linear layers with biases and ReLUs one after another,
    None for any other."""
    if not isinstance(network, nn.Sequential):
        return None
    layers = [one for one in network if isinstance(one, nn.Linear)]
    others = [one for one in network if not isinstance(one, nn.Linear | nn.ReLU)]
    if others or len(layers) < 2 or any(one.bias is None for one in layers):
        return None
    return layers


def permuted(layers: list[nn.Linear], orders: list[Tensor]) -> Tensor:
    """Return the parameters (p,) of the network whose hidden unit i is unit order[i] here, a
    permutation an order and an order a hidden layer."""
    before = [torch.arange(layers[0].in_features), *orders]
    after = [*orders, torch.arange(layers[-1].out_features)]
    pieces = []
    for layer, columns, rows in zip(layers, before, after, strict=True):
        pieces += [layer.weight.detach()[rows][:, columns].flatten(), layer.bias.detach()[rows]]
    return torch.cat(pieces)


def matched(target: list[nn.Linear], layers: list[nn.Linear]) -> list[Tensor]:
    """Return the orders that bring hidden units nearest to those of `target`: coordinate ascent on
    the inner product of all parameters, a linear assignment a layer (there, algorithm 1).

    It begins with what comes into each layer alone, from the first one on, which by the inequality
    of Cauchy and Schwarz finds a permuted copy.
    """
    hidden = range(len(layers) - 1)
    ends = torch.arange(layers[0].in_features), torch.arange(layers[-1].out_features)
    orders: list[Tensor] = []
    for at in hidden:
        before = orders[-1] if orders else ends[0]
        orders.append(_assigned(_incoming(target[at], layers[at], before)))
    for _ in range(SWEEPS):
        last = list(orders)
        for at in hidden:
            before = orders[at - 1] if at else ends[0]
            after = orders[at + 1] if at + 1 < len(orders) else ends[1]
            likeness = _incoming(target[at], layers[at], before)
            likeness += _outgoing(target[at + 1], layers[at + 1], after)
            orders[at] = _assigned(likeness)
        if all(torch.equal(*pair) for pair in zip(last, orders, strict=True)):
            break
    return orders


def _incoming(ours: nn.Linear, theirs: nn.Linear, before: Tensor) -> Tensor:
    """Inner products (units, units) of rows with biases, columns in the order `before`."""
    products = ours.weight.detach() @ theirs.weight.detach()[:, before].T
    return products + torch.outer(ours.bias.detach(), theirs.bias.detach())


def _outgoing(ours: nn.Linear, theirs: nn.Linear, after: Tensor) -> Tensor:
    """Inner products (units, units) of columns, rows in the order `after`."""
    return ours.weight.detach().T @ theirs.weight.detach()[after]


def _assigned(likeness: Tensor) -> Tensor:
    """For each unit of ours the unit of theirs, so that the likeness of all pairs is greatest."""
    return torch.from_numpy(linear_sum_assignment(likeness.numpy(), maximize=True)[1])
