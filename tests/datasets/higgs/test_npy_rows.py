import numpy as np
import pytest

from datasets.higgs.npy_rows import NpyWriter, map_npy


def written(path, blocks, dtype=np.float32, row_shape=(3,)):
    with path.open("wb") as file:
        writer = NpyWriter(file, dtype, row_shape)
        for block in blocks:
            writer.append(block)
        writer.finish()
    return path


def blocks_of(*lengths):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(length, 3)).astype(np.float32) for length in lengths]


@pytest.mark.parametrize("lengths", [(5,), (2, 3, 0, 1), (1,) * 12, ()])
def test_what_is_appended_is_what_numpy_reads(tmp_path, lengths):
    blocks = blocks_of(*lengths)
    path = written(tmp_path / "x.npy", blocks)
    expected = np.concatenate([np.empty((0, 3), np.float32), *blocks])
    np.testing.assert_array_equal(np.load(path), expected)
    if lengths:
        np.testing.assert_array_equal(map_npy(path, np.float32, expected.shape), expected)


@pytest.mark.parametrize("step", [1, 2])
def test_blocks_in_any_order_of_memory_are_written_row_by_row(tmp_path, step):
    (block,) = blocks_of(6)
    path = written(tmp_path / "x.npy", [np.asfortranarray(block)[::step]])
    np.testing.assert_array_equal(np.load(path), block[::step])


@pytest.mark.parametrize("block", [np.zeros((2, 3)), np.zeros((2, 4), np.float32)])
def test_blocks_of_another_kind_are_refused(tmp_path, block):
    with pytest.raises(ValueError, match="is not float32"):
        written(tmp_path / "x.npy", [block])


def test_the_map_is_read_only(tmp_path):
    array = map_npy(written(tmp_path / "x.npy", blocks_of(4)), np.float32, (4, 3))
    assert type(array) is np.ndarray
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


SPOILT = {
    "truncated": lambda content: content[:-1],
    "in the header": lambda content: content[:50],
    "empty": lambda content: b"",
    "longer": lambda content: content + b"\0",
    "another header": lambda content: content.replace(b"<f4", b"<i4"),
    "more rows than it holds": lambda content: content.replace(b"(4, 3)", b"(9, 3)"),
    "text": lambda content: b"<html>" * 100,
    "zip": lambda content: b"PK\x03\x04" + content,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_damaged_file_is_refused(tmp_path, spoil):
    path = written(tmp_path / "x.npy", blocks_of(4))
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=r"x\.npy is damaged"):
        map_npy(path, np.float32, (4, 3))


@pytest.mark.parametrize(("dtype", "shape"), [(np.float32, (3, 4)), (np.int32, (4, 3))])
def test_another_array_than_expected_is_refused(tmp_path, dtype, shape):
    path = written(tmp_path / "x.npy", blocks_of(4))
    with pytest.raises(ValueError, match="damaged"):
        map_npy(path, dtype, shape)


def test_an_absent_file_is_told_from_a_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        map_npy(tmp_path / "x.npy", np.float32, (4, 3))
