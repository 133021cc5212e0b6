"""Find or fetch a data set, and verify it.

    python -m datasets mnist
    python -m datasets higgs --data-dir /data/higgs
    python -m datasets cifar10 --sample
    python -m datasets tables
    python -m datasets higgs-like:1000000 --seed 1 --write-csv /tmp/HIGGS.csv.gz

MNIST is found, or fetched into datasets/, and verified by its hashes. HIGGS is found, or fetched
into datasets/ (2.8 GB); every row is checked while it is read into datasets/cache/, where later
runs find it. higgs-like:ROWS is drawn at random in the form of HIGGS, any number of rows, into
datasets/cache/; or written as csv, for other programs. For networks of PyTorch: CIFAR-10 (170 MB),
tinyshakespeare (1 MB), omniglot, its minimal sets (3 MB), and mnist1d (2 MB) are found, or fetched
into datasets/, and verified. For comparisons of methods: the packages of the public tables (50 MB)
are found, or fetched into datasets/, and each table is made and verified.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from datasets.characters import find_tiny_shakespeare
from datasets.cifar10 import SAMPLE, fetch_cifar10, find_cifar10, locate_cifar10, read_cifar10
from datasets.higgs.cache import verify_rows
from datasets.higgs.files import fetch_higgs, find_higgs, locate_higgs
from datasets.higgs.generator import origin_of, rows_of, write_higgs_like
from datasets.mnist import find_mnist
from datasets.mnist1d import find_mnist1d
from datasets.omniglot import find_omniglot
from datasets.public_tables.load import make_tables
from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import Seed, parse

VERIFIED: dict[str, tuple[str, Callable[[Path | None], tuple[str, Any]]]] = {
    "mnist": ("MNIST", find_mnist),
    "tinyshakespeare": ("tiny Shakespeare", find_tiny_shakespeare),
    "omniglot": ("Omniglot's minimal sets", find_omniglot),
    "mnist1d": ("MNIST-1D", find_mnist1d),
    "tables": ("public tables", make_tables),
}
NAMES = ("mnist", "higgs", "cifar10", "tinyshakespeare", "omniglot", "mnist1d", "tables")


@dataclass(frozen=True, kw_only=True)
class Config:
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """mnist, higgs, higgs-like:ROWS, cifar10, tinyshakespeare, omniglot, mnist1d or tables."""
    data_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """Look in this folder alone, and fetch HIGGS or CIFAR-10 into it, in place of the one that
    $BACK_PROJECTION_DATASETS names and datasets/."""
    sample: bool = False
    """Be content with HIGGS_sample*.csv[.gz] or cifar10_jpeg_30k.zip if the whole of HIGGS or
    CIFAR-10 is not at hand."""
    seed: Seed = 0
    """Other seeds give other rows of higgs-like."""
    write_csv: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """Write higgs-like to a new file in the layout of HIGGS.csv, gzipped if it ends in .gz."""


def main() -> None:
    """Say where the data are and where they came from; UserError if there are none."""
    flags = parse(Config, __doc__)
    rows = rows_of(flags.name)
    _check(flags, is_generated=rows is not None)
    if flags.name in VERIFIED:
        title, find = VERIFIED[flags.name]
        print(f"{title}: verified, from {find(flags.data_dir)[0]}")
    elif flags.name == "cifar10":
        print(_check_cifar10(flags.data_dir, flags.sample))
    elif rows is None:
        _fetch_missing_higgs(flags.data_dir, flags.sample)
        origin = locate_higgs(flags.data_dir)
        print(f"HIGGS: {verify_rows(origin):,} rows are sound, from {origin.words}")
    else:
        origin = origin_of(rows, flags.seed)
        if flags.write_csv is not None:
            write_higgs_like(flags.write_csv, rows, flags.seed)
            print(f"{flags.name}: {rows:,} rows in {flags.write_csv}, {origin.words}")
        else:
            print(f"{flags.name}: {verify_rows(origin):,} rows are sound, {origin.words}")


def _check(flags: Config, is_generated: bool) -> None:
    if flags.name not in NAMES and not is_generated:
        raise UserError(
            f"unknown data set {flags.name!r}: choose {', '.join(NAMES)} or higgs-like:ROWS"
        )
    if flags.sample and flags.name not in ("higgs", "cifar10"):
        raise UserError("--sample goes with higgs and cifar10")
    if flags.data_dir is not None and is_generated:
        raise UserError(f"--data-dir goes with {', '.join(NAMES)}")
    if (flags.write_csv is not None or flags.seed) and not is_generated:
        raise UserError("--seed and --write-csv go with higgs-like")
    if flags.data_dir is not None and not flags.data_dir.is_dir():
        raise UserError(f"{flags.data_dir}: no such folder; make it, or name another")


def _check_cifar10(data_dir: Path | None, sample_suffices: bool) -> str:
    found = find_cifar10(data_dir)
    if found is None or (found.name == SAMPLE and not sample_suffices):
        fetch_cifar10(data_dir)
    path, words = locate_cifar10(data_dir)
    arrays = read_cifar10(path)
    return f"CIFAR-10: {len(arrays['x_train']):,} + {len(arrays['x_test']):,} images, from {words}"


def _fetch_missing_higgs(data_dir: Path | None, sample_suffices: bool) -> None:
    found = find_higgs(data_dir)
    if found is not None and (sample_suffices or found.name.startswith("HIGGS.csv")):
        return
    try:
        fetch_higgs(data_dir)
    except UserError as error:
        if found is None:
            raise
        raise UserError(
            f"{error}. Until then the sample at hand, {locate_higgs(data_dir).words}, can be used: "
            "train with `--dataset higgs`, or verify it with `python -m datasets higgs --sample`"
        ) from error


if __name__ == "__main__":
    sys.argv[0] = "python -m datasets"  # as --help and refusals call it
    run_main(main)
