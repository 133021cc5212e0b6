"""Which commit of the repository runs, and whether its files differ from it."""

import subprocess
from pathlib import Path

OUTPUTS = ("ploting_data", "figures", "_logs")


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
