import string
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import DEVICES, validate_tag

SAFE = string.ascii_letters + string.digits + "._-"


def refusal(tag):
    try:
        validate_tag(tag)
    except UserError as error:
        return str(error)
    return None


@given(st.text(max_size=150))
@example("../../x")
@example("/tmp/x")
@example("a/b")
@example("a\\b")
@example("a\n")
@example("\x00")
@example("..")
@example("-rf")
@example("²")
def test_a_tag_is_refused_or_names_a_plain_folder(tag):
    message = refusal(tag)
    if message is not None:
        assert message.isprintable()
        return
    folder = Path("/records") / tag
    assert folder.resolve().parent == Path("/records")
    assert set(tag) <= set(SAFE)
    assert 1 <= len(tag) <= 100


@given(st.text(SAFE, min_size=1, max_size=100))
def test_every_tag_of_safe_characters_is_accepted(tag):
    allowed = tag[0] not in ".-" and tag.lower() not in ("readme.md", "local_runs.md")
    allowed &= tag[-1] != "." and tag.split(".")[0].lower() not in DEVICES
    if allowed:
        validate_tag(tag)
    else:
        with pytest.raises(UserError):
            validate_tag(tag)


@pytest.mark.parametrize("tag", ["README.md", "readme.MD", "local_runs.md"])
def test_a_tag_cannot_take_the_place_of_the_index(tag):
    with pytest.raises(UserError, match="index of runs"):
        validate_tag(tag)


def test_the_length_is_named_and_a_long_tag_is_not_repeated_in_full():
    with pytest.raises(UserError, match="300 characters") as caught:
        validate_tag("x" * 300)
    assert len(str(caught.value)) < 150
    with pytest.raises(UserError, match="0 characters"):
        validate_tag("")
