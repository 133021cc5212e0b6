"""What a diagonal over all parameters, (parameters,), says: its largest entries, and its spread."""

import numpy as np
from numpy.typing import NDArray
from torch import nn

from new_algorithm.record.files import Row

TOP = 10  # parameters that are named
QUANTILES = 0.01, 0.25, 0.5, 0.75, 0.99  # of a layer's entries
POINTS = 200  # of the curve of those shares


def layer_names(network: nn.Module) -> dict[str, list[str]]:
    """Return the names of parameters by the module that owns them, in their order."""
    layers: dict[str, list[str]] = {}
    for name, _ in network.named_parameters():
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    return layers


def shares(diagonal: NDArray) -> NDArray:
    """Return (points, 2): a share of the parameters, the largest first, and theirs of the trace."""
    falling = np.sort(diagonal)[::-1].cumsum()
    counts = np.unique(np.geomspace(1, len(falling), POINTS).round().astype(int))
    return np.stack([counts / len(falling), falling[counts - 1] / falling[-1]], axis=1)


def distribution(network: nn.Module, kind: str, diagonal: NDArray) -> list[Row]:
    """Return a row a layer: QUANTILES of log₁₀ of its entries above 0, and the share that is 0."""
    rows: list[Row] = []
    sizes = [
        sum(network.get_parameter(name).numel() for name in names)
        for names in layer_names(network).values()
    ]
    for number, own in enumerate(np.split(diagonal, np.cumsum(sizes)[:-1]), start=1):
        above = own[own > 0]
        logs = np.quantile(np.log10(above), QUANTILES) if len(above) else [np.nan] * len(QUANTILES)
        named = {f"{level:.0%}": float(log) for level, log in zip(QUANTILES, logs, strict=True)}
        zeros = float((own == 0).mean())
        rows.append({"fisher": kind, "layer": number, **named, "zeros": zeros})
    return rows


def largest(network: nn.Module, diagonal: NDArray) -> list[Row]:
    """Return the parameters with the largest entries, falling."""
    layer_of = {
        name: number
        for number, names in enumerate(layer_names(network).values(), start=1)
        for name in names
    }
    parameters = dict(network.named_parameters())
    ends = np.cumsum([p.numel() for p in parameters.values()])
    rows: list[Row] = []
    for place in np.argsort(-diagonal, kind="stable")[:TOP]:
        which = int(np.searchsorted(ends, place, side="right"))
        name, parameter = list(parameters.items())[which]
        index = np.unravel_index(place - ends[which] + parameter.numel(), parameter.shape)
        rows.append(
            {
                "layer": layer_of[name],
                "parameter": name,
                "place": ", ".join(str(i) for i in index),
                "true_fisher": float(diagonal[place]),
                "share_of_trace": float(diagonal[place] / diagonal.sum()),
            }
        )
    return rows
