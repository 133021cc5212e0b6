"""Small smooth problems in double precision, and parameters in a row, for oracles."""

import torch
from torch import nn

from new_algorithm.gallery.meta_learning.episodes import Episodes
from new_algorithm.gallery.meta_learning.models import Model

F64 = {"dtype": torch.float64}


def smooth(seed=0, classes=False, outputs=1, hidden=5):
    """A network of two tanh layers, and its parameters: it has second derivatives everywhere."""
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, hidden), nn.Tanh()).double()
    model = Model(body, hidden, outputs, classes)
    return model, model.start(seed)


def episodes(seed=0, tasks=3, rows=6, new_rows=7, classes=0):
    """Random rows; targets a random linear function of each task, or random labels."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(tasks, rows + new_rows, 2, generator=draw, **F64)
    if classes:
        y = torch.randint(classes, x.shape[:2], generator=draw)
    else:
        y = x @ torch.randn(tasks, 2, 1, generator=draw, **F64)
    return Episodes(x[:, :rows], y[:, :rows], x[:, rows:], y[:, rows:])


def one(tasks, task):
    """The task of this number alone."""
    return tasks.parts(1)[task]


def joined(parameters):
    return torch.cat([value.flatten() for value in parameters.values()])


def apart(numbers, like):
    pieces = numbers.split([value.numel() for value in like.values()])
    return {
        name: piece.view_as(value)
        for (name, value), piece in zip(like.items(), pieces, strict=True)
    }


def slopes(function, theta, step=1e-5):
    """The gradient of a number that `function` makes of θ, by central differences."""
    numbers = joined(theta).detach()
    found = torch.empty_like(numbers)
    for i in range(len(numbers)):
        change = torch.zeros_like(numbers)
        change[i] = step
        ends = [function(apart(numbers + sign * change, theta)).detach() for sign in (1, -1)]
        found[i] = (ends[0] - ends[1]) / (2 * step)
    return found
