"""Fetch or verify a data set: `python -m datasets mnist`."""

import argparse
import logging
import sys

from datasets.mnist_sources import find_mnist
from new_algorithm.lab.errors import UserError


def main() -> int:
    """Print where the data are and where they came from; 1 and one line if there are none."""
    parser = argparse.ArgumentParser(prog="python -m datasets", description=__doc__)
    parser.add_argument("name", choices=["mnist"])
    parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        source, _ = find_mnist()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"MNIST: verified, from {source}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
