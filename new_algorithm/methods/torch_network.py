"""A plain ReLU network in PyTorch: conversion from and to W̃, loss, and one step.

torch is imported where it is used: the import takes seconds, and flags are checked first.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.losses import BERNOULLI, SOFTMAX, SQUARED, Loss
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods.method import Problem, Trained, TrainedModel

if TYPE_CHECKING:
    import torch

    Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def relu_network(weights: Sequence[NDArray], reviving: bool = False) -> "torch.nn.Sequential":
    """Build the network whose layers are W̃ (d_in + 1, d_out), the bias the last row.

    reviving: with ReLUs whose dead units may revive, which compute the same.
    """
    import torch

    from new_algorithm.methods.reviving_relu import RevivingReLU

    relu = RevivingReLU if reviving else torch.nn.ReLU
    layers: list[torch.nn.Module] = []
    for folded in weights:
        linear = torch.nn.Linear(len(folded) - 1, folded.shape[1])
        linear.weight.data = torch.from_numpy(np.ascontiguousarray(folded[:-1].T))
        linear.bias.data = torch.from_numpy(folded[-1].copy())
        layers += [linear, relu()]
    return torch.nn.Sequential(*layers[:-1])


def folded_weights(model: "torch.nn.Module") -> list[NDArray]:
    """Return copies of the layers of `relu_network` as W̃."""
    parameters = [parameter.detach().cpu().numpy() for parameter in model.parameters()]
    return [np.vstack([w.T, b]) for w, b in zip(parameters[::2], parameters[1::2], strict=True)]


def torch_objective(loss: Loss, label_smoothing: float = 0.0) -> "Objective":
    """Return `loss` as a torch function (F, y) → scalar; F may have further leading dimensions.

    label_smoothing: of losses of classes.
    """
    from torch.nn import functional

    if loss is SOFTMAX:
        return lambda output, labels: functional.cross_entropy(
            output.flatten(0, -2), labels.flatten(), label_smoothing=label_smoothing
        )
    if loss is BERNOULLI:
        return lambda output, targets: (
            functional.binary_cross_entropy_with_logits(output, targets, reduction="sum")
            / len(output)
        )
    if loss is SQUARED:
        return lambda output, targets: (targets - output).square().sum() / (2 * len(output))
    kept, shared = 1 - label_smoothing, label_smoothing / 2  # between the two classes
    return lambda output, labels: functional.binary_cross_entropy_with_logits(
        output[:, 0], kept * labels.to(output.dtype) + shared
    )


def tensors(*arrays: NDArray) -> "Iterator[torch.Tensor]":
    """Yield tensors that share the arrays' memory, or a copy's where torch may not write to it."""
    import torch

    for array in arrays:
        yield torch.from_numpy(np.require(array, requirements="W"))


@contextmanager
def subnormals_as_zero() -> Iterator[None]:
    """Take numbers below 1.2e-38 for 0, for which processors need a hundred times as long.

    A dead unit's momentum decays to them within some hundred steps: Muon took seven times as long.
    """
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)  # what else runs in this process keeps its bits


PREDICTED_ROWS = 500  # at a time: images become large inside a network


class TorchTraining:
    """A network at its start, its loss, and the training rows as tensors x (n, …) and y.

    rng: the seed's generator, from which shuffles are drawn.
    """

    def __init__(self, problem: Problem, exact_gradient: bool = False) -> None:
        """exact_gradient: also where dead units would be given another, by which they revive."""
        import torch

        torch.set_num_threads(problem.threads)
        torch.manual_seed(problem.seed)
        self.model: torch.nn.Module
        self._evaluated: torch.nn.Module | None = None  # of other models than ReLU networks, a copy
        if problem.model is None:
            self.rng, weights = problem.start()
            reviving = problem.relu_target == "revive" and not exact_gradient
            self.model = relu_network(weights, reviving)
        else:
            self.rng = np.random.default_rng([problem.seed, 1])
            self.model = problem.model.build(problem.data)
            self._evaluated = copy.deepcopy(self.model).to(problem.device)
        self.model.to(problem.device)
        self._objective = torch_objective(problem.loss, problem.label_smoothing)
        data = problem.data
        self.x, self.y = (x.to(problem.device) for x in tensors(data.x_train, data.y_train))

    def trained(self) -> Trained:
        """Return what an epoch yields: the weights, and of other than ReLU networks what they
        predict as they are now."""
        if self._evaluated is None:
            return folded_weights(self.model)
        from new_algorithm.models.networks import matrices

        state = {name: value.clone() for name, value in self.model.state_dict().items()}
        predict = partial(_predict, self._evaluated, state)
        weights = [one.cpu().numpy() for one in matrices(self.model)]
        return TrainedModel(weights, predict, partial(arrays_of, state))

    def step(self, optimizer: "torch.optim.Optimizer", rows: NDArray[np.intp]) -> None:
        """Step on a batch; DivergedError if its loss is not finite."""
        with subnormals_as_zero():
            require_finite(self.closure(optimizer, rows)())
            optimizer.step()

    def step_by_closure(self, optimizer: "torch.optim.Optimizer", rows: NDArray[np.intp]) -> None:
        """`step` for an optimizer that asks for the loss."""
        with subnormals_as_zero():
            require_finite(float(optimizer.step(self.closure(optimizer, rows))))

    def closure(
        self, optimizer: "torch.optim.Optimizer", rows: "NDArray[np.intp] | None" = None
    ) -> Callable[[], float]:
        """Return what computes the loss of a batch, by default all rows, and its gradients."""
        import torch

        x, y = self.x, self.y
        if rows is not None:
            batch = torch.from_numpy(rows).to(x.device)
            x, y = x.index_select(0, batch), y.index_select(0, batch)

        def closure() -> float:
            optimizer.zero_grad()
            loss = self._objective(self.model(x), y)
            loss.backward()
            return loss.item()

        return closure


def require_finite(loss: float) -> None:
    if not math.isfinite(loss):
        raise DivergedError(
            f"the loss of a batch is {loss}: lower the learning rate or enlarge batches"
        )


def arrays_of(state: "Mapping[str, torch.Tensor]") -> dict[str, NDArray]:
    """Return a model's state_dict as arrays."""
    return {name: value.cpu().numpy() for name, value in state.items()}


def _predict(model: "torch.nn.Module", state: "dict[str, torch.Tensor]", x: NDArray) -> NDArray:
    from new_algorithm.models.networks import evaluated

    model.load_state_dict(state)
    device = next(model.parameters()).device
    chunks = (x[first : first + PREDICTED_ROWS] for first in range(0, len(x), PREDICTED_ROWS))
    parts = (part.to(device) for part in tensors(*chunks))
    return np.concatenate([evaluated(model, part).cpu().numpy() for part in parts])
