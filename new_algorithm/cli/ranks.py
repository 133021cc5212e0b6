"""The processes of one run: one alone, or the ranks that torchrun has started.

    torchrun --standalone --nproc-per-node 2 new_algorithm/SCRIPT.py FLAGS

Each rank holds a shard of the rows, and only sums cross the network (torch.distributed: gloo, or
nccl where every rank of a machine has a GPU of its own to sum on). A run that is not started by
torchrun never imports torch for this.
"""

import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.batch import AllSum
from new_algorithm.cli.errors import UserError

COMMAND = "torchrun --standalone --nproc-per-node N SCRIPT FLAGS"
TORCHRUN = "TORCHELASTIC_RUN_ID"  # in the environment of each process that torchrun starts,
GIVEN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
OTHERS = {  # launchers, and what each of their processes has in its environment
    "mpirun": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    "mpiexec": ("PMI_RANK", "PMI_SIZE"),
    "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
}
ALONE = {"RANK": "0", "WORLD_SIZE": "1"}  # as any launcher sets them for a single process


class RankLostError(UserError):
    """Another rank has died, or has not answered in time."""


class Ranks:
    """One process alone, and what several offer as well: see `Group`.

    rank: of this process; 0 writes the record. size: how many there are. sent_bytes: handed to
    sums so far, by this rank; a ring moves 2 (size − 1)/size times that out of each. all_sum: adds
    up a contiguous float array over all ranks, in place; None of one process.
    """

    rank, size, sent_bytes = 0, 1, 0
    all_sum: AllSum | None = None

    def gather(self, value: Any) -> list[Any]:
        """Return what every rank passes, in the order of ranks."""
        return [value]

    def from_first(self, value: Any) -> Any:
        """Return what rank 0 passes."""
        return self.gather(value if self.rank == 0 else None)[0]

    def same_everywhere(self, array: NDArray) -> bool:
        """Return whether all ranks hold the same bytes."""
        return len(set(self.gather(zlib.crc32(np.ascontiguousarray(array).data)))) == 1


class Group(Ranks):
    """The ranks of a process group of torch.distributed. Each method may raise RankLostError."""

    def __init__(self, backend: str, timeout_s: float) -> None:
        import torch.distributed

        self._torch = torch
        self.rank, self.size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self._on_gpu, self._timeout_s = backend == "nccl", timeout_s

    def all_sum(self, array: NDArray) -> None:
        self.sent_bytes += array.nbytes
        with self._losing_ranks():
            tensor = self._torch.from_numpy(array)  # shares its memory
            if self._on_gpu:
                tensor = tensor.cuda()
            self._torch.distributed.all_reduce(tensor)
            if self._on_gpu:
                array[...] = tensor.cpu().numpy()

    def gather(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.size
        with self._losing_ranks():
            self._torch.distributed.all_gather_object(values, value)
        return values

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
def join_ranks(timeout_s: float) -> Iterator[Ranks]:
    """Yield the ranks of this run; those of torchrun leave together, or after `timeout_s`."""
    if not _started_by_torchrun():
        yield Ranks()
        return
    import torch.distributed

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    backend = "nccl" if gpus >= int(os.environ["LOCAL_WORLD_SIZE"]) else "gloo"
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
    """Return the rank that torchrun has given, 0 without it. UserError: see below."""
    return int(os.environ["RANK"]) if _started_by_torchrun() else 0


def local_rank() -> int:
    """Return the place among the ranks of this machine, 0 without torchrun."""
    return int(os.environ.get("LOCAL_RANK", "0")) if TORCHRUN in os.environ else 0


def require_joined(script: str) -> None:
    """UserError where torchrun has started several processes that are no ranks of one run."""
    if TORCHRUN not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        return
    import torch.distributed

    if not torch.distributed.is_initialized():
        raise UserError(f"{script} runs in one process: start it with python, not with torchrun")


def _started_by_torchrun() -> bool:
    """UserError for one of several processes of another launcher, or half of torchrun's variables.

    Each of another launcher's processes would train by itself, on all rows, under the same tag.
    """
    if TORCHRUN not in os.environ:
        if any(os.environ.get(name, default) != default for name, default in ALONE.items()):
            raise UserError(
                f"{' and '.join(ALONE)} are set, but not by torchrun: start several processes with "
                f"`{COMMAND}`, or one process without these variables"
            )
        for launcher, (rank, size) in OTHERS.items():
            if rank in os.environ and os.environ.get(size, "1") != "1":
                raise UserError(
                    f"process {os.environ[rank]} of {os.environ[size]} that {launcher} has started "
                    f"({rank}, {size}): each would train by itself on all rows: start with "
                    f"`{COMMAND}`, one {launcher} process a machine at most"
                )
        return False
    if missing := [name for name in GIVEN if name not in os.environ]:
        raise UserError(
            f"{TORCHRUN} is set, but not {', '.join(missing)}: start with `{COMMAND}`, or one "
            f"process without {TORCHRUN}"
        )
    return True


def _reason(error: RuntimeError) -> str:
    """The first sentence, without the place in torch's own source that it begins with."""
    line = (str(error).strip().splitlines() or ["no reason given"])[0]
    return re.sub(r"^\[[^\]]*\] *", "", line).split(". ")[0][:200]
