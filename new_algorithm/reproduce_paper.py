"""Reproduce a figure that a paper reports: its setting and value from a file, ours beside it.

    python new_algorithm/reproduce_paper.py isaac_mnist
    python new_algorithm/reproduce_paper.py bcd_mnist --runs 1      # hours otherwise
    python new_algorithm/reproduce_paper.py admm_higgs

The files are new_algorithm/experiments/papers/*.toml: setting, value, tolerance, where in the paper
they stand, and what is done otherwise here. The verdict compares our mean over seeds with the
paper's value: reproduced within the tolerance, below it, or above it.

Writes ploting_data/TAG/, the report figures/TAG/report.html with its twin README.md, and _logs/.
The same command goes on where it was cut short.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import tyro

from new_algorithm.cli.console import run_main
from new_algorithm.cli.flags import ExperimentFlags, parse
from new_algorithm.experiments.definitions import PAPERS, load_experiment
from new_algorithm.experiments.recorded_experiment import run_experiment


@dataclass(frozen=True, kw_only=True)
class Config(ExperimentFlags):
    paper: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PAPER")]
    """Name of a definition in new_algorithm/experiments/papers/, or the path of a .toml file."""


def main() -> None:
    config = parse(Config, __doc__)
    run_experiment(load_experiment(config.paper, PAPERS), config, Path(__file__))


if __name__ == "__main__":
    run_main(main)
