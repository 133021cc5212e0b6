"""The search: a step of α on one half of the rows, a step of the weights on the other, in turn."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.nn import functional as F  # noqa: N812

from new_algorithm.back_projection.rows import minibatches
from new_algorithm.cli.signals import whole_steps
from new_algorithm.gallery.architecture_search.bilevel import (
    ImplicitSettings,
    Parameters,
    first_order,
    implicit,
    second_order,
)
from new_algorithm.gallery.architecture_search.genotypes import KINDS, Genotype, all_edges, derive
from new_algorithm.gallery.architecture_search.images import Vary
from new_algorithm.gallery.architecture_search.operations import NAMES
from new_algorithm.gallery.architecture_search.rows import Rows, require_finite
from new_algorithm.gallery.hypergradients import Objective

Way = Literal["first-order", "second-order", "implicit"]
MOMENTUM, WEIGHT_DECAY = 0.9, 3e-4  # of weights (Liu et al. 2019, A.1.1)
LARGEST_GRADIENT = 5.0  # likewise; of the authors' code
ALPHA_BETAS, ALPHA_DECAY = (0.5, 0.999), 1e-3  # of α (there)
ALPHA_START = 1e-3  # standard deviation; 0 there


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """way: to the hypergradient. lr: of the weights at first, then down along a cosine; also the ξ
    of second order, as in the paper. alpha_lr: of α, by Adam. implicit: ρ and what else it needs.
    """

    way: Way
    epochs: int
    batch_size: int
    alpha_lr: float
    lr: float = 0.025
    implicit: ImplicitSettings


@dataclass
class Hypergradients:
    """What became of the implicit ones of an epoch: how many were asked for, how many failed which
    of their conditions, so that second order was taken, and sums over all that were asked for."""

    asked: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    products: int = 0
    stationarity: float = 0.0
    residual: float = 0.0

    def row(self) -> dict[str, float]:
        """Return counts and means."""
        of = max(self.asked, 1)
        return {
            "implicit_gradients": self.asked,
            "implicit_gradients_failed": self.failed.total(),
            "cg_products_mean": self.products / of,
            "stationarity_mean": self.stationarity / of,
            "residual_mean": self.residual / of,
        }


@dataclass(frozen=True)
class SearchEpoch:
    """alphas: by kind, (edges, operations). train_loss: mean over the steps of the weights."""

    number: int
    alphas: dict[str, Tensor]
    train_loss: float
    hypergradients: Hypergradients

    def rows(self, nodes: int) -> list[dict[str, object]]:
        """Return a row of a table for each share, the softmax of α."""
        return [
            {"epoch": self.number, "kind": kind, "source": source, "target": target}
            | {"operation": operation, "share": share}
            for kind, alpha in self.alphas.items()
            for (source, target), of_edge in zip(
                all_edges(nodes), alpha.softmax(-1).tolist(), strict=True
            )
            for operation, share in zip(NAMES, of_edge, strict=True)
        ]

    def genotype(self, nodes: int) -> Genotype:
        return {kind: derive(alpha.cpu().numpy(), nodes) for kind, alpha in self.alphas.items()}


def initial_alphas(rng: np.random.Generator, nodes: int, device: torch.device) -> dict[str, Tensor]:
    shape = len(all_edges(nodes)), len(NAMES)
    drawn = {kind: ALPHA_START * rng.standard_normal(shape) for kind in KINDS}
    return {kind: torch.from_numpy(alpha).float().to(device) for kind, alpha in drawn.items()}


def objective(network: nn.Module, rows: Rows) -> Objective:
    """Return (w, α) → mean cross-entropy of the mixture on these rows."""

    def loss(w: Parameters, alpha: Parameters) -> Tensor:
        return F.cross_entropy(functional_call(network, dict(w), (rows.x, alpha)), rows.y)

    return loss


def search(
    network: nn.Module,
    for_weights: Rows,
    for_alpha: Rows,
    nodes: int,
    settings: SearchSettings,
    rng: np.random.Generator,
    vary: Vary | None = None,
) -> Iterator[SearchEpoch]:
    """Train the mixture's weights in place, and α with them; yield after each epoch.

    vary: of the images of every batch. DivergedError once the loss is not finite.
    """
    w = {name: value.detach() for name, value in network.named_parameters()}
    alphas = initial_alphas(rng, nodes, for_weights.x.device)
    rows, size = min(len(for_weights), len(for_alpha)), settings.batch_size
    of_w = torch.optim.SGD(w.values(), settings.lr, MOMENTUM, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(of_w, settings.epochs * (rows // size))
    of_alpha = torch.optim.Adam(
        alphas.values(), settings.alpha_lr, ALPHA_BETAS, weight_decay=ALPHA_DECAY
    )
    for number in range(1, settings.epochs + 1):
        losses, record = [], Hypergradients()
        pairs = zip(minibatches(rng, rows, size), minibatches(rng, rows, size), strict=True)
        for pair in whole_steps(pairs):
            batches = [for_weights[pair[0]], for_alpha[pair[1]]]
            if vary is not None:
                batches = [Rows(vary(batch.x, rng), batch.y) for batch in batches]
            train, val = (objective(network, batch) for batch in batches)
            xi = float(schedule.get_last_lr()[0])
            _step(of_alpha, alphas, _hypergradient(settings, val, train, w, alphas, xi, record))
            gradient, loss = grad_and_value(train)(w, alphas)
            _step(of_w, w, gradient, LARGEST_GRADIENT)
            schedule.step()
            losses.append(loss)
        mean = float(torch.stack(losses).mean())
        require_finite(mean, number, "try smaller --alpha-lr")
        copies = {kind: alpha.clone() for kind, alpha in alphas.items()}
        yield SearchEpoch(number, copies, mean, record)


def _hypergradient(
    settings: SearchSettings,
    val: Objective,
    train: Objective,
    w: Parameters,
    alphas: Parameters,
    xi: float,
    record: Hypergradients,
) -> dict[str, Tensor]:
    if settings.way == "first-order":
        return first_order(val, w, alphas)
    if settings.way == "implicit":
        found = implicit(val, train, w, alphas, settings.implicit)
        record.asked += 1
        record.products += found.products
        record.stationarity += found.stationarity
        record.residual += found.residual
        if found.gradient is not None:
            return found.gradient
        record.failed[str(found.trouble)] += 1
    return second_order(val, train, w, alphas, xi)


def _step(
    optimizer: torch.optim.Optimizer,
    parameters: Parameters,
    gradient: Parameters,
    largest: float | None = None,
) -> None:
    for name, value in parameters.items():
        value.grad = gradient[name].detach()
    if largest is not None:
        nn.utils.clip_grad_norm_(parameters.values(), largest)
    optimizer.step()


def retrain(
    network: nn.Module,
    rows: Rows,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    rng: np.random.Generator,
    vary: Vary | None = None,
) -> Iterator[int]:
    """Train a derived network in place, as the weights of the mixture were; yield each epoch."""
    parameters = list(network.parameters())
    optimizer = torch.optim.SGD(parameters, lr, MOMENTUM, weight_decay=WEIGHT_DECAY)
    steps = epochs * (len(rows) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for number in range(1, epochs + 1):
        losses = []
        for index in whole_steps(minibatches(rng, len(rows), batch_size)):
            batch = rows[index]
            x = batch.x if vary is None else vary(batch.x, rng)
            loss = F.cross_entropy(network(x), batch.y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        require_finite(float(torch.stack(losses).mean()), number, "try a smaller --lr")
        yield number
