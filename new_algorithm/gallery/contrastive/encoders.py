"""Encoders of images and series, and the projection on which the contrastive loss is taken.

All begin with the global generator of torch: seed it first.
"""

from torch import nn

FEATURES = 128
EMBEDDING = 64  # numbers of a projection


def image_encoder(side: int, width: int) -> nn.Sequential:
    """Images (n, 1, side, side) → features (n, FEATURES): convolutions of width, 2 and 4 width
    channels, each of which halves the sides, and one linear layer."""
    return _encoder(nn.Conv2d, nn.BatchNorm2d, width, _halved_thrice(side) ** 2)


def series_encoder(length: int, width: int) -> nn.Sequential:
    """Series (n, 1, length) → features (n, FEATURES): likewise, along their length."""
    return _encoder(nn.Conv1d, nn.BatchNorm1d, width, _halved_thrice(length))


def projection() -> nn.Sequential:
    """Features → embeddings (n, EMBEDDING), not yet of length 1: two layers, as MoCo v2 has them
    (Chen et al. 2020). Read-outs take the features, which keep more than the loss asks for."""
    hidden = nn.Linear(FEATURES, FEATURES)
    return nn.Sequential(hidden, nn.ReLU(), nn.Linear(FEATURES, EMBEDDING))


def _encoder(
    convolution: type[nn.Module], norm: type[nn.Module], width: int, places: int
) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 1
    for channels in (width, 2 * width, 4 * width):
        halves = {"kernel_size": 3, "stride": 2, "padding": 1, "bias": False}
        layers += [convolution(before, channels, **halves), norm(channels), nn.ReLU()]
        before = channels
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * places, FEATURES), nn.ReLU())


def _halved_thrice(size: int) -> int:
    for _ in range(3):
        size = (size + 1) // 2
    return size
