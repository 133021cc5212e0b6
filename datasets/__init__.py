"""Data sets by name, verified, scaled and split, each as one `Dataset`."""

import new_algorithm  # noqa: F401  first of all, as it says where packages are missing
from datasets.dataset import Dataset
from datasets.higgs.files import find_higgs
from datasets.load import check_name, load_dataset

__all__ = ["Dataset", "check_name", "find_higgs", "load_dataset"]
