"""What run.json says about how and where a run was started."""

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Any

from new_algorithm.cli.flags import RunFlags
from new_algorithm.record.environment import host_facts, package_versions, thread_pools
from new_algorithm.record.git_state import git_state
from new_algorithm.record.layout import Layout


def describe_command(script: Path, layout: Layout) -> dict[str, Any]:
    """The script, its arguments, and the command that repeats the run from the root."""
    argv = [layout.relative(script), *sys.argv[1:]]
    return {"script": argv[0], "argv": argv, "command": shlex.join(["python", *argv])}


def describe_config(config: RunFlags, tag: str, layout: Layout) -> dict[str, Any]:
    """Every flag with the value in force, and the seeds."""
    values = dataclasses.asdict(config) | {"tag": tag}
    for name, value in values.items():
        if isinstance(value, Path):
            values[name] = layout.relative(value)
    return {"config": values, "seeds": list(getattr(config, "seeds", (config.seed,)))}


def describe_environment(layout: Layout) -> dict[str, Any]:
    """Commit, packages, thread pools and machine."""
    return {
        "git": git_state(layout.root),
        "packages": package_versions(),
        "thread_pools": thread_pools(),
        "host": host_facts(),
    }
