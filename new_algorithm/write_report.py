"""Write the report of an experiment again, from its record alone: nothing is run.

    python new_algorithm/write_report.py leaderboard

Reads experiment.json, runs.csv, curves.csv and trials.csv in ploting_data/TAG/; writes
figures/TAG/report.html, a page that needs no other file, its twin README.md, and their figures as
.svg.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import tyro

from new_algorithm.cli.console import run_main
from new_algorithm.cli.flags import parse, validate_tag
from new_algorithm.experiments.report import write_report
from new_algorithm.record.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Config:
    tag: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TAG")]
    """The experiment: a folder in ploting_data/."""


def main() -> None:
    tag, layout = parse(Config, __doc__).tag, Layout()
    validate_tag(tag, "TAG")
    for path in write_report(tag, layout):
        print(f"Wrote {layout.relative(path)}", flush=True)


if __name__ == "__main__":
    run_main(main)
