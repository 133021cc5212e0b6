from datetime import datetime

import pytest

from new_algorithm.cli.errors import UserError
from new_algorithm.record.layout import Layout
from new_algorithm.record.reservation import check_tag, is_held, reserve

NOW = datetime(2026, 11, 20, 13, 45, 1)


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


def hold(layout, tag="t", overwrite=False):
    return reserve(tag, "toy", overwrite, layout, NOW)


def fill(layout, tag="t"):
    for folder in (layout.record(tag), layout.figures(tag)):
        (folder / "inner").mkdir(parents=True)
        (folder / "old.txt").write_text("old")


def test_a_taken_tag_is_refused_and_left_alone(layout):
    fill(layout)
    with pytest.raises(UserError, match=r"ploting_data/t/ exists already.*--overwrite"):
        check_tag("t", False, layout)
    with pytest.raises(UserError), hold(layout):
        pass
    assert (layout.record("t") / "old.txt").read_text() == "old"


def test_figures_without_a_record_count_as_taken(layout):
    layout.figures("t").mkdir(parents=True)
    (layout.figures("t") / "comparison.png").touch()
    with pytest.raises(UserError, match="figures/t/"):
        check_tag("t", False, layout)


def test_overwrite_clears_record_and_figures_of_that_tag_only(layout):
    fill(layout, "t")
    fill(layout, "other")
    with hold(layout, overwrite=True):
        assert [path.name for path in layout.record("t").iterdir()] == [".lock"]
        assert not list(layout.figures("t").iterdir())
    assert (layout.record("other") / "old.txt").exists()


def test_overwrite_follows_no_link_out_of_the_folder(layout, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    layout.record("t").mkdir(parents=True)
    (layout.record("t") / "link").symlink_to(outside)
    with hold(layout, overwrite=True):
        pass
    assert (outside / "precious").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_held_tag_is_refused_until_it_is_released(layout, overwrite):
    with hold(layout):
        assert is_held(layout.record("t"))
        with pytest.raises(UserError, match="in use by a running process"):
            check_tag("t", overwrite, layout)
        with pytest.raises(UserError, match="in use"), hold(layout, overwrite=overwrite):
            pass
    assert not is_held(layout.record("t"))
    with hold(layout):  # released without a file: still free
        pass


def test_a_record_that_appears_while_waiting_for_the_lock_is_safe(layout, monkeypatch):
    fill(layout)
    monkeypatch.setattr("new_algorithm.record.reservation.check_tag", lambda *_: None)
    with pytest.raises(UserError, match="exists already"), hold(layout):
        pass
    assert (layout.record("t") / "old.txt").exists()


def test_dated_tags_never_collide(layout):
    with hold(layout, tag=None) as first, hold(layout, tag=None) as second:
        assert first == "toy_2026-11-20_134501"
        assert second == "toy_2026-11-20_134501_2"


def test_no_tag_is_free_to_be_dated(layout):
    check_tag(None, False, layout)
