"""Momentum contrast (He et al. 2020, Algorithm 1): an encoder learns to know views of one row."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from new_algorithm.cli.signals import whole_steps
from new_algorithm.gallery.contrastive.augmentations import Views
from new_algorithm.gallery.contrastive.encoders import EMBEDDING, projection
from new_algorithm.gallery.contrastive.losses import alignment, uniformity
from new_algorithm.gallery.contrastive.momentum_encoder import Queue, follow

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]  # of query, key, negatives
WARM_UP = 0.1  # share of the steps in which the rate rises; then it falls as a cosine
LEAST_STEPS = 11  # of a schedule: with 10, OneCycleLR divides by a rise of WARM_UP · 10 − 1 steps
ROWS_AT_ONCE = 1000  # where nothing is learnt
SCORED_ROWS = 2000  # whose pairs, 2 million, make the uniformity


class Geometry(NamedTuple):
    """Of embeddings of two views of rows not trained on: the objective, alignment, uniformity."""

    loss: float
    alignment: float
    uniformity: float


@dataclass(eq=False)
class MomentumContrast:
    """The query's encoder and projection, which gradients train, the key's, which follow with
    `momentum`, and the queue of keys that are the negatives.

    encoder: at its start; it is trained in place. All random numbers but those come from
    `generator`, which lies on the device. The queue begins with keys of the first rows drawn: with
    random directions in it, embeddings that are all the same are far from all of it, and training
    begins with a collapse.
    """

    encoder: nn.Module
    views: Views
    objective: Objective
    momentum: float
    queue_size: int
    generator: torch.Generator

    def __post_init__(self) -> None:
        device = self.generator.device
        self.query = nn.Sequential(self.encoder, projection()).to(device)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.queue = Queue(self.queue_size, EMBEDDING, self.generator)

    def two_views(self, x: Tensor) -> tuple[Tensor, Tensor]:
        one, other = self.views(torch.cat([x, x]), self.generator).chunk(2)
        return one, other

    def fill_queue(self, x: Tensor, batch_size: int) -> None:
        order = torch.randperm(len(x), generator=self.generator, device=x.device)
        for rows in order[: self.queue_size].split(batch_size):
            with torch.no_grad():
                self.queue.put(embedded(self.key, self.views(x[rows], self.generator)))

    def loss(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the objective of a batch, and its keys (n, d), which go into the queue later."""
        one, other = self.two_views(x)
        with torch.no_grad():
            keys = embedded(self.key, other)
        return self.objective(embedded(self.query, one), keys, self.queue.keys), keys

    def epoch(
        self,
        x: Tensor,
        batch_size: int,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> float:
        """Pass once over the rows x, shuffled, but for an incomplete batch; the mean loss."""
        self.query.train()
        self.key.train()
        total = torch.zeros((), device=x.device)
        order = torch.randperm(len(x), generator=self.generator, device=x.device)
        batches = order[: len(x) // batch_size * batch_size].split(batch_size)
        for rows in whole_steps(batches):
            loss, keys = self.loss(x[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            follow(self.key, self.query, self.momentum)
            self.queue.put(keys)
            total += loss.detach()
        return float(total) / len(batches)

    @torch.no_grad()
    def geometry(self, x: Tensor, seed: int) -> Geometry:
        """Score views of the first SCORED_ROWS rows of x, the same with the same seed."""
        generator = torch.Generator(x.device).manual_seed(seed)
        self.query.eval()
        self.key.eval()
        pairs = []
        for rows in x[:SCORED_ROWS].split(ROWS_AT_ONCE):
            one, other = (self.views(rows, generator) for _ in range(2))
            pairs.append((embedded(self.query, one), embedded(self.key, other)))
        query, key = (torch.cat(part) for part in zip(*pairs, strict=True))
        numbers = (
            self.objective(query, key, self.queue.keys),
            alignment(query, key),
            uniformity(query),
        )
        return Geometry(*map(float, numbers))

    def weight_norms(self) -> list[float]:
        """Return the Frobenius norms of the query's weights, layer by layer."""
        return [float(p.detach().norm()) for p in self.query.parameters() if p.ndim > 1]


def embedded(model: nn.Module, x: Tensor) -> Tensor:
    """Return the outputs for x, each of length 1."""
    return F.normalize(model(x), dim=1)


@torch.no_grad()
def features(encoder: nn.Module, x: Tensor) -> Tensor:
    """Return what the encoder makes of the rows x while it is not being trained."""
    encoder.eval()
    return torch.cat([encoder(rows) for rows in x.split(ROWS_AT_ONCE)])


def rate_schedule(
    optimizer: torch.optim.Optimizer, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule of so many steps, up to the optimizer's own rate and down again; fewer
    than LEAST_STEPS are the first ones of so many."""
    highest = [group["lr"] for group in optimizer.param_groups]
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, highest, max(steps, LEAST_STEPS), pct_start=WARM_UP, cycle_momentum=False
    )
