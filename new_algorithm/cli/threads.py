"""How many threads BLAS and OpenMP use, and how many cores there are for them."""

import os
from pathlib import Path
from typing import Any

import threadpoolctl

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


CONTAINER = Path("/sys/fs/cgroup/cpu.max")  # microseconds of CPU time in each period, or max


def usable_cores() -> int:
    """Return how many cores this process may use: of its affinity, and of its container's share."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    try:
        quota, period = map(int, CONTAINER.read_text().split())
    except (OSError, ValueError):  # no container, or one without a limit
        return cores
    return max(1, min(cores, quota // period))


def fix_threads(threads: int) -> None:
    """Give BLAS and OpenMP `threads` threads, those loaded now and those loaded later."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    threadpoolctl.threadpool_limits(limits=threads)


def thread_pools() -> list[dict[str, Any]]:
    """The BLAS and OpenMP libraries loaded now, with their thread counts."""
    keys = ("user_api", "internal_api", "version", "architecture", "num_threads")
    return [
        {key: pool[key] for key in keys if key in pool} for pool in threadpoolctl.threadpool_info()
    ]
