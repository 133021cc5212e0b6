"""A file whose every byte is known: found in a folder, or fetched, and verified by its hash."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from datasets import sources
from datasets.sources import FOLDER_VARIABLE, fetch_file, fetch_first, folders_to_search
from new_algorithm.cli.errors import UserError
from new_algorithm.record.files import replace_atomically

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PinnedFile:
    """title: of the data set. name: of the file, as it is kept. host: of `url`, in words."""

    title: str
    name: str
    sha256: str
    host: str
    url: str

    def find(self, data_dir: Path | None = None) -> tuple[str, bytes]:
        """Return the source in words, which name no folder of this machine, and the verified bytes.

        In this order: `data_dir`, or else the folder that BACK_PROJECTION_DATASETS names and
        `datasets/`; `url`. UserError if an explicit `data_dir` does not hold it, if a file that is
        found was altered, or if it cannot be fetched.
        """
        for folder, words in folders_to_search(data_dir):
            if (there := read_if_there(folder / self.name)) is not None:
                return f"{self.name} in {words}", self._verified(folder / self.name, there)
            if folder == data_dir:
                raise UserError(
                    f"{data_dir}: no {self.name} there; put it into that folder, or name another"
                )
        by_hand = (
            f"By hand: download {self.url} as {self.name} into {sources.OWN_FOLDER}, or into a "
            f"folder that {FOLDER_VARIABLE} names"
        )
        source, content = fetch_first(self.title, {self.host: self._fetch}, by_hand)
        kept = sources.OWN_FOLDER / self.name
        try:
            with replace_atomically(kept) as new:
                new.write(content)
        except OSError as error:
            log.warning("%s: not kept as %s (%s)", self.title, kept, error.strerror or error)
            return source, content
        log.info("%s: verified, fetched from %s, kept as %s", self.title, source, kept)
        return f"{source}, kept as datasets/{self.name}", content

    def _fetch(self, temporary: Path) -> bytes:
        return fetch_file(self.url, temporary, self.sha256).read_bytes()

    def _verified(self, file: Path, content: bytes) -> bytes:
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise UserError(
                f"{file}: not {self.title}, its contents were altered; "
                "replace it by an original, or delete it"
            )
        return content


def read_if_there(file: Path) -> bytes | None:
    """The bytes of a file, None where there is none; UserError if it cannot be read."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from error
