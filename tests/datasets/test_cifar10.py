import hashlib
import io
import logging
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from datasets import cifar10, cifar10_sample
from datasets.cifar10 import fetch_cifar10, find_cifar10, load_cifar10, locate_cifar10
from new_algorithm.cli.errors import UserError
from tests.datasets.misbehaving_server import Answer

pytestmark = pytest.mark.usefixtures("own", "no_waiting_for_the_disk")


def pickled_by_python_2(images, labels):
    """As the official batches: byte strings for keys, integers for NumPy's flags."""
    content = pickle.dumps({"data": images, "labels": labels}, protocol=2)
    for text in ("data", "labels", "u1", "|"):
        new = b"X" + len(text).to_bytes(4, "little") + text.encode()
        assert new in content
        content = content.replace(new, b"U" + len(text).to_bytes(1, "little") + text.encode())
    assert b"\x89\x88\x87" in content
    return content.replace(b"\x89\x88\x87", b"K\x00K\x01\x87").replace(
        b"numpy._core", b"numpy.core"
    )


@pytest.fixture
def batches(monkeypatch):
    """Name -> bytes of six batches that are CIFAR-10's for as long as the test runs."""
    rng = np.random.default_rng(0)
    batches = {}
    for name in cifar10.BATCHES:
        images = rng.integers(0, 256, (10, 3072), dtype=np.uint8)
        batches[name] = pickled_by_python_2(images, rng.permutation(10).tolist())
        monkeypatch.setitem(cifar10.BATCHES, name, hashlib.md5(batches[name]).hexdigest())
    return batches


@pytest.fixture
def write_archive():
    def write(folder, batches):
        folder.mkdir(exist_ok=True)
        with tarfile.open(folder / cifar10.ARCHIVE, "w:gz") as archive:
            for name, content in {"readme.html": b"<html>", **batches}.items():
                member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return folder

    return write


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10_sample, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


# The official version.


@pytest.mark.filterwarnings("error")
def test_the_archive_is_read_in_the_order_of_its_batches(tmp_path, batches, write_archive):
    folder = write_archive(tmp_path / "given", dict(reversed(batches.items())))
    data = load_cifar10(folder)
    assert (data.x_train.shape, data.x_train.dtype) == ((50, 3, 32, 32), np.uint8)
    assert (data.x_test.shape, data.y_test.dtype) == ((10, 3, 32, 32), np.int64)
    assert data.image_shape == (3, 32, 32)
    names = ("data_batch_2", "test_batch")
    second, test = (pickle.loads(batches[name], encoding="bytes") for name in names)
    np.testing.assert_array_equal(data.x_train[10:20].reshape(10, -1), second[b"data"])
    np.testing.assert_array_equal(data.y_train[10:20], second[b"labels"])
    np.testing.assert_array_equal(data.y_test, test[b"labels"])
    assert data.x_test[3, 1, 2, 5] == test[b"data"][3, 1024 + 2 * 32 + 5]
    assert data.name == "cifar10"
    assert data.source.startswith("cifar-10-python.tar.gz in the folder named by --data-dir (Kriz")
    assert data.provenance()["counts"] == {"train": 50, "test": 10}


def test_the_unpacked_folder_is_the_same(tmp_path, batches, write_archive, save_files):
    of_archive = load_cifar10(write_archive(tmp_path / "given", batches))
    save_files(tmp_path / "given" / cifar10.FOLDER, batches)
    of_folder = load_cifar10(str(tmp_path / "given"))
    assert of_folder.source.startswith("cifar-10-batches-py in ")
    assert of_folder.sha256 == of_archive.sha256
    np.testing.assert_array_equal(of_folder.x_train, of_archive.x_train)


def test_an_altered_batch_is_never_unpickled(tmp_path, batches, save_files):
    class Evil:
        def __reduce__(self):
            return (tmp_path / "mark").touch, ()

    altered = batches | {"data_batch_3": pickle.dumps(Evil(), protocol=2)}
    (tmp_path / "given").mkdir()
    save_files(tmp_path / "given" / cifar10.FOLDER, altered)
    with pytest.raises(UserError, match=r"batches-py: data_batch_3 is not CIFAR-10's.*altered"):
        load_cifar10(tmp_path / "given")
    assert not (tmp_path / "mark").exists()


