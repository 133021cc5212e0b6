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

from datasets.higgs.cache import verify_rows
from datasets.higgs.fetch import fetch_higgs
from datasets.higgs.generator import (
    describe,
    generated_origin,
    is_higgs_like,
    rows_of,
    write_higgs_like,
)
from datasets.higgs.load import csv_origin, find_source, locate_higgs
from datasets.mnist.load import find_mnist
from datasets.sources import FOLDER_VARIABLE, OWN_FOLDER
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
        print(_prepare(flags))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _prepare(flags: argparse.Namespace) -> str:
    """Find, fetch or draw the data set, check it, and say in one line what was done."""
    name, data_dir = flags.name, flags.data_dir
    if data_dir is not None and not data_dir.is_dir():
        raise UserError(f"{data_dir}: no such folder; make it, or name another")
    if name == "mnist":
        return f"MNIST: verified, from {find_mnist(data_dir)[0]}"
    if name == "higgs":
        _fetch_missing_higgs(data_dir, flags.sample)
        source = locate_higgs(data_dir)
        return f"HIGGS: {verify_rows(csv_origin(source)):,} rows are sound, from {source}"
    rows = rows_of(name)
    if flags.write_csv is not None:
        write_higgs_like(flags.write_csv, rows, flags.seed)
        return f"{name}: {rows:,} rows in {flags.write_csv}, {describe(flags.seed)}"
    rows = verify_rows(generated_origin(rows, flags.seed))
    return f"{name}: {rows:,} rows are sound, {describe(flags.seed)}"


def _fetch_missing_higgs(data_dir: Path | None, sample_suffices: bool) -> None:
    found = find_source(data_dir)
    if found is not None and (sample_suffices or not found.is_sample):
        return
    try:
        fetch_higgs(OWN_FOLDER if data_dir is None else data_dir)
    except UserError as error:
        if found is None:
            raise
        raise UserError(
            f"{error}. Until then the sample at hand, {found}, can be used: train with "
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
