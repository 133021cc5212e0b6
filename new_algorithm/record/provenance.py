"""How and where a run was started: command, flags, commit, packages, machine, and its memory."""

import ctypes
import dataclasses
import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from new_algorithm.cli.flags import RunFlags
from new_algorithm.cli.threads import thread_pools
from new_algorithm.record.layout import Layout

AFFINITY = hasattr(os, "sched_getaffinity")
OUTPUTS = ("ploting_data", "figures", "_logs")
PACKAGES = (
    *("numpy", "scipy", "matplotlib", "torch", "torchvision", "pytorch_optimizer", "optuna"),
    *("tyro", "tqdm", "pooch", "scikit-learn", "pyarrow", "threadpoolctl"),
)


def describe(script: Path, config: RunFlags, tag: str, layout: Layout) -> dict[str, Any]:
    """Return the command that repeats the run from the root, every flag with the value in force,
    the seeds, commit, packages, thread pools and machine; and where flags that are not given leave
    settings to an optimizer, those."""
    argv = [layout.relative(script), *sys.argv[1:]]
    flags = dataclasses.asdict(config) | {"tag": tag}
    return {
        "script": argv[0],
        "argv": argv,
        "command": shlex.join(["python", *argv]),
        "config": {
            name: layout.relative(value) if isinstance(value, Path) else value
            for name, value in flags.items()
        },
        "settings": _settings(config),
        "seeds": list(getattr(config, "seeds", (config.seed,))),
        "git": git_state(layout.root),
        "packages": package_versions(),
        "thread_pools": thread_pools(),
        "host": host_facts(),
    }


def _settings(config: RunFlags) -> dict[str, Any]:
    settings = getattr(config, "settings", {})  # a dict, or a named tuple
    return dict(settings) if isinstance(settings, dict) else settings._asdict()


def package_versions() -> dict[str, str]:
    """Versions of the installed packages, read without importing any of them."""
    versions = {}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def host_facts() -> dict[str, Any]:
    """CPU model, logical cores of the machine and of this process, memory, OS and Python."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)) if AFFINITY else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "os": platform.platform(),
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def git_state(root: Path) -> dict[str, str | bool] | None:
    """{"commit", "dirty"} of the repository at `root`; None without git, repository or commit.

    Outputs of runs do not make it dirty; untracked files that git does not ignore do.
    """
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return None
        commit = _git(root, "rev-parse", "HEAD")
        excluded = (f":(exclude){folder}" for folder in OUTPUTS)
        return {"commit": commit, "dirty": bool(_git(root, "status", "-s", "--", ".", *excluded))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    finished = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=True
    )
    return finished.stdout.strip()


def peak_memory() -> int:
    """Return the most bytes that were resident since the start, or since `reset_peak_memory`."""
    return _bytes_of("VmHWM")  # and not ru_maxrss, which a child inherits from its parent


def reset_peak_memory() -> int:
    """Let `peak_memory` begin anew; return the bytes resident now. OSError where it cannot be."""
    ctypes.CDLL(None).malloc_trim(0)  # what earlier work has freed would hide what comes
    Path("/proc/self/clear_refs").write_text("5")
    return _bytes_of("VmRSS")


def _bytes_of(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))
