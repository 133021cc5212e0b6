"""Where data sets come from: folders of this machine, and files over HTTP."""

import os
from pathlib import Path
from typing import Any

from new_algorithm.cli.progress import byte_progress

OWN_FOLDER = Path(__file__).resolve().parent
FOLDER_VARIABLE = "BACK_PROJECTION_DATASETS"
RETRIES = 2
TIMEOUT_S = 10.0  # without a byte
CHUNK_BYTES = 1 << 16


class FetchError(Exception):
    """Why one source of a data set failed, in a few words; the next source is tried."""


def folders_to_search(data_dir: Path | None, own_folder: Path) -> list[tuple[Path, str]]:
    """Return the folders in order, each with the words that name it in published records.

    An explicit `data_dir` is searched alone; otherwise the folder that BACK_PROJECTION_DATASETS
    names, if any, comes before `own_folder`.
    """
    if data_dir is not None:
        return [(data_dir, "the folder named by --data-dir")]
    own = (own_folder, "datasets/")
    if named := os.environ.get(FOLDER_VARIABLE):
        return [(Path(named), f"the folder named by {FOLDER_VARIABLE}"), own]
    return [own]


def fetch_file(url: str, folder: Path, sha256: str | None = None) -> Path:
    """Download `url` into `folder`, which keeps nothing of it if that fails.

    Server errors (5xx), short bodies and wrong hashes are tried again. Without `sha256` the caller
    has to verify the file. FetchError if the server does not send it, OSError if it cannot be
    written.
    """
    import pooch  # with requests half a second: needed only where no data lie on this machine
    import requests

    name = url.rpartition("/")[2]

    def download(url: str, path: str, _: Any) -> None:
        with byte_progress(name, 1) as bar:  # pooch asks bool(bar), then sets the true total
            fetch = pooch.HTTPDownloader(
                progressbar=bar,
                chunk_size=CHUNK_BYTES,
                timeout=TIMEOUT_S,
                headers={"Accept-Encoding": "identity"},  # the hash is of the file as it lies there
            )
            try:
                fetch(url, path, None)
            except requests.HTTPError as error:
                if error.response is not None and error.response.status_code < 500:
                    raise FetchError(f"{name}: {_answered(error)}") from error
                raise
            except (requests.ConnectionError, requests.Timeout) as error:
                raise FetchError(f"{name}: the server cannot be reached") from error

    pooch.get_logger().setLevel("ERROR")  # the caller reports what happens
    files = pooch.create(
        folder, "", registry={name: sha256}, urls={name: url}, retry_if_failed=RETRIES
    )
    try:
        path = Path(files.fetch(name, downloader=download))
    except requests.HTTPError as error:
        raise FetchError(f"{name}: {_answered(error)}") from error
    except requests.RequestException as error:
        raise FetchError(f"{name}: the download failed ({type(error).__name__})") from error
    except ValueError as error:
        raise FetchError(f"{name}: the file sent has the wrong hash") from error
    path.chmod(0o644)  # pooch's temporary file was readable by its owner alone
    return path


def _answered(error: Any) -> str:
    return f"the server answered {error.response.status_code}"
