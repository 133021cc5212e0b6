"""Which transformer is meant, told without torch: flags are checked before it is imported."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from new_algorithm.cli.errors import UserError

Architecture = Literal["plain", "convolved-scales", "pooled-scales", "joint-scales", "hierarchical"]
Routing = Literal["soft", "straight-through", "gumbel", "fixed"]
SCALES = (1, 4, 16)


@dataclass(frozen=True)
class Shape:
    """width: numbers at every place. layers: of blocks, or of hierarchies of blocks. scales: in
    places, of all architectures but "plain". routing: of "hierarchical" alone."""

    architecture: Architecture
    width: int
    layers: int
    heads: int
    scales: tuple[int, ...] = SCALES
    routing: Routing = "soft"

    def check(self, length: int) -> None:
        """UserError unless there is such a transformer for sequences of this length."""
        if self.width % self.heads:
            raise UserError(
                f"--width {self.width} is no multiple of --heads {self.heads}: change either"
            )
        if self.architecture == "plain":
            return
        given = "--scales " + " ".join(map(str, self.scales))
        if not self.scales or any(b <= a for a, b in pairwise(self.scales)):
            raise UserError(f"{given}: give them in rising order, each once")
        if self.scales[-1] > length:
            raise UserError(f"{given}: sequences have {length} places: leave out what is more")
        if self.architecture == "joint-scales" and self.scales[0] > 1:
            raise UserError(f"{given}: joint scales begin with 1, or early places see nothing")
        if self.architecture == "hierarchical":
            for finer, coarser in pairwise(self.scales):
                if coarser % finer:
                    raise UserError(
                        f"{given}: {coarser} is no multiple of {finer}, as levels have it"
                    )
