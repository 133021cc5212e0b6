"""What the layers of a network put out for given rows."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from new_algorithm.analysis.subject import Subject, outputs_of

MOST_FEATURES = 800  # of a layer, drawn where it has more


def places(subject: Subject) -> dict[str, nn.Module]:
    """Return the modules that are looked at, by name: ReLUs, whose outputs are what the next layer
    is given, and the last layer; where a network has no ReLU modules, all its layers."""
    relus = {
        name: module
        for name, module in subject.network.named_modules()
        if isinstance(module, nn.ReLU)
    }
    last = list(subject.layers.items())[-1:]
    return {**relus, **dict(last)} if relus else subject.layers


def outputs_of_layers(subject: Subject, x: Tensor, seed: int) -> dict[str, NDArray]:
    """Return the inputs, as "inputs", and what `places` put out for rows x: (n, features) each, in
    float64; of more than MOST_FEATURES the same ones for any rows, drawn by the seed."""
    seen: dict[str, list[Tensor]] = {}

    def keep(name: str) -> object:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            flat = output.detach().reshape(len(output), -1)
            seen.setdefault(name, []).append(_some(flat, seed))

        return hook

    handles = [
        module.register_forward_hook(keep(name))  # type: ignore[arg-type]
        for name, module in places(subject).items()
    ]
    try:
        for part in x.split(500):
            before = {name: len(parts) for name, parts in seen.items()}
            outputs_of(subject.network, part)
            for name, parts in seen.items():  # a module that is used twice: its last use
                del parts[before.get(name, 0) : -1]
    finally:
        for handle in handles:
            handle.remove()
    layers = {name: torch.cat(parts) for name, parts in seen.items()}
    if x.is_floating_point():
        layers = {"inputs": _some(x.reshape(len(x), -1), seed), **layers}
    return {name: value.double().numpy() for name, value in layers.items()}


def _some(flat: Tensor, seed: int) -> Tensor:
    if flat.shape[1] <= MOST_FEATURES:
        return flat
    rng = np.random.default_rng([seed, flat.shape[1]])
    return flat[:, np.sort(rng.choice(flat.shape[1], MOST_FEATURES, replace=False))]


def on_share(outputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Return for each layer the share of rows on which each unit is above 0."""
    return {name: (h > 0).mean(axis=0) for name, h in outputs.items()}
