import gzip
import zipfile

import numpy as np
import pytest

from datasets.mnist import read_folder
from new_algorithm.cli.errors import UserError


def assert_is(tiny, found):
    for key, array in tiny.items():
        np.testing.assert_array_equal(found[1][key], array)
        assert found[1][key].dtype == np.uint8


def test_an_empty_or_absent_folder_holds_nothing(tmp_path):
    assert read_folder(tmp_path) is None
    assert read_folder(tmp_path / "absent") is None


def test_mnist_npz_is_read(tmp_path, tiny):
    np.savez_compressed(tmp_path / "mnist.npz", **tiny)
    found = read_folder(tmp_path)
    assert_is(tiny, found)
    assert found[0] == "mnist.npz"


REPACKED = {
    "uncompressed": lambda array: array,
    "int64": lambda array: array.astype(np.int64),
    "big-endian": lambda array: array.astype(">i4"),
    "float32": lambda array: array.astype(np.float32),
    "Fortran order": np.asfortranarray,
    "flattened": lambda array: np.asfortranarray(array.reshape(len(array), -1)),
}


@pytest.mark.parametrize("repack", REPACKED.values(), ids=REPACKED)
def test_mnist_npz_repacked_by_another_program_is_accepted(tmp_path, tiny, repack):
    repacked = {key: repack(array) for key, array in reversed(tiny.items())}
    np.savez(tmp_path / "mnist.npz", **repacked, extra=np.zeros(3))
    assert_is(tiny, read_folder(tmp_path))


def test_mnist_npz_with_another_compression_is_accepted(tmp_path, tiny):
    np.savez(tmp_path / "plain.npz", **tiny)
    with (
        zipfile.ZipFile(tmp_path / "plain.npz") as plain,
        zipfile.ZipFile(tmp_path / "mnist.npz", "w", zipfile.ZIP_LZMA) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert_is(tiny, read_folder(tmp_path))


@pytest.mark.parametrize("key", ["x_train", "y_train", "x_test", "y_test"])
def test_one_altered_value_is_refused(tmp_path, tiny, key):
    tiny[key][-1] ^= 1
    np.savez(tmp_path / "mnist.npz", **tiny)
    with pytest.raises(UserError, match=rf"mnist\.npz: {key} .*altered"):
        read_folder(tmp_path)


def test_values_that_only_look_right_in_their_last_byte_are_refused(tmp_path, tiny):
    np.savez(tmp_path / "mnist.npz", **tiny | {"y_train": tiny["y_train"].astype(int) + 256})
    with pytest.raises(UserError, match=r"y_train .*whole numbers 0 to 255"):
        read_folder(tmp_path)


def test_fractions_are_refused(tmp_path, tiny):
    np.savez(tmp_path / "mnist.npz", **tiny | {"x_train": tiny["x_train"] / 255})
    with pytest.raises(UserError, match=r"x_train .*whole numbers"):
        read_folder(tmp_path)


def test_another_number_of_images_is_refused(tmp_path, tiny):
    np.savez(tmp_path / "mnist.npz", **tiny | {"x_train": tiny["x_train"][:-1]})
    with pytest.raises(UserError, match=r"x_train has shape \(11, 4, 3\)"):
        read_folder(tmp_path)


def test_pickled_objects_are_refused(tmp_path, tiny):
    np.savez(tmp_path / "mnist.npz", **tiny | {"y_test": np.array([None] * 5)})
    with pytest.raises(UserError, match="pickled objects"):
        read_folder(tmp_path)


def test_a_truncated_npz_is_refused_although_idx_files_lie_beside_it(
    tmp_path, tiny, idx_files, save_files
):
    save_files(tmp_path, idx_files)
    np.savez(tmp_path / "mnist.npz", **tiny)
    content = (tmp_path / "mnist.npz").read_bytes()
    (tmp_path / "mnist.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"mnist\.npz: damaged"):
        read_folder(tmp_path)


@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_the_four_idx_files_are_read(
    tmp_path, tiny, idx_files, zipped_idx_files, save_files, dotted, zipped
):
    files = zipped_idx_files if zipped else idx_files
    renamed = {name.replace("-idx", ".idx") if dotted else name: f for name, f in files.items()}
    save_files(tmp_path, renamed)
    found = read_folder(tmp_path)
    assert_is(tiny, found)
    assert found[0] == "the four IDX files"


def test_missing_idx_files_are_named(tmp_path, idx_files, save_files):
    del idx_files["t10k-labels-idx1-ubyte"]
    save_files(tmp_path, idx_files)
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte is missing"):
        read_folder(tmp_path)


def test_an_altered_idx_file_is_refused(tmp_path, idx_files, save_files):
    content = bytearray(idx_files["train-images-idx3-ubyte"])
    content[-1] ^= 1
    save_files(tmp_path, idx_files | {"train-images-idx3-ubyte": bytes(content)})
    with pytest.raises(UserError, match=r"x_train .*altered"):
        read_folder(tmp_path)


SPOILT = {
    "truncated": lambda content: content[:-1],
    "too long": lambda content: content + b"\0",
    "empty": lambda content: b"",
    "another type": lambda content: content[:2] + b"\x0d" + content[3:],
    "promises more": lambda content: content[:4] + b"\x7f\xff\xff\xff" + content[8:],
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_spoilt_idx_file_is_refused(tmp_path, idx_files, save_files, spoil, zipped):
    name = "train-images-idx3-ubyte"
    content = spoil(idx_files.pop(name))
    files = {f"{name}.gz": gzip.compress(content)} if zipped else {name: content}
    save_files(tmp_path, idx_files | files)
    with pytest.raises(UserError, match=f"{name}.*not the 160 bytes"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "spoil",
    [lambda gz: gz[: len(gz) // 2], lambda gz: gz[:-8] + bytes(8), lambda gz: b"<html>404</html>"],
    ids=["truncated", "wrong CRC", "error page"],
)
def test_a_damaged_gzip_file_is_refused(tmp_path, zipped_idx_files, save_files, spoil):
    name = "train-images-idx3-ubyte.gz"
    save_files(tmp_path, zipped_idx_files | {name: spoil(zipped_idx_files[name])})
    with pytest.raises(UserError, match=f"{name}: damaged or not gzip"):
        read_folder(tmp_path)
