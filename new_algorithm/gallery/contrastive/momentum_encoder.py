"""The parts of MoCo (He et al. 2020): a queue of keys, and an encoder that follows another."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class Queue:
    """The last `size` keys (size, d), in a ring: the oldest are overwritten first.

    Random directions at first. A batch may be of any size, and is wrapped where the ring ends.
    """

    def __init__(self, size: int, width: int, generator: torch.Generator) -> None:
        drawn = torch.randn(size, width, generator=generator, device=generator.device)
        self.keys = F.normalize(drawn, dim=1)
        self.next = 0

    @torch.no_grad()
    def put(self, keys: Tensor) -> None:
        size = len(self.keys)
        first = (self.next + max(0, len(keys) - size)) % size  # of a batch larger than the ring
        keys = keys[-size:]
        before_end = min(len(keys), size - first)
        self.keys[first : first + before_end] = keys[:before_end]
        self.keys[: len(keys) - before_end] = keys[before_end:]
        self.next = (first + len(keys)) % size


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, momentum: float) -> None:
    """θ_slow ← m θ_slow + (1 − m) θ_fast of all parameters (equation 2).

    Buffers stay: BatchNorm's averages are over what each encoder is given itself.
    """
    torch._foreach_lerp_(list(slow.parameters()), list(fast.parameters()), 1 - momentum)
