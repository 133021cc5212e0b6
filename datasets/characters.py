"""Text character by character, for models of sequences: tiny Shakespeare, or any file in UTF-8."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.dataset import HeldOut, Split
from datasets.pinned_file import PinnedFile, read_if_there
from new_algorithm.cli.errors import UserError

FILE = PinnedFile(  # of 1,115,394 bytes
    title="tiny Shakespeare",
    name="tinyshakespeare.txt",
    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    host="karpathy/char-rnn",
    url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
)
TEST_DIVISOR = 10  # the last character in ten is for the test


@dataclass(frozen=True, eq=False)
class Characters:
    """A text, cut into a training part and a held-out part.

    train, test: int64 (n,), the characters in their order, as indices of `alphabet`.
    alphabet: the distinct characters of the whole text, in the order of their code points.
    held_out: what `test` really is. sha256: of the file.
    """

    name: str
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    alphabet: str
    held_out: HeldOut
    source: str
    sha256: str

    def text_of(self, ids: Iterable[int]) -> str:
        """The characters that `ids` stand for."""
        return "".join(self.alphabet[i] for i in ids)

    def provenance(self) -> dict[str, Any]:
        """What a record of a run says about its data, ready for JSON."""
        return {
            "name": self.name,
            "source": self.source,
            "held_out": self.held_out,
            "sha256": {"text": self.sha256},
            "counts": {"train": len(self.train), self.held_out: len(self.test)},
            "num_classes": len(self.alphabet),
        }


def load_characters(
    data_dir: Path | str | None = None,
    *,
    path: Path | str | None = None,
    held_out: HeldOut = "test",
) -> Characters:
    """Load tiny Shakespeare, or the UTF-8 text in the file `path`.

    The first nine tenths are for training, the last tenth is the test set. held_out: "validation"
    puts the last sixth of the training characters in the place of the test set, "unseen" only
    leaves them out. data_dir: as for MNIST; without it tiny Shakespeare is fetched where there is
    none. UserError for whatever the user can correct.
    """
    split = Split(held_out)
    if path is None:
        name = "tinyshakespeare"
        source, content = find_tiny_shakespeare(None if data_dir is None else Path(data_dir))
        text = content.decode()
    elif data_dir is None:
        name = Path(path).name
        source, text, content = f"the file {name}", *read_text(Path(path))
    else:
        raise UserError("data_dir and path exclude each other: leave one of them out")
    distinct, ids = np.unique(np.frombuffer(text.encode("utf-32-le"), "<u4"), return_inverse=True)
    end = len(ids) * (TEST_DIVISOR - 1) // TEST_DIVISOR
    train, test = ids[:end], ids[end:]
    parts = split.hold_out({"x_train": train, "y_train": train, "x_test": test, "y_test": test})
    return Characters(
        name=name,
        train=parts["x_train"],
        test=parts["x_test"],
        alphabet="".join(map(chr, distinct.tolist())),
        held_out=held_out,
        source=source,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def read_text(file: Path) -> tuple[str, bytes]:
    """The text in a UTF-8 file, newlines as they are, and its bytes."""
    content = read_if_there(file)
    if content is None:
        raise UserError(f"{file}: no such file; check the path")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file}: byte {error.start + 1} is not UTF-8; save it as UTF-8 text"
        ) from error
    if len(text) < TEST_DIVISOR:
        raise UserError(
            f"{file}: {len(text)} characters are too few for a test set: "
            f"{TEST_DIVISOR} or more are needed"
        )
    return text, content


def find_tiny_shakespeare(data_dir: Path | None = None) -> tuple[str, bytes]:
    """The source in words, and the verified bytes, as `PinnedFile.find` does it."""
    return FILE.find(data_dir)
