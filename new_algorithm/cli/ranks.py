"""The processes of one run: one alone, or the ranks that torchrun has started.

    torchrun --standalone --nproc-per-node 2 new_algorithm/SCRIPT.py FLAGS

Each rank holds a shard of the rows, and only sums cross the network (torch.distributed: gloo, or
nccl where every rank of a machine has a GPU of its own to sum on). A run that is not started by
torchrun never imports torch for this.
"""

import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from new_algorithm.cli.errors import UserError

if TYPE_CHECKING:
    import torch


class RankLostError(UserError):
    """Another rank has died, or has not answered in time."""


class Ranks(Protocol):
    """rank: of this process, 0 writes the record. size: how many there are. sent_bytes: handed to
    sums so far, by this rank; a ring moves 2 (size − 1)/size times that out of each. all_sum: adds
    up a contiguous float array over all ranks, in place; None of one process. RankLostError.
    """

    rank: int
    size: int
    sent_bytes: int
    all_sum: Callable[[NDArray], None] | None

    def same_everywhere(self, array: NDArray) -> bool:
        """Return whether all ranks hold the same bytes. RankLostError."""

    def from_first(self, value: Any) -> Any:
        """Return what rank 0 passes. RankLostError."""

    def gather(self, value: Any) -> list[Any]:
        """Return what every rank passes, in the order of ranks. RankLostError."""


class Alone:
    """One process, which has nothing to add up."""

    rank, size, sent_bytes = 0, 1, 0
    all_sum: Callable[[NDArray], None] | None = None

    def same_everywhere(self, array: NDArray) -> bool:
        return True

    def from_first(self, value: Any) -> Any:
        return value

    def gather(self, value: Any) -> list[Any]:
        return [value]


class Group:
    """The ranks of a torch.distributed process group that has been initialised."""

    def __init__(self, backend: str, timeout_s: float) -> None:
        import torch.distributed

        self._distributed = torch.distributed
        self.rank, self.size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.backend, self._timeout_s = backend, timeout_s
        self.sent_bytes = 0

    def all_sum(self, array: NDArray) -> None:
        """Add up a contiguous float array over all ranks, in place. RankLostError."""
        self.sent_bytes += array.nbytes
        with self._losing_ranks():
            tensor = self._tensor(array)
            self._distributed.all_reduce(tensor)
            if self.backend == "nccl":
                array[...] = tensor.cpu().numpy()

    def same_everywhere(self, array: NDArray) -> bool:
        checksums = np.zeros(self.size)
        checksums[self.rank] = zlib.crc32(np.ascontiguousarray(array).data)
        self.all_sum(checksums)
        return bool((checksums == checksums[0]).all())

    def gather(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.size
        with self._losing_ranks():
            self._distributed.all_gather_object(values, value)
        return values

    def from_first(self, value: Any) -> Any:
        values = [value]
        with self._losing_ranks():
            self._distributed.broadcast_object_list(values)
        return values[0]

    def _tensor(self, array: NDArray) -> "torch.Tensor":
        import torch

        tensor = torch.from_numpy(array)  # shares its memory
        return tensor.cuda() if self.backend == "nccl" else tensor

    @contextmanager
    def _losing_ranks(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # gloo's and nccl's own errors derive from it
            raise RankLostError(
                f"rank {self.rank}: another rank has died or gave no answer within "
                f"{self._timeout_s:g} s ({_reason(error)}); start the same command again with "
                "--resume"
            ) from error


@contextmanager
def join_ranks(timeout_s: float) -> Iterator[Alone | Group]:
    """Yield the ranks of this run; those of torchrun leave together, or after `timeout_s`."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield Alone()
        return
    import torch.distributed

    backend = "nccl" if _gpu_for_each_rank() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    try:
        torch.distributed.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    except RuntimeError as error:
        raise RankLostError(
            f"the ranks did not meet within {timeout_s:g} s ({_reason(error)})"
        ) from error
    try:
        yield Group(backend, timeout_s)
    finally:
        torch.distributed.destroy_process_group()


def shard(rows: int, rank: int, size: int) -> slice:
    """Return the rows of a rank: consecutive, of equal numbers up to one, rank 0 never without."""
    return slice(-(-rows * rank // size), -(-rows * (rank + 1) // size))


def rank_of_this_process() -> int:
    """Return the rank that torchrun has given, 0 without it."""
    return int(os.environ.get("RANK", "0")) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def _reason(error: RuntimeError) -> str:
    """The first sentence, without the place in torch's own source that it begins with."""
    line = (str(error).strip().splitlines() or ["no reason given"])[0]
    return re.sub(r"^\[[^\]]*\] *", "", line).split(". ")[0][:200]


def _gpu_for_each_rank() -> bool:
    import torch

    return torch.cuda.is_available() and torch.cuda.device_count() >= int(
        os.environ["LOCAL_WORLD_SIZE"]
    )
