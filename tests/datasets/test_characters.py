import hashlib
from dataclasses import replace

import numpy as np
import pytest

from datasets import characters, pinned_file
from datasets.characters import find_tiny_shakespeare, load_characters
from new_algorithm.cli.errors import UserError
from tests.datasets.misbehaving_server import Answer

TEXT = "Träumen?\r\nNein: wählen, née 🙂. Speak, speak! "
assert len(TEXT) == 45


@pytest.fixture
def file(tmp_path):
    (tmp_path / "mine.txt").write_bytes(TEXT.encode())
    return tmp_path / "mine.txt"


@pytest.fixture
def tiny(monkeypatch):
    """Bytes that are tiny Shakespeare for as long as the test runs."""
    content = b"First Citizen:\nBefore we proceed any further, hear me speak.\n"
    sha256 = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(characters, "FILE", replace(characters.FILE, sha256=sha256))
    return content


@pytest.fixture
def address(server, monkeypatch):
    """address(answer, ...): where tiny Shakespeare is fetched from."""

    def give(*answers):
        url = server.give("input.txt", *answers)
        monkeypatch.setattr(characters, "FILE", replace(characters.FILE, url=url))

    return give


def test_a_text_becomes_numbers_and_back(file):
    text = load_characters(path=file)
    assert text.alphabet == "".join(sorted(set(TEXT)))
    assert (text.train.dtype, text.train.shape, text.test.shape) == (np.int64, (40,), (5,))
    assert text.train.flags.writeable
    assert text.text_of(text.train) + text.text_of(text.test) == TEXT
    assert text.text_of([text.alphabet.index("🙂")]) == "🙂"


def test_a_record_names_the_file_without_its_folder(file):
    assert load_characters(path=str(file)).provenance() == {
        "name": "mine.txt",
        "source": "the file mine.txt",
        "held_out": "test",
        "sha256": {"text": hashlib.sha256(TEXT.encode()).hexdigest()},
        "counts": {"train": 40, "test": 5},
        "num_classes": len(set(TEXT)),
    }


def test_validation_is_the_last_sixth_of_the_training_text(file):
    whole = load_characters(path=file)
    part = load_characters(path=file, held_out="validation")
    np.testing.assert_array_equal(part.train, whole.train[:34])
    np.testing.assert_array_equal(part.test, whole.train[34:])
    assert part.alphabet == whole.alphabet
    unseen = load_characters(path=file, held_out="unseen")
    np.testing.assert_array_equal(unseen.train, part.train)
    np.testing.assert_array_equal(unseen.test, whole.test)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "no such file; check the path"),
        ("größer als Latein".encode("latin-1"), "byte 3 is not UTF-8; save it as UTF-8 text"),
        (b"123456789", "9 characters are too few for a test set: 10 or more are needed"),
        (b"", "0 characters are too few"),
    ],
)
def test_a_faulty_file_is_one_line(tmp_path, content, fault):
    if content is not None:
        (tmp_path / "faulty.txt").write_bytes(content)
    with pytest.raises(UserError, match=rf"faulty\.txt: {fault}"):
        load_characters(path=tmp_path / "faulty.txt")


def test_mistakes_in_arguments_are_refused(file, tmp_path):
    with pytest.raises(UserError, match="exclude each other"):
        load_characters(tmp_path, path=file)
    with pytest.raises(UserError, match="held_out 'dev': choose test, validation, unseen"):
        load_characters(path=file, held_out="dev")
    with pytest.raises(UserError, match="cannot be read"):
        load_characters(path=tmp_path)


def test_ten_characters_suffice(tmp_path):
    (tmp_path / "ten.txt").write_text("abcdefghij")
    text = load_characters(path=tmp_path / "ten.txt", held_out="validation")
    assert (text.text_of(text.train), text.text_of(text.test)) == ("abcdefgh", "i")


def test_folders_are_searched_in_order(own, tmp_path, tiny, save_files, monkeypatch):
    save_files(own, {"tinyshakespeare.txt": tiny})
    assert find_tiny_shakespeare() == ("tinyshakespeare.txt in datasets/", tiny)
    named = save_files(tmp_path / "named", {"tinyshakespeare.txt": tiny})
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", str(named))
    assert find_tiny_shakespeare()[0].endswith("in the folder named by BACK_PROJECTION_DATASETS")
    assert load_characters(str(own)).source.endswith("in the folder named by --data-dir")
    assert load_characters().name == "tinyshakespeare"


def test_an_altered_file_is_refused_and_an_explicit_folder_never_replaced(
    own, tmp_path, tiny, save_files
):
    save_files(own, {"tinyshakespeare.txt": tiny + b"!"})
    with pytest.raises(UserError, match=r"own/tinyshakespeare\.txt: .* altered; replace"):
        load_characters()
    with pytest.raises(UserError, match=r"absent: no tinyshakespeare\.txt there; put it"):
        load_characters(tmp_path / "absent")


@pytest.mark.usefixtures("no_waiting_for_the_disk")
def test_it_is_fetched_once_and_kept(own, tiny, address, server):
    address(Answer(body=tiny))
    source = "karpathy/char-rnn, kept as datasets/tinyshakespeare.txt"
    assert find_tiny_shakespeare() == (source, tiny)
    assert [path.name for path in own.iterdir()] == ["tinyshakespeare.txt"]
    assert find_tiny_shakespeare() == ("tinyshakespeare.txt in datasets/", tiny)
    assert server.asked == ["/input.txt"]


def test_where_it_cannot_be_fetched_one_line_says_what_to_do(own, address):
    address(Answer(404))
    with pytest.raises(UserError) as failure:
        load_characters()
    message = str(failure.value)
    assert "karpathy/char-rnn (input.txt: the server answered 404). By hand: download" in message
    assert f"as tinyshakespeare.txt into {own}" in message
    assert "\n" not in message
    assert list(own.iterdir()) == []


def test_what_cannot_be_kept_is_still_used(own, tiny, address, monkeypatch, caplog):
    def full_disk(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pinned_file, "replace_atomically", full_disk)
    address(Answer(body=tiny))
    assert find_tiny_shakespeare() == ("karpathy/char-rnn", tiny)
    assert "No space left" in caplog.text
