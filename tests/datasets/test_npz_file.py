import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datasets import load_dataset, npz_file
from datasets.npz_file import read_arrays
from new_algorithm.cli.errors import UserError

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.npz"


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def header_alone(shape, descr="<f8"):
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def write_member(path, content, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x.npy", content)


def claim_uncompressed_size(path, size):
    """Falsify the size in the central directory, where zipfile looks."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, size)
    path.write_bytes(content)


def assert_refused_before_allocating(path, match):
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=match):
            read_arrays(path, ["x"])
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0)))
def test_numbers_come_back_as_numpy_saved_them_and_nothing_else_does(path, array):
    np.savez(path, x=array)
    if array.dtype.kind in "biuf":
        loaded = read_arrays(path, ["x"])["x"]
        assert loaded.dtype == array.dtype
        np.testing.assert_array_equal(loaded, array)
    else:
        with pytest.raises(UserError, match="x holds type"):
            read_arrays(path, ["x"])


@pytest.mark.parametrize("method", METHODS)
def test_any_zip_compression_and_memory_order_is_read(path, method):
    array = np.asfortranarray(np.arange(6).reshape(2, 3))
    write_member(path, npy(array), method)
    np.testing.assert_array_equal(read_arrays(path, ["x"])["x"], array)


@pytest.mark.parametrize("method", METHODS)
def test_the_most_compressible_data_are_not_mistaken_for_a_fraud(path, method):
    write_member(path, npy(np.zeros(10_000_000, np.uint8)), method)
    assert read_arrays(path, ["x"])["x"].size == 10_000_000


def test_shapes_that_differ_are_refused_by_the_headers_alone(path, monkeypatch):
    rows = {"x_train": np.zeros((9, 5)), "y_train": np.zeros(9, int), "y_test": np.zeros(3, int)}
    monkeypatch.setattr(npz_file, "read_arrays", None)  # content inflates to far more
    for x_test, words in ((np.zeros((3, 7)), "in one shape"), (np.zeros((2, 5)), "has 2 rows")):
        np.savez(path, **rows, x_test=x_test)
        with pytest.raises(UserError, match=words):
            load_dataset(str(path))


def test_a_batch_that_is_too_large_is_refused_by_the_header_alone(path):
    np.savez(path, x_train=np.zeros((1_000_000, 3), np.float32))  # and nothing else
    tracemalloc.start()
    with pytest.raises(UserError, match="more than the 1000000 training samples"):
        load_dataset(str(path), batch_size=1_000_001)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_pickled_objects_are_refused_and_never_run(path, tmp_path):
    class Payload:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    np.savez(path, x=np.array([Payload()], dtype=object))
    with pytest.raises(UserError, match=r"data\.npz: x holds pickled objects"):
        read_arrays(path, ["x"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("shape", [(2,), (10**6,), (10**12, 10**6)])
def test_a_header_promising_more_than_the_file_holds_is_refused(path, shape):
    write_member(path, header_alone(shape) + bytes(8))
    assert_refused_before_allocating(path, "promises")


def test_a_promise_repeated_by_the_zip_directory_is_refused(path):
    header = header_alone((500_000_000,))
    write_member(path, header + bytes(8))
    claim_uncompressed_size(path, len(header) + 4_000_000_000)
    assert_refused_before_allocating(path, r"data\.npz")


def test_a_promise_the_compression_could_keep_but_does_not_is_refused(path):
    header = header_alone((1000,))
    write_member(path, header + bytes(8))
    claim_uncompressed_size(path, len(header) + 8000)
    with pytest.raises(UserError, match=r"data\.npz"):
        read_arrays(path, ["x"])


def test_negative_lengths_are_refused(path):
    write_member(path, header_alone((-2, -3)) + bytes(48))
    with pytest.raises(UserError, match="promises 48 bytes"):
        read_arrays(path, ["x"])


@pytest.mark.parametrize("content", [b"", b"no header", header_alone((3,))[:-20]])
def test_an_invalid_header_is_refused(path, content):
    write_member(path, content)
    with pytest.raises(UserError, match=r"x does not start with a valid \.npy header"):
        read_arrays(path, ["x"])


@pytest.mark.parametrize("kept", [0, 30, 200, -30])
def test_a_truncated_file_is_refused(path, kept):
    np.savez(path, x=np.arange(100))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"data\.npz: damaged or not an \.npz"):
        read_arrays(path, ["x"])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_bit_is_refused(path, save):
    save(path, x=np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"data\.npz"):
        read_arrays(path, ["x"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([np.savez, np.savez_compressed]), st.floats(0, 0.999), st.integers(0, 255))
def test_any_spoilt_byte_is_refused_or_harmless(path, save, place, value):
    array = np.arange(35.0).reshape(7, 5)
    save(path, x=array)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] = value
    path.write_bytes(content)
    try:
        loaded = read_arrays(path, ["x"])["x"]
    except UserError:
        return
    np.testing.assert_array_equal(loaded, array)


def test_a_missing_array_is_named_with_what_is_there(path):
    np.savez(path, y=np.zeros(1), z=np.zeros(1))
    with pytest.raises(UserError, match=r"x is missing \(it holds y, z\)"):
        read_arrays(path, ["x"])


def test_an_error_page_is_refused(path):
    path.write_text("<html>404</html>")
    with pytest.raises(UserError, match="damaged or not"):
        read_arrays(path, ["x"])


def test_an_encrypted_archive_is_refused(path):
    write_member(path, npy(np.zeros(3)))
    content = bytearray(path.read_bytes())
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(start) + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="encrypted"):
        read_arrays(path, ["x"])
