"""Encoders of images and series, and the projection on which the contrastive loss is taken.

All begin with the global generator of torch: seed it first. Without BatchNorm embeddings collapse.
"""

from torch import nn

FEATURES = 128
EMBEDDING = 64  # numbers of a projection


def image_encoder(side: int, width: int) -> nn.Sequential:
    """Images (n, 1, side, side) → features (n, FEATURES): convolutions of width, 2 and 4 width
    channels, each of which halves the sides, and one linear layer on what is where."""
    layers: list[nn.Module] = []
    before = 1
    for channels in (width, 2 * width, 4 * width):
        layers += [nn.Conv2d(before, channels, 3, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(channels), nn.ReLU()]
        before, side = channels, (side + 1) // 2
    return nn.Sequential(*layers, *_features(before * side**2))


def series_encoder(width: int) -> nn.Sequential:
    """Series (n, 1, length) → features (n, FEATURES): convolutions likewise, the first of which
    keeps the length, and one linear layer on the most of each channel, wherever that is."""
    layers: list[nn.Module] = []
    before = 1
    for channels, stride in ((width, 1), (2 * width, 2), (4 * width, 2)):
        layers += [nn.Conv1d(before, channels, 5, stride=stride, padding=2, bias=False)]
        layers += [nn.BatchNorm1d(channels), nn.ReLU()]
        before = channels
    return nn.Sequential(*layers, nn.AdaptiveMaxPool1d(1), *_features(before))


def _features(inputs: int) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(inputs, FEATURES), nn.ReLU()]


def projection() -> nn.Sequential:
    """Features → embeddings (n, EMBEDDING), not yet of length 1: two layers, as MoCo v2 has them
    (Chen et al. 2020). Read-outs take the features, which keep more than the loss asks for."""
    hidden = nn.Linear(FEATURES, FEATURES)
    return nn.Sequential(hidden, nn.ReLU(), nn.Linear(FEATURES, EMBEDDING))
