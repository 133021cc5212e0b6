"""Networks of which every layer is given from outside, for many tasks at once: a body, and a
read-out W̃ (d + 1, m)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F  # noqa: N812

# By name, of one task or, with one more axis in front, of each task its own
Parameters = Mapping[str, Tensor]
READ_OUT = "read_out"


@dataclass(frozen=True)
class Model:
    """body: x (n, …) → H (n, width). outputs: m. classes: whether they are logits, with the cross
    entropy in nats for their loss; else it is the mean square of y − outputs."""

    body: nn.Module
    width: int
    outputs: int
    classes: bool

    def start(self, seed: int) -> dict[str, Tensor]:
        """Return θ, to be changed: copies of the body as it was built, and a read-out drawn from
        ±1/√width."""
        draws = torch.rand(
            self.width + 1, self.outputs, generator=torch.Generator().manual_seed(seed)
        )
        body = {
            f"body.{name}": value.detach().clone() for name, value in self.body.named_parameters()
        }
        read_out = (2 * draws - 1) / math.sqrt(self.width)
        return body | {READ_OUT: read_out.to(next(iter(body.values())))}

    def hidden(self, phi: Parameters, x: Tensor) -> Tensor:
        """Return H̃ (tasks, n, width + 1), the last column 1, of x (tasks, n, …)."""
        own = dict(self.body.named_parameters())
        body = {name: phi[f"body.{name}"] for name in own}
        stacked = {name: 0 if value.ndim > own[name].ndim else None for name, value in body.items()}

        def one(body: Parameters, x: Tensor) -> Tensor:
            return functional_call(self.body, dict(body), (x,))

        return F.pad(vmap(one, (stacked, 0))(body, x), (0, 1), value=1.0)

    def predict(self, phi: Parameters, x: Tensor) -> Tensor:
        """Return the outputs (tasks, n, m)."""
        return self.hidden(phi, x) @ phi[READ_OUT]

    def losses(self, phi: Parameters, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each task (tasks,)."""
        return self.errors(self.predict(phi, x), y)

    def errors(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each task's outputs (tasks,)."""
        if self.classes:
            return F.cross_entropy(outputs.mT, y, reduction="none").mean(1)
        return (outputs - y).square().mean((1, 2))


def multilayer(hidden: int = 40) -> nn.Module:
    """Two layers of 40 ReLUs (Finn et al. 2017, section 5.1)."""
    return nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())


def convolutions(dimensions: int, filters: int, blocks: int) -> nn.Module:
    """Blocks of a convolution over 3 places with stride 2, BatchNorm and ReLU, on images or series
    of one channel (Finn et al. 2017, section 5.2). BatchNorm takes the statistics of the rows that
    it is given, also where a task's new rows are asked, as there."""
    convolution: Callable[..., nn.Module] = nn.Conv2d if dimensions == 2 else nn.Conv1d
    norm = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm1d
    layers: list[nn.Module] = []
    for before in [1, *[filters] * (blocks - 1)]:
        layers += [
            convolution(before, filters, 3, stride=2, padding=1),
            norm(filters, track_running_stats=False),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Flatten())
