"""Files of data that are damaged, foreign or hostile: they load, or one line says why not."""

import gzip
import io
import struct
from dataclasses import replace

import numpy as np
import pyarrow
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import parquet

from datasets import load_dataset
from datasets.dataset import hash_arrays
from datasets.higgs.csv_rows import read_blocks
from datasets.mnist import MNIST, read_folder
from datasets.new_rows import open_new_rows
from datasets.preprocessing import Column
from new_algorithm.cli.errors import UserError
from tests.fuzz.damage import damaged, quick, sound_or_refused

COLUMNS = {
    "length": [0.5 * i + 0.25 * (i % 3) for i in range(24)],
    "colour": [["red", "green", "blue"][i % 3] for i in range(24)],
    "kind": [["no", "yes"][i // 2 % 2] for i in range(24)],
}
CSV = "".join(",".join(map(str, row)) + "\n" for row in zip(*COLUMNS.values(), strict=True))
CSV = f"{','.join(COLUMNS)}\n{CSV}".encode()
WORDS = (b'"', b",", b";", b"\n", b"\r", b"\0", b"\xff", b"NA", b"1e999", b"-", b"length", b"\t")
# fmt: off
FIELDS = ("0", "1", "-1.5", "1,5", "1e999", "nan", "inf", "", "NA", '"', '""', "x", "é", " ", "\r",
          "1_000", "\u0661", "length", "\ufeff", "'", "1.0.0", "+", "\u2028", "True", "9" * 400)
# fmt: on
lines = st.lists(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=4), max_size=8)
texts = st.builds(
    lambda rows, mark, end: end.join(mark.join(row) for row in rows).encode(),
    *(lines, st.sampled_from(",;\t| "), st.sampled_from(("\n", "\r\n", "\r", "\n\n"))),
)


def saved(columns):
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


PARQUET = saved(COLUMNS)
X, Y = np.arange(60.0).reshape(20, 3), np.arange(20) % 2
NPZ = npz(x=X, y=Y)
IMAGES = {
    "x_train": np.arange(24, dtype=np.uint8).reshape(4, 2, 3),
    "y_train": np.arange(4, dtype=np.uint8),
    "x_test": np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
    "y_test": np.arange(2, dtype=np.uint8),
}
IDX = {
    key: struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    for key, array in IMAGES.items()
}
HIGGS = "".join(f"{i % 2}.0e+00" + f",{i / 7:.6e}" * 28 + "\n" for i in range(4)).encode()


def knock_at_table(folder, name, content):
    """As a data set, and as new rows for a network that was trained on the sound table."""
    path = folder / name
    path.write_bytes(content)
    for missing in ("refuse", "median"):
        with sound_or_refused(folder):
            load_dataset(str(path), target=["kind"], missing=missing)
    with sound_or_refused(folder):
        load_dataset(str(path), target=["column_1"], task="regression")
    with sound_or_refused(folder):
        new = open_new_rows(path, trained("table", folder), [Column("kind", ("no", "yes"))])
        for table, _ in new.blocks:
            trained("table", folder).transform(table)


def trained(kind, folder, known={}):  # noqa: B006  filled once
    """The preprocessing of a network trained on the sound table or arrays."""
    if kind not in known:
        (folder / "sound").mkdir(exist_ok=True)
        path = folder / "sound" / ("sound.csv" if kind == "table" else "sound.npz")
        path.write_bytes(CSV if kind == "table" else NPZ)
        target = ["kind"] if kind == "table" else []
        known[kind] = load_dataset(str(path), target=target).preprocessing
    return known[kind]


@quick
@example(b"a,b,kind\n1,2,no,\xe4\n")  # which pyarrow fails to decode in a handler
@given(damaged(CSV, WORDS) | texts)
def test_csv(folder, content):
    knock_at_table(folder, "rows.csv", content)


@quick
@given(damaged(gzip.compress(CSV, mtime=0)) | damaged(CSV, WORDS).map(gzip.compress))
def test_csv_gz(folder, content):
    knock_at_table(folder, "rows.csv.gz", content)


values = st.lists(
    st.none() | st.integers(-2, 2**63 - 1) | st.floats() | st.text(max_size=3) | st.booleans()
)
OF_KINDS = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(),
    "string": st.text(max_size=3),
    "bool_": st.booleans(),
    "null": st.none(),
    "binary": st.binary(max_size=3),
    "timestamp": st.integers(0, 9),
    "list": st.lists(st.integers(0, 3), max_size=2),
}


@st.composite
def parquet_files(draw):
    """Whole files with columns of any type under the names of the sound one."""
    rows, columns = draw(st.integers(0, 6)), {}
    for name in (*COLUMNS, "column_1"):
        kind = draw(st.sampled_from(sorted(OF_KINDS)))
        made = {"timestamp": pyarrow.timestamp("s"), "list": pyarrow.list_(pyarrow.int64())}
        type_ = made.get(kind) or getattr(pyarrow, kind)()
        cells = st.none() | OF_KINDS[kind]
        columns[name] = pyarrow.array(draw(st.lists(cells, min_size=rows, max_size=rows)), type_)
    return saved(columns)


