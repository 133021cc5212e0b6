"""Public mirrors of MNIST over HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets.download import PAUSE_S, download
from datasets.mnist.files import Arrays, Expected, read_folder

IDX_FILES = {
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
    ),
}


@dataclass(frozen=True)
class Mirror:
    """url: the folder, with its final slash; files: name -> sha256 of the file as served."""

    url: str
    files: Mapping[str, str]
    pause_s: float = PAUSE_S

    def fetch(self, folder: Path, expected: Expected) -> Arrays:
        """Download into `folder`, which is temporary, and read. FetchError, UserError."""
        for name, sha256 in self.files.items():
            download(self.url + name, folder / name, sha256, pause_s=self.pause_s)
        found = read_folder(folder, expected)
        assert found is not None, "a mirror's files are named as read_folder expects them"
        return found[1]


MIRRORS = {
    "the mirror ossci-datasets": Mirror(
        "https://ossci-datasets.s3.amazonaws.com/mnist/", IDX_FILES
    ),
    "the mirror cvdf-datasets": Mirror(
        "https://storage.googleapis.com/cvdf-datasets/mnist/", IDX_FILES
    ),
    "the mirror tf-keras-datasets": Mirror(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        {"mnist.npz": "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"},
    ),
}
