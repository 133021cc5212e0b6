"""Labelled rows on a device, and how a network does on them."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from new_algorithm.back_projection.losses import SOFTMAX
from new_algorithm.back_projection.metrics import Scores, score
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.gallery.architecture_search.cells import Alphas

AT_ONCE = 500  # rows that are evaluated together


@dataclass(frozen=True)
class Rows:
    """Images x (n, c, h, w) and labels y (n,)."""

    x: Tensor
    y: Tensor

    @classmethod
    def of(cls, x: NDArray, y: NDArray, device: torch.device) -> "Rows":
        arrays = (np.require(array, requirements="W") for array in (x, y))
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: NDArray[np.intp]) -> "Rows":
        index = torch.from_numpy(rows).to(self.x.device)
        return Rows(self.x[index], self.y[index])

    def halves(self, rng: np.random.Generator) -> tuple["Rows", "Rows"]:
        """Return two random halves; a row that is left over is in the first."""
        order = rng.permutation(len(self))
        return self[order[::2]], self[order[1::2]]


def check_halves(rows: int, batch_size: int) -> None:
    """UserError unless each half of so many training rows has a batch."""
    if rows < 2:
        raise UserError(f"--train-limit {rows}: a search halves the rows: give at least 2")
    if batch_size > rows // 2:
        raise UserError(
            f"--batch-size {batch_size} is more than half of the {rows} training samples: "
            f"give at most {rows // 2}"
        )


def scores_of(network: nn.Module, rows: Rows, alphas: Alphas | None = None) -> Scores:
    """Return the scores of a network, which is left in training mode."""
    network.eval()
    with torch.no_grad():
        logits = torch.cat([network(part, alphas) for part in rows.x.split(AT_ONCE)])
    network.train()
    return score(SOFTMAX, [(logits.cpu().numpy(), rows.y.cpu().numpy())])


def require_finite(loss: float, epoch: int, remedy: str) -> None:
    if not math.isfinite(loss):
        raise DivergedError(f"epoch {epoch}: the loss is {loss}: {remedy}")
