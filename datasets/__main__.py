"""Find or fetch a data set and verify it: `python -m datasets mnist`."""

import argparse
import logging
import sys

from datasets.higgs_csv import read_blocks
from datasets.higgs_sources import locate_higgs
from datasets.mnist_sources import find_mnist
from new_algorithm.lab.errors import UserError


def main() -> int:
    """Print where the data are and where they came from; 1 and one line if there are none."""
    parser = argparse.ArgumentParser(prog="python -m datasets", description=__doc__)
    parser.add_argument("name", choices=VERIFY)
    name = parser.parse_args().name
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        print(VERIFY[name]())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def verify_mnist() -> str:
    source, _ = find_mnist()
    return f"MNIST: verified, from {source}"


def verify_higgs() -> str:
    """Every row is parsed; the contents are not compared with the original's."""
    source, path = locate_higgs()
    rows = sum(len(labels) for _, labels in read_blocks(path))
    return f"HIGGS: {rows:,} rows are sound, from {source}"


VERIFY = {"mnist": verify_mnist, "higgs": verify_higgs}

if __name__ == "__main__":
    sys.exit(main())
