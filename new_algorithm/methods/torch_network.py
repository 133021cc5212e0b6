"""A plain ReLU network in PyTorch: conversion from and to W̃, loss, one step, and scores.

torch is imported where it is used: the import takes seconds, and flags are checked first.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datasets.batches import in_chunks
from new_algorithm.back_projection.losses import SOFTMAX, SQUARED, Loss
from new_algorithm.back_projection.metrics import Evaluation, Scores
from new_algorithm.cli.errors import DivergedError

if TYPE_CHECKING:
    import torch

    Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def relu_network(weights: Sequence[NDArray]) -> "torch.nn.Sequential":
    """Build the network whose layers are W̃ (d_in + 1, d_out), the bias the last row."""
    import torch

    layers: list[torch.nn.Module] = []
    for folded in weights:
        linear = torch.nn.Linear(len(folded) - 1, folded.shape[1])
        linear.weight.data = torch.from_numpy(np.ascontiguousarray(folded[:-1].T))
        linear.bias.data = torch.from_numpy(folded[-1].copy())
        layers += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def folded_weights(model: "torch.nn.Module") -> list[NDArray]:
    """Return copies of the layers of `relu_network` as W̃."""
    parameters = [parameter.detach().numpy() for parameter in model.parameters()]
    return [np.vstack([w.T, b]) for w, b in zip(parameters[::2], parameters[1::2], strict=True)]


def torch_objective(loss: Loss) -> "Objective":
    """Return `loss` as a torch function (F, y) → scalar."""
    from torch.nn import functional

    if loss is SOFTMAX:
        return functional.cross_entropy
    if loss is SQUARED:
        return lambda output, targets: (targets - output).square().sum() / (2 * len(output))
    return lambda output, labels: functional.binary_cross_entropy_with_logits(
        output[:, 0], labels.to(output.dtype)
    )


def gradient_step(
    model: "torch.nn.Module",
    objective: "Objective",
    optimizer: "torch.optim.Optimizer",
    inputs: "torch.Tensor",
    targets: "torch.Tensor",
) -> None:
    """Make one step along the gradient of a batch; DivergedError if its loss is not finite."""
    loss = objective(model(inputs), targets)
    if not math.isfinite(loss.item()):
        raise DivergedError(f"the loss of a batch is {loss.item()}: lower the learning rate")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def learning_rate_schedule(
    optimizer: "torch.optim.Optimizer", steps: int, one_cycle: bool
) -> "torch.optim.lr_scheduler.LRScheduler":
    """Return a schedule with one step an iteration: constant, or up over 30% and down to zero."""
    from torch.optim import lr_scheduler

    if one_cycle:  # momentum is not cycled: one setting less to tune
        peaks = [group["lr"] for group in optimizer.param_groups]
        return lr_scheduler.OneCycleLR(optimizer, peaks, steps, cycle_momentum=False)
    return lr_scheduler.ConstantLR(optimizer, factor=1.0)


def tensors(*arrays: NDArray) -> "Iterator[torch.Tensor]":
    """Yield tensors that share the arrays' memory, or a copy's where it is read-only.

    torch needs memory that it may write to.
    """
    import torch

    for array in arrays:
        yield torch.from_numpy(np.require(array, requirements="W"))


def torch_scores(loss: Loss, model: "torch.nn.Module", x: NDArray, y: NDArray) -> Scores:
    """Return the scores of the model on the rows x (n, d), evaluated in chunks."""
    import torch

    evaluation = Evaluation(loss)
    with torch.no_grad():
        for chunk, targets in in_chunks(x, y):
            [inputs] = tensors(chunk)
            evaluation.add(model(inputs).numpy(), targets)
    return evaluation.scores()
