"""Training over many tasks."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from new_algorithm.gallery.meta_learning.episodes import Sample
from new_algorithm.gallery.meta_learning.learners import Learner, MetaGradient


def meta_train(
    learner: Learner,
    theta: dict[str, Tensor],
    sample: Sample,
    rng: np.random.Generator,
    *,
    iterations: int,
    tasks: int,
    lr: float,
) -> Iterator[MetaGradient]:
    """Change θ in place by Adam, with `tasks` new tasks an iteration; yield after each.

    The rate falls to 0 along half a cosine. An iteration without a gradient changes nothing.
    """
    optimizer = torch.optim.Adam(list(theta.values()), lr)
    for iteration in range(iterations):
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * iteration / iterations)) / 2
        found = learner.meta_gradient(theta, sample(rng, tasks))
        if found.gradient is not None:
            for name, value in theta.items():
                value.grad = found.gradient[name].detach()
            optimizer.step()
        yield found


@dataclass(frozen=True)
class Tally:
    """loss: the mean of the iterations'. facts: likewise, where a method has some, and how many
    iterations had no gradient."""

    loss: float
    facts: dict[str, float]

    @classmethod
    def of(cls, found: Iterable[MetaGradient]) -> "Tally":
        losses, facts, skipped = [], [], 0
        for one in found:  # losses stay on the device
            losses.append(one.losses.mean())
            facts.append(one.facts)
            skipped += one.gradient is None
        means = {name: float(np.mean([fact[name] for fact in facts])) for name in facts[0]}
        skips = {"skipped_iterations": float(skipped)} if means else {}
        return cls(float(torch.stack(losses).mean()), means | skips)


def told(left_out: float, skipped: int, iterations: int) -> list[str]:
    """Return what a run must say where this part of all tasks was left out of the meta-gradient,
    and so many iterations were without one."""
    found = []
    if left_out:
        found.append(
            "inner solutions that were no minimum were left out of the meta-gradient: "
            f"{left_out:.1%} of all tasks; more --steps or --proximity make them fewer"
        )
    if skipped == iterations:
        found.append(
            f"nothing was learnt: none of {iterations} iterations changed θ, and all figures are "
            "those of the network as it was drawn"
        )
    elif skipped:
        found.append(f"{skipped} of {iterations} iterations did not change θ")
    return found
