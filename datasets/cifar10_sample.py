"""A sample of CIFAR-10 in JPEG: train/CLASS/*.jpg and test/CLASS/*.jpg in a zip file.

It has half of the images of CIFAR-10, and JPEG changed their pixels: figures on it compare only
with each other. It is decoded once, into datasets/cache/.
"""

import hashlib
import io
import logging
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.npz_file import read_arrays
from datasets.sources import OWN_FOLDER
from datasets.tabular import KEYS
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.progress import progress
from new_algorithm.record.files import replace_atomically

log = logging.getLogger(__name__)

Arrays = dict[str, NDArray]  # x_train, y_train, x_test, y_test

CLASSES = (  # labels 0 to 9
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
IMAGE_SHAPE = (3, 32, 32)  # red, green, blue; rows from the top; columns from the left

SAMPLE = "cifar10_jpeg_30k.zip"
CAVEAT = "JPEG copies of part of CIFAR-10, whose figures compare only with each other"
MEMBER = re.compile(rf"(train|test)/({'|'.join(CLASSES)})/[^/]+\.jpg")
REMEDY = "replace it by an original, or delete it"
CACHE = OWN_FOLDER / "cache"
CACHE_LAYOUT = 1  # to be raised when the arrays of a sample come out differently
SHUFFLE_SEED = 10  # the files are sorted by class


def read_sample(path: Path) -> Arrays:
    """The sample from datasets/cache/, after it was decoded there if need be."""
    with _one_line_for_damage(path), path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    cache = CACHE / f"{path.stem}-{sha256[:16]}-{CACHE_LAYOUT}.npz"
    if cache.exists():
        try:
            return {key: array.copy() for key, array in read_arrays(cache, KEYS).items()}
        except UserError as error:
            log.warning("CIFAR-10 cache: decoding again (%s)", error)
    else:
        log.info("CIFAR-10 cache: decoding %s, once for this and all later runs", path.name)
    arrays = _decode(path)
    try:
        CACHE.mkdir(exist_ok=True)
        with replace_atomically(cache) as kept:
            np.savez(kept, **arrays)  # type: ignore[arg-type]  # no array bears an option's name
    except OSError as error:
        log.warning("CIFAR-10: not kept as %s (%s)", cache, error.strerror or error)
    return arrays


def _decode(path: Path) -> Arrays:
    arrays: Arrays = {}
    with _one_line_for_damage(path), zipfile.ZipFile(path) as archive:
        names = sorted(info.filename for info in archive.infolist() if not info.is_dir())
        if strange := [name for name in names if MEMBER.fullmatch(name) is None]:
            raise UserError(
                f"{path}: holds {strange[0]}, which is no train/CLASS/*.jpg or test/CLASS/*.jpg; "
                f"{REMEDY}"
            )
        for part in ("train", "test"):
            in_part = [name for name in names if name.startswith(f"{part}/")]
            classes = [CLASSES.index(name.split("/")[1]) for name in in_part]
            if absent := [name for i, name in enumerate(CLASSES) if i not in classes]:
                raise UserError(f"{path}: no images in {part}/{absent[0]}; {REMEDY}")
            order = np.random.default_rng(SHUFFLE_SEED).permutation(len(in_part))
            images = np.empty((len(in_part), *IMAGE_SHAPE), np.uint8)
            shuffled = [in_part[i] for i in order]
            for row, name in enumerate(progress(shuffled, f"decoding {part}", len(order))):
                images[row, :] = _pixels(path, name, archive.read(name))
            arrays[f"x_{part}"] = images
            arrays[f"y_{part}"] = np.array(classes, np.int64)[order]
    return arrays


def _pixels(path: Path, name: str, content: bytes) -> NDArray[np.uint8]:
    """Decode a JPEG file to (3, 32, 32)."""
    from PIL import Image  # needed only where the sample was not decoded yet

    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            if image.size != (32, 32):
                raise ValueError(f"it has {image.width} × {image.height} pixels")
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        reason = "damaged" if isinstance(error, OSError) else error
        raise UserError(
            f"{path}: {name} is no JPEG of 32 × 32 pixels ({reason}); {REMEDY}"
        ) from error


@contextmanager
def _one_line_for_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path}: damaged or not a zip file ({error}); {REMEDY}") from error
    except (NotImplementedError, RuntimeError) as error:  # an unknown method, an encrypted member
        raise UserError(f"{path}: cannot be read ({error}); {REMEDY}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
