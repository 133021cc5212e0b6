"""How many threads BLAS and OpenMP use."""

import os
from typing import Any

import threadpoolctl

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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
