"""Find or fetch a data set, and verify it.

mnist             found, or fetched into datasets/; verified by its hashes
higgs             found, or fetched into datasets/ (2.8 GB); every row is checked while it is read
                  into datasets/cache/, where later runs find it
higgs-like:ROWS   drawn at random in the form of HIGGS, any number of rows, into datasets/cache/;
                  or written as csv, for other programs, with --write-csv
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from datasets.higgs.like_csv import write_higgs_like
from datasets.higgs.like_rows import describe, is_higgs_like, rows_of, verify_higgs_like
from datasets.higgs.load import verify_higgs
from datasets.higgs.sources import HiggsSource, find_source, locate_higgs
from datasets.local_folders import FOLDER_VARIABLE, OWN_FOLDER
from datasets.mnist.sources import find_mnist
from new_algorithm.cli.errors import UserError

EXAMPLES = """examples:
  python -m datasets mnist
  python -m datasets higgs --data-dir /data/higgs
  python -m datasets higgs-like:2600000
  python -m datasets higgs-like:1000000 --seed 1 --write-csv /tmp/HIGGS.csv.gz
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print where the data are and where they came from; 1 and one line if there are none."""
    flags = _parse(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("datasets").setLevel(logging.INFO)
    try:
        print(_do(flags))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def prepare_mnist(data_dir: Path | None) -> str:
    """Find or fetch it, and say whence; UserError where neither succeeds."""
    source, _ = find_mnist(data_dir)
    return f"MNIST: verified, from {source}"


def prepare_higgs(data_dir: Path | None, sample: bool) -> str:
    """Find or fetch it, and check every row; `sample`: content with one that is at hand.

    The contents are compared with the original's where they are fetched, and not otherwise.
    """
    source = find_source(data_dir)
    if source is None or (source.is_sample and not sample):
        _fetch_higgs(OWN_FOLDER if data_dir is None else data_dir, source)
    source = locate_higgs(data_dir)
    return f"HIGGS: {verify_higgs(source):,} rows are sound, from {source}"


def prepare_higgs_like(name: str, seed: int, csv: Path | None) -> str:
    """Draw the rows, into the cache or into a csv file."""
    rows = rows_of(name)
    if csv is not None:
        write_higgs_like(csv, rows, seed)
        return f"{name}: {rows:,} rows in {csv}, {describe(seed)}"
    return f"{name}: {verify_higgs_like(name, seed):,} rows are sound, {describe(seed)}"


def _do(flags: argparse.Namespace) -> str:
    if flags.data_dir is not None and not flags.data_dir.is_dir():
        raise UserError(f"{flags.data_dir}: no such folder; make it, or name another")
    if flags.name == "mnist":
        return prepare_mnist(flags.data_dir)
    if flags.name == "higgs":
        return prepare_higgs(flags.data_dir, flags.sample)
    return prepare_higgs_like(flags.name, flags.seed, flags.write_csv)


def _fetch_higgs(folder: Path, sample: HiggsSource | None) -> None:
    from datasets.higgs.mirrors import fetch_higgs

    try:
        fetch_higgs(folder)
    except UserError as error:
        if sample is None:
            raise
        raise UserError(
            f"{error}. Until then the sample at hand, {sample}, can be used: train with "
            "`--dataset higgs`, or verify it with `python -m datasets higgs --sample`"
        ) from error


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m datasets",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", help="mnist, higgs, higgs-like or higgs-like:ROWS")
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="look in this folder alone, and fetch HIGGS into it, in place of the folder that "
        f"${FOLDER_VARIABLE} names and datasets/",
    )
    parser.add_argument(
        "--sample",
        action="store_true",
        help="higgs: be content with HIGGS_sample*.csv[.gz] where the whole is not at hand",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="higgs-like: other seeds give other rows (default: 0)"
    )
    parser.add_argument(
        "--write-csv",
        type=Path,
        metavar="FILE",
        help="higgs-like: write the rows to a new file in the layout of HIGGS.csv, gzipped where "
        "the name ends in .gz",
    )
    flags = parser.parse_args(arguments)
    if flags.name not in ("mnist", "higgs") and not is_higgs_like(flags.name):
        parser.error(f"unknown data set {flags.name!r}: choose mnist, higgs or higgs-like:ROWS")
    if flags.sample and flags.name != "higgs":
        parser.error("--sample goes with higgs alone")
    if flags.data_dir is not None and is_higgs_like(flags.name):
        parser.error("--data-dir goes with mnist and higgs")
    if (flags.write_csv is not None or flags.seed) and not is_higgs_like(flags.name):
        parser.error("--seed and --write-csv go with higgs-like")
    if flags.seed < 0:
        parser.error("--seed: a whole number of at least 0")
    return flags


if __name__ == "__main__":
    sys.exit(main())
