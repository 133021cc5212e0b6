"""Facts about the machine and the software that a run depends on."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import threadpoolctl

PACKAGES = (
    "numpy",
    "scipy",
    "matplotlib",
    "torch",
    "torchvision",
    "pytorch_optimizer",
    "optuna",
    "tyro",
    "tqdm",
    "requests",
    "scikit-learn",
    "pyarrow",
    "threadpoolctl",
)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def fix_threads(threads: int) -> None:
    """Give BLAS and OpenMP `threads` threads, those loaded now and those loaded later."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    threadpoolctl.threadpool_limits(limits=threads)


def package_versions() -> dict[str, str]:
    """Versions of the installed packages, read without importing any of them."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def thread_pools() -> list[dict[str, Any]]:
    """The BLAS and OpenMP libraries loaded now, with their thread counts."""
    keys = ("user_api", "internal_api", "version", "architecture", "num_threads")
    return [
        {key: pool[key] for key in keys if key in pool} for pool in threadpoolctl.threadpool_info()
    ]


def host_facts() -> dict[str, Any]:
    """CPU model, logical cores of the machine and of this process, memory, OS and Python."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "cores_usable": _usable_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "os": platform.platform(),
        "python": platform.python_version(),
    }


def _usable_cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
