"""Find or fetch a data set, and verify it.

mnist             found, or fetched into datasets/; verified by its hashes
higgs             found, or fetched into datasets/ (2.8 GB); every row is checked while it is read
                  into datasets/cache/, where later runs find it
higgs-like:ROWS   drawn at random in the form of HIGGS, any number of rows, into datasets/cache/;
                  or written as csv, for other programs, with --write-csv
"""

import argparse
from pathlib import Path

from datasets.higgs import generator
from datasets.higgs.cache import verify_rows
from datasets.higgs.fetch import fetch_higgs
from datasets.higgs.load import csv_origin, find_source, locate_higgs
from datasets.mnist.load import find_mnist
from datasets.sources import FOLDER_VARIABLE, OWN_FOLDER
from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import UserError

EXAMPLES = """examples:
  python -m datasets mnist
  python -m datasets higgs --data-dir /data/higgs
  python -m datasets higgs-like:2600000
  python -m datasets higgs-like:1000000 --seed 1 --write-csv /tmp/HIGGS.csv.gz
"""


def main() -> None:
    """Say where the data are and where they came from; UserError if there are none."""
    flags = _parse()
    if flags.data_dir is not None and not flags.data_dir.is_dir():
        raise UserError(f"{flags.data_dir}: no such folder; make it, or name another")
    if flags.name == "mnist":
        print(f"MNIST: verified, from {find_mnist(flags.data_dir)[0]}")
    elif flags.name == "higgs":
        _fetch_missing_higgs(flags.data_dir, flags.sample)
        source = locate_higgs(flags.data_dir)
        print(f"HIGGS: {verify_rows(csv_origin(source)):,} rows are sound, from {source}")
    else:
        rows, words = generator.rows_of(flags.name), generator.describe(flags.seed)
        if flags.write_csv is not None:
            generator.write_higgs_like(flags.write_csv, rows, flags.seed)
            print(f"{flags.name}: {rows:,} rows in {flags.write_csv}, {words}")
        else:
            verified = verify_rows(generator.origin_of(rows, flags.seed))
            print(f"{flags.name}: {verified:,} rows are sound, {words}")


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


def _parse() -> argparse.Namespace:
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
        help="higgs: be content with HIGGS_sample*.csv[.gz] if the whole is not at hand",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="higgs-like: other seeds give other rows (default: 0)"
    )
    parser.add_argument(
        "--write-csv",
        type=Path,
        metavar="FILE",
        help="higgs-like: write the rows to a new file in the layout of HIGGS.csv, gzipped if "
        "the name ends in .gz",
    )
    flags = parser.parse_args()
    is_generated = generator.is_higgs_like(flags.name)
    if flags.name not in ("mnist", "higgs") and not is_generated:
        parser.error(f"unknown data set {flags.name!r}: choose mnist, higgs or higgs-like:ROWS")
    if flags.sample and flags.name != "higgs":
        parser.error("--sample goes with higgs alone")
    if flags.data_dir is not None and is_generated:
        parser.error("--data-dir goes with mnist and higgs")
    if (flags.write_csv is not None or flags.seed) and not is_generated:
        parser.error("--seed and --write-csv go with higgs-like")
    if flags.seed < 0:
        parser.error("--seed: a whole number of at least 0")
    return flags


if __name__ == "__main__":
    run_main(main)
