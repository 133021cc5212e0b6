"""Preprocessing, network and what its outputs mean, as one module of PyTorch."""

from collections.abc import Sequence

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from new_algorithm.methods.torch_network import relu_network
from new_algorithm.prediction.answers import Answer, Probabilities, Quantities
from new_algorithm.prediction.feature_arrays import FeatureArrays, feature_arrays
from new_algorithm.prediction.trained_network import TrainedNetwork


def prepared_network(network: TrainedNetwork) -> nn.Module:
    """Rows float64 (n, columns) → probabilities (n, classes or targets), or values (n, targets) in
    float64."""
    features = _Features(feature_arrays(network.preprocessing), network.weights)
    whole = nn.Sequential(features, relu_network(network.weights), _last(network.answer))
    return whole.eval().requires_grad_(False)


class _Features(nn.Module):
    source: Tensor
    is_indicator: Tensor
    is_category: Tensor
    category: Tensor
    fill: Tensor
    mean: Tensor
    sd: Tensor

    def __init__(self, arrays: FeatureArrays, weights: Sequence[NDArray]) -> None:
        super().__init__()
        for name, array in arrays._asdict().items():
            self.register_buffer(name, torch.from_numpy(array))
        self._dtype = torch.from_numpy(weights[0]).dtype

    def forward(self, x: Tensor) -> Tensor:
        v = x[:, self.source]
        missing = torch.isnan(v)
        number = torch.where(missing, self.fill, v)
        one_hot = torch.where(self.is_category, (v == self.category).to(v.dtype), number)
        value = torch.where(self.is_indicator, missing.to(v.dtype), one_hot)
        return ((value - self.mean) / self.sd).float().to(self._dtype)  # as in training


class _BothClasses(nn.Module):
    def forward(self, output: Tensor) -> Tensor:
        second = torch.sigmoid(output)
        return torch.cat([1 - second, second], dim=1)


def _last(answer: Answer) -> nn.Module:
    """Outputs → what they mean."""
    if isinstance(answer, Quantities):
        return _Values(answer)
    if isinstance(answer, Probabilities):
        return nn.Sigmoid()
    return _BothClasses() if len(answer.labels) == 2 else nn.Softmax(dim=1)


class _Values(nn.Module):
    mean: Tensor
    sd: Tensor

    def __init__(self, quantities: Quantities) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(quantities.mean, dtype=torch.float64))
        self.register_buffer("sd", torch.tensor(quantities.sd, dtype=torch.float64))

    def forward(self, output: Tensor) -> Tensor:
        return self.mean + self.sd * output
