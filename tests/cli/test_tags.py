import string
from datetime import datetime
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from new_algorithm.cli.errors import UserError
from new_algorithm.cli.tags import dated_tags, validate_tag

SAFE = string.ascii_letters + string.digits + "._-"
NOW = datetime(2026, 11, 20, 13, 45, 1)


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
    allowed = tag[0] not in ".-" and tag.lower() != "readme.md"
    if allowed:
        validate_tag(tag)
    else:
        with pytest.raises(UserError):
            validate_tag(tag)


@pytest.mark.parametrize("tag", ["README.md", "readme.MD"])
def test_a_tag_cannot_take_the_place_of_the_index(tag):
    with pytest.raises(UserError, match="index of runs"):
        validate_tag(tag)


def test_the_length_is_named_and_a_long_tag_is_not_repeated_in_full():
    with pytest.raises(UserError, match="300 characters") as caught:
        validate_tag("x" * 300)
    assert len(str(caught.value)) < 150
    with pytest.raises(UserError, match="0 characters"):
        validate_tag("")


def test_dated_tags_differ_and_are_valid():
    tags = list(islice(dated_tags("two layer_relu", NOW), 4))
    assert tags[0] == "two_layer_relu_2026-11-20_134501"
    assert tags[1] == tags[0] + "_2"
    assert len(set(tags)) == 4
    for tag in (*tags, next(dated_tags("x" * 300, NOW))):
        validate_tag(tag)
