"""What a learner makes of θ for one task, as a network of its own."""

import copy

import torch
from torch import Tensor, nn

from new_algorithm.gallery.meta_learning.episodes import Episodes
from new_algorithm.gallery.meta_learning.learners import Learner, adapted
from new_algorithm.gallery.meta_learning.models import READ_OUT, Parameters


def adapted_network(learner: Learner, theta: Parameters, task: Episodes) -> nn.Sequential:
    """Return the network after as many steps on the rows of a single task as were trained for.

    On the new rows its outputs are the learner's. BatchNorm, which takes the statistics of the rows
    that it is given, has those of the new rows for good: the network is a function of one row.
    """
    model = learner.model
    phi = {name: value.detach() for name, value in adapted(learner, theta, task.x, task.y).items()}
    body = copy.deepcopy(model.body)
    read_out = nn.Linear(model.width, model.outputs).to(task.x)
    folded = phi[READ_OUT].reshape(model.width + 1, model.outputs)
    with torch.no_grad():
        for name, value in body.named_parameters():
            value.copy_(phi[f"body.{name}"].reshape(value.shape))
        read_out.weight.copy_(folded[:-1].T)
        read_out.bias.copy_(folded[-1])
        return nn.Sequential(*_with_statistics(body, task.new_x[0]), read_out).eval()


def _with_statistics(body: nn.Module, x: Tensor) -> list[nn.Module]:
    """The layers of a body, its norms with the statistics that they have on rows x (n, …)."""
    layers: list[nn.Module] = []
    for layer in body.children():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer = _fixed(layer, x)
        layers.append(layer)
        x = layer(x)
    return layers


def _fixed(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> nn.Module:
    """That of rows x (n, c, …): means and variances over all axes but the channels'."""
    axes = [0, *range(2, x.ndim)]
    fixed = type(norm)(norm.num_features, norm.eps).to(x)
    fixed.weight, fixed.bias = norm.weight, norm.bias
    fixed.running_mean, fixed.running_var = x.mean(axes), x.var(axes, correction=0)
    return fixed.eval()