def test_a_missing_batch_is_named(tmp_path, batches, write_archive, save_files):
    del batches["data_batch_4"]
    with pytest.raises(UserError, match=r"tar\.gz: data_batch_4 is missing; replace"):
        load_cifar10(write_archive(tmp_path / "given", batches))
    save_files(tmp_path / "given" / cifar10.FOLDER, batches)
    with pytest.raises(UserError, match="batches-py: data_batch_4 is missing; replace"):
        load_cifar10(tmp_path / "given")


DAMAGE = {
    "cut short": lambda content: content[: len(content) // 2],
    "no gzip": lambda content: b"<html>not found</html>",
    "empty": lambda content: b"",
    "a byte changed": lambda content: (
        content[: len(content) // 2]
        + bytes([content[len(content) // 2] ^ 255])
        + content[len(content) // 2 + 1 :]
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_archive_is_one_line(tmp_path, batches, write_archive, damage):
    path = write_archive(tmp_path / "given", batches) / cifar10.ARCHIVE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz: .*; replace it by") as failure:
        load_cifar10(tmp_path / "given")
    assert "\n" not in str(failure.value)


def test_an_archive_is_fetched_and_kept_whole_or_not_at_all(
    server, tmp_path, own, batches, write_archive, monkeypatch
):
    content = (write_archive(tmp_path / "made", batches) / cifar10.ARCHIVE).read_bytes()
    monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(content).hexdigest())
    page = Answer(body=b"<html>moved</html>")
    monkeypatch.setattr(cifar10, "URL", server.give(cifar10.ARCHIVE, page))
    with pytest.raises(UserError, match=r"wrong hash\)\. By hand: download .* into ") as failure:
        fetch_cifar10()
    assert "\n" not in str(failure.value)
    assert list(own.iterdir()) == []
    server.give(cifar10.ARCHIVE, Answer(body=content))
    fetch_cifar10()
    assert [path.name for path in own.iterdir()] == [cifar10.ARCHIVE]
    assert len(load_cifar10().x_train) == 50
    with pytest.raises(UserError, match="exists already"):
        fetch_cifar10()


# The sample.


@pytest.mark.usefixtures("cache")
def test_the_sample_is_decoded_and_shuffled(tmp_path, write_cifar10_sample):
    write_cifar10_sample(tmp_path / "given")
    data = load_cifar10(tmp_path / "given")
    assert (data.x_train.shape, data.x_train.dtype) == ((60, 3, 32, 32), np.uint8)
    assert data.x_train.flags.writeable
    assert (data.x_test.shape, data.y_test.dtype) == ((10, 3, 32, 32), np.int64)
    red, green, _ = data.x_train.mean(axis=(2, 3)).T
    np.testing.assert_allclose(red, 20 * data.y_train, atol=3)
    np.testing.assert_array_equal(np.bincount(data.y_train[green < 20]), np.ones(10))
    np.testing.assert_allclose(data.x_train[3, 2], [20 + 6 * np.arange(32)] * 32, atol=3)
    np.testing.assert_allclose(data.x_test[:, 1], 240, atol=3)
    assert (np.diff(data.y_train) < 0).any()
    assert sorted(data.y_test) == list(range(10))
    assert data.name == "cifar10-jpeg-sample"
    assert "compare only with each other" in data.source


def test_it_is_decoded_once(tmp_path, write_cifar10_sample, cache, monkeypatch, caplog):
    path = write_cifar10_sample(tmp_path / "given")
    path.chmod(0o444)
    first = load_cifar10(path.parent)
    (kept,) = cache.iterdir()
    assert list(path.parent.iterdir()) == [path]
    with monkeypatch.context() as patched:
        patched.setattr(cifar10_sample, "_decode", None)
        again = load_cifar10(path.parent)
    assert again.sha256 == first.sha256
    assert again.x_train.flags.writeable
    kept.write_bytes(kept.read_bytes()[:-300])
    assert load_cifar10(path.parent).sha256 == first.sha256
    assert "decoding again" in caplog.text


def test_another_sample_of_the_same_name_is_decoded(tmp_path, write_cifar10_sample, cache):
    path = write_cifar10_sample(tmp_path / "given")
    load_cifar10(path.parent)
    jpeg = io.BytesIO()
    Image.new("L", (32, 32), 250).save(jpeg, "JPEG")  # grey
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("test/frog/0007.jpg", jpeg.getvalue())
    data = load_cifar10(path.parent)
    assert len(data.x_test) == 11
    assert (data.x_test.min(axis=(1, 2, 3)) == 250).sum() == 1
    assert len(list(cache.iterdir())) == 2


def test_what_cannot_be_kept_is_still_used(tmp_path, write_cifar10_sample, monkeypatch, caplog):
    path = write_cifar10_sample(tmp_path / "given")
    monkeypatch.setattr(cifar10_sample, "CACHE", path)  # which is no folder
    assert len(load_cifar10(path.parent).x_train) == 60
    assert "not kept" in caplog.text


@pytest.mark.usefixtures("cache")
def test_validation_takes_of_each_class_alike(tmp_path, write_cifar10_sample):
    path = write_cifar10_sample(tmp_path / "given")
    whole = load_cifar10(path.parent)
    part = load_cifar10(path.parent, held_out="validation")
    assert sorted(part.y_test) == list(range(10))
    assert np.bincount(part.y_train).tolist() == [5] * 10
    assert part.held_out == "validation"
    unseen = load_cifar10(path.parent, held_out="unseen", train_limit=12, test_limit=2)
    np.testing.assert_array_equal(unseen.x_train, part.x_train[:12])
    np.testing.assert_array_equal(unseen.x_test, whole.x_test[:2])


def replaced(name, content):
    def spoil(path):
        with zipfile.ZipFile(path) as archive:
            members = {member: archive.read(member) for member in archive.namelist()}
        members.pop(name, None)
        with zipfile.ZipFile(path, "w") as archive:
            for member, held in {**members, **({name: content} if content else {})}.items():
                archive.writestr(member, held)

    return spoil


def jpeg_of(size):
    jpeg = io.BytesIO()
    Image.new("RGB", size).save(jpeg, "JPEG")
    return jpeg.getvalue()


def flip_a_byte_of_an_image(path):
    content = bytearray(path.read_bytes())
    content[400] ^= 255
    path.write_bytes(content)


FAULTS = {
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:-500]), "damaged or not a zip"),
    "no zip": (lambda path: path.write_bytes(b"<html>"), "damaged or not a zip"),
    "a byte changed": (flip_a_byte_of_an_image, "damaged or not a zip file .Bad CRC-32"),
    "no image": (replaced("test/cat/0006.jpg", b"x"), "test/cat/0006.jpg is no JPEG .*damaged"),
    "half": (replaced("test/cat/0006.jpg", jpeg_of((32, 32))[:-40]), "0006.jpg is no JPEG .*damag"),
    "larger": (replaced("test/cat/0006.jpg", jpeg_of((64, 32))), "it has 64 × 32 pixels"),
    "class missing": (replaced("test/cat/0006.jpg", None), "no images in test/cat"),
    "unknown class": (replaced("train/lion/0000.jpg", b"x"), "holds train/lion/0000.jpg, which"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_sample_is_one_line(tmp_path, write_cifar10_sample, cache, fault):
    spoil, reason = FAULTS[fault]
    path = write_cifar10_sample(tmp_path / "given")
    spoil(path)
    with pytest.raises(UserError, match=rf"cifar10_jpeg_30k\.zip: .*{reason}.*; repl") as failure:
        load_cifar10(path.parent)
    assert "\n" not in str(failure.value)
    assert not cache.exists()


# Which one is taken.


def test_the_official_version_of_any_folder_comes_before_a_sample(
    tmp_path, own, batches, write_archive, write_cifar10_sample, monkeypatch
):
    named = write_cifar10_sample(tmp_path / "named").parent
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", str(named))
    words = "cifar10_jpeg_30k.zip in the folder named by BACK_PROJECTION_DATASETS"
    assert locate_cifar10() == (named / "cifar10_jpeg_30k.zip", words)
    write_archive(own, batches)
    assert locate_cifar10() == (own / cifar10.ARCHIVE, "cifar-10-python.tar.gz in datasets/")
    assert find_cifar10(named) == named / "cifar10_jpeg_30k.zip"


def test_neither_is_one_line_and_fetches_nothing(own, monkeypatch, caplog):
    monkeypatch.setattr(cifar10, "fetch_file", None)
    assert find_cifar10() is None
    with caplog.at_level(logging.INFO), pytest.raises(UserError) as failure:
        load_cifar10()
    message = str(failure.value)
    assert message.startswith(f"no CIFAR-10 in {own}: put cifar-10-python.tar.gz or cifar10_jpeg")
    assert "`python -m datasets cifar10`" in message
    assert "\n" not in message
    with pytest.raises(UserError, match="no CIFAR-10 in absent: "):
        load_cifar10("absent")
    assert caplog.text == ""
