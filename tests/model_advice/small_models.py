"""Small models with batches and settings: arguments of `advise`."""

from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


ROWS = torch.randn(32, 6, generator=rng())
IMAGES = torch.randn(16, 3, 8, 8, generator=rng(1))
CLASSES = torch.arange(32) % 4
NUMBERS = torch.randn(32, 1, generator=rng(2))
CE, BCE, MSE = nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss(), nn.MSELoss()


class Call(nn.Module):
    """A function as a layer: what it calls is functional."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def mlp(*last, outputs=4, inputs=6):
    """Layers 0 (linear), 1 (tanh), 2 (linear), and what follows."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs), *last)


def classify(model, loss=CE, x=ROWS, y=CLASSES, **settings):
    return {"model": model, "x": x, "y": y, "loss": loss} | settings


def regress(model, loss=MSE, y=NUMBERS, **settings):
    return classify(model, loss, y=y, **settings)


def cnn(*middle, bias=False):
    torch.manual_seed(4)
    return nn.Sequential(nn.Conv2d(3, 5, 3, bias=bias), *middle, nn.Flatten(), nn.Linear(5 * 36, 4))


def images(model, **settings):
    return classify(model, x=IMAGES, y=CLASSES[:16], **settings)


def changed(model, change):
    change(model)
    return model


def frozen(*names):
    def freeze(model):
        for name in names:
            model.get_parameter(name).requires_grad_(False)

    return freeze


class WithLayer(nn.Module):
    """A model with a second layer that `use` (main, other, x) may leave out."""

    def __init__(self, use):
        super().__init__()
        torch.manual_seed(5)
        self.main, self.other, self.use = nn.Linear(6, 4), nn.Linear(6, 4), use

    def forward(self, x):
        return self.use(self.main, self.other, x)


class NormOfBranch(nn.Module):
    """A convolution with a bias, and `join(norm, convolved)`."""

    def __init__(self, join):
        super().__init__()
        torch.manual_seed(9)
        self.conv, self.norm, self.join = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), join
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        return self.head(self.join(self.norm, self.conv(x)).mean(dim=(2, 3)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(6)
        self.memory, self.head = nn.GRU(2, 5, batch_first=True), nn.Linear(5, 4)

    def forward(self, x):
        return self.head(self.memory(x.view(-1, 3, 2))[0][:, -1])


def two_groups(model, decay):
    matrices = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, weight_decay=decay)


def with_optimizer(model, make, **settings):
    return classify(model, optimizer=make(model), **settings)


def masks(share):
    """(16, 8, 8), the given share of ones."""
    return (torch.rand(16, 8, 8, generator=rng(7)) < share).long()


def segment(loss, y):
    torch.manual_seed(8)
    return classify(nn.Conv2d(3, 2, 1), loss, x=IMAGES, y=y)


def dice_and_cross_entropy(output, y):
    p = output.softmax(dim=1)[:, 1]
    dice = 2 * (p * y).sum() / (p.sum() + y.sum())
    return F.cross_entropy(output, y) + 1 - dice


def boxes(loss):
    return regress(mlp(outputs=4), loss, y=ROWS[:, :4], task="detection")


def anchors(loss):
    y = torch.zeros(32, 4)
    y[0, 0] = 1
    return classify(mlp(), loss, y=y, task="detection")


def focal(output, y):
    """Lin et al. 2017, equation 4: each term times (1 − p)² of its own class."""
    each = F.binary_cross_entropy_with_logits(output, y, reduction="none")
    return (each * (1 - (-each).exp()) ** 2).mean()


def scaled(factor, shift=0.0):
    return classify(mlp(), x=ROWS * factor + shift)


def pretrained(normalisation, x=IMAGES):
    weights = SimpleNamespace(transforms=lambda: SimpleNamespace(mean=IMAGENET[0], std=IMAGENET[1]))
    return images(cnn(nn.Tanh()), normalisation=normalisation, weights=weights) | {"x": x}


def sgd(**settings):
    return lambda model: torch.optim.SGD(model.parameters(), 0.1, **settings)


def norm_and_dropout(*layers):
    return images(cnn(*layers))
