"""Where the outputs of a run lie below the repository root."""

import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

ASIDE = ".replaced"  # the folder, beside records and figures, of those being overwritten
REPOSITORY = Path(__file__).resolve().parents[2]
GROUP_VARIABLE = "BACK_PROJECTION_GROUP"  # set for the scripts that an experiment runs


@dataclass(frozen=True)
class Layout:
    """The output folders below `root`; a copy of the repository writes into itself.

    group: the folder, in each of them, of runs that belong together; by default the one that
    GROUP_VARIABLE names.
    """

    root: Path = REPOSITORY
    group: str = field(default_factory=lambda: os.environ.get(GROUP_VARIABLE, ""))

    @property
    def records(self) -> Path:
        return self.root / "ploting_data" / self.group

    @property
    def index(self) -> Path:
        """Of the runs made here; figures/README.md is about the published ones."""
        return self.root / "figures" / "local_runs.md"

    def record(self, tag: str) -> Path:
        return self.records / tag

    def figures(self, tag: str) -> Path:
        return self.root / "figures" / self.group / tag

    def lock(self, tag: str) -> Path:
        """The file that a process locks as long as the tag is its own."""
        return self.records / ".locks" / tag

    def log(self, tag: str, start: datetime) -> Path:
        return self.root / "_logs" / self.group / f"{start:%Y-%m-%d_%H%M%S}_{tag}.log"

    def relative(self, path: Path) -> str:
        """`path` as seen from `root`, or unchanged where it lies outside."""
        resolved, root = Path(path).resolve(), self.root.resolve()
        return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else str(path)