@pytest.mark.parametrize("word", [b"length", b"green"])  # a name, a value
def test_parquet_files_that_were_found(folder, word):
    path = folder / "found.parquet"
    columns = {"length": [1.0, 2.0], "colour": ["green", "red"], "kind": ["no", "yes"]}
    parquet.write_table(pyarrow.table(columns), path, compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes().replace(word, b"\xec" + word[1:]))
    with pytest.raises(UserError, match=r"found\.parquet: damaged or not Parquet"):
        load_dataset(str(path), target=["kind"])


@quick
@given(damaged(PARQUET) | parquet_files())
def test_parquet(folder, content):
    knock_at_table(folder, "rows.parquet", content)


NUMBERS = ("f8", "f4", "f2", "i8", "u1", "?", "U2", "S2", "c8", "M8[s]", "V3", "O")


@st.composite
def npz_files(draw):
    """Whole files whose arrays have any type and shape."""
    names = draw(
        st.sets(st.sampled_from(("x", "y", "x_train", "y_train", "x_test", "y_test", "z")))
    )
    arrays = {}
    for name in sorted(names):
        shape = draw(st.sampled_from(((), (0,), (6,), (12,), (6, 2), (12, 0), (12, 2, 2), (12, 1))))
        dtype = draw(st.sampled_from(NUMBERS))
        fill = draw(st.sampled_from((0, 1, 255)))
        arrays[name] = np.full(shape, fill).astype(dtype)
        if dtype in ("f8", "f4", "i8") and arrays[name].size and draw(st.booleans()):
            arrays[name].flat[:] = np.arange(arrays[name].size) % draw(st.integers(1, 12))
            odd = draw(st.sampled_from((0.5, 1e30, -7) + (np.nan, np.inf) * (dtype != "i8")))
            arrays[name].flat[draw(st.integers(0, arrays[name].size - 1))] = (
                int(odd % 2**40) if (dtype == "i8") else odd
            )
    return npz(**arrays)


@quick
@given(
    damaged(NPZ, (b"'", b"(", b"<f8", b"PK\x05\x06")) | npz_files(),
    st.sampled_from((None, "classification", "regression")),
)
def test_npz(folder, content, task):
    path = folder / "rows.npz"
    path.write_bytes(content)
    with sound_or_refused(folder):
        load_dataset(str(path), task=task)
    with sound_or_refused(folder):
        new = open_new_rows(path, trained("arrays", folder), [Column("")])
        for table, _ in new.blocks:
            trained("arrays", folder).transform(table)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_rows_without_numbers_that_were_found(folder, shape):
    path = folder / "none.npz"
    path.write_bytes(npz(x=np.zeros(shape)))
    with pytest.raises(UserError, match="x has no numbers; give at least one row"):
        open_new_rows(path, trained("arrays", folder), [Column("")])


@pytest.fixture(scope="module")
def tiny_mnist():
    with pytest.MonkeyPatch.context() as monkeypatch:
        for key, sha256 in hash_arrays(IMAGES).items():
            facts = replace(MNIST[key], shape=IMAGES[key].shape, sha256=sha256)
            monkeypatch.setitem(MNIST, key, facts)
        yield


@quick
@given(st.sampled_from(sorted(IDX)), st.data())
def test_idx(folder, tiny_mnist, key, data):
    ending = data.draw(st.sampled_from(("", ".gz")))
    place = folder / "idx"
    place.mkdir(exist_ok=True)
    for path in place.iterdir():
        path.unlink()
    for other, content in IDX.items():
        (place / MNIST[other].idx_name).write_bytes(content)
    (place / MNIST[key].idx_name).unlink()
    packed = gzip.compress(IDX[key], mtime=0) if ending else IDX[key]
    (place / f"{MNIST[key].idx_name}{ending}").write_bytes(data.draw(damaged(packed)))
    with sound_or_refused(folder):
        read_folder(place)


@quick
@given(damaged(npz(**IMAGES)))
def test_mnist_npz(folder, tiny_mnist, content):
    place = folder / "npz"
    place.mkdir(exist_ok=True)
    (place / "mnist.npz").write_bytes(content)
    with sound_or_refused(folder):
        read_folder(place)


@quick
@given(damaged(HIGGS, WORDS))
def test_higgs_csv(folder, content):
    (folder / "HIGGS.csv").write_bytes(content)
    with sound_or_refused(folder):
        for x, _ in read_blocks([folder / "HIGGS.csv"]):
            assert np.isfinite(x).all()
