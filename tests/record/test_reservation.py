import threading
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path

import pytest

from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import validate_tag
from new_algorithm.record.layout import Layout
from new_algorithm.record.reservation import check_tag, dated_tags, hold_lock, is_held, reserve

NOW = datetime(2026, 11, 20, 13, 45, 1)


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


def hold(layout, tag="t", overwrite=False, **options):
    return reserve(tag, "toy", overwrite, layout, NOW, **options)


def content(layout, tag="t"):
    folders = (layout.record(tag), layout.figures(tag))
    paths = [path for folder in folders for path in folder.rglob("*")]
    return {path.relative_to(layout.root).as_posix() for path in paths}


def fill(layout, tag="t"):
    for folder in (layout.record(tag), layout.figures(tag)):
        (folder / "inner").mkdir(parents=True)
        (folder / "old.txt").write_text("old")


def test_a_tag_equal_but_for_capitals_is_refused(layout):
    fill(layout, "run")
    with pytest.raises(UserError, match=r"--tag Run: there is a run run already"):
        check_tag("Run", True, layout)
    check_tag("run", True, layout)
    check_tag("run2", False, layout)


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
        assert content(layout) == set()
    assert (layout.record("other") / "old.txt").exists()


def test_what_is_overwritten_is_back_unless_it_was_superseded(layout):
    fill(layout)
    before = content(layout)
    for error in (None, RuntimeError):  # neither end brings results
        with suppress(RuntimeError), hold(layout, overwrite=True):
            (layout.record("t") / "new.txt").touch()
            if error:
                raise error
        assert content(layout) == before
    with hold(layout, overwrite=True) as held:
        (layout.record("t") / "new.txt").touch()
        held.supersede()
    assert content(layout) == {"ploting_data/t/new.txt"}
    assert not any((layout.records / ".replaced").iterdir())


@pytest.mark.parametrize("superseded", [True, False])
def test_what_a_killed_process_set_aside_goes_with_the_run_that_continues_it(layout, superseded):
    fill(layout)
    before = content(layout)
    with hold(layout, overwrite=True) as held:
        (layout.record("t") / "new.txt").touch()
        held.aside.clear()  # killed: nothing is put back
    with hold(layout, resume=True) as held:
        if superseded:
            held.supersede()
    after = {"ploting_data/t/new.txt"} if superseded else before
    assert content(layout) == after
    with hold(layout, overwrite=True):
        pass  # fails before its first results
    assert content(layout) == after


@pytest.mark.parametrize("folder", ["ploting_data", "figures"])
def test_a_link_for_a_tag_is_refused_and_what_it_points_to_stays(layout, tmp_path, folder):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "t").symlink_to(outside)
    with pytest.raises(UserError, match=rf"{folder}/t is a symbolic link"):
        check_tag("t", True, layout)
    with pytest.raises(UserError, match="symbolic link"), hold(layout, overwrite=True):
        pass
    assert (outside / "precious").exists()


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ('{"kind": "search"}', "search"),
        ('{"kind": "experiment"}', "experiment"),
        ("{}", "experiment"),
        ("damaged", "experiment"),
    ],
)
def test_a_run_never_replaces_a_search_or_an_experiment(layout, record, kind):
    fill(layout)
    (layout.record("t") / "run.json").write_text(record)
    if record in ("{}", "damaged"):  # records have not always named their kind
        (layout.record("t") / "experiment.json").touch()
    before = content(layout)
    with pytest.raises(UserError, match=f"holds a whole {kind}"), hold(layout, overwrite=True):
        pass
    assert content(layout) == before
    with hold(layout, overwrite=True, kind=kind) as held:
        held.supersede()
    assert content(layout) == set()


def test_overwrite_follows_no_link_out_of_the_folder(layout, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    layout.record("t").mkdir(parents=True)
    (layout.record("t") / "link").symlink_to(outside)
    with hold(layout, overwrite=True) as held:
        held.supersede()
    assert not list(layout.record("t").glob("link"))
    assert (outside / "precious").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_held_tag_is_refused_until_it_is_released(layout, overwrite):
    with hold(layout):
        assert is_held(layout.lock("t"))
        with pytest.raises(UserError, match="in use by a running process"):
            check_tag("t", overwrite, layout)
        with pytest.raises(UserError, match="in use"), hold(layout, overwrite=overwrite):
            pass
    assert not is_held(layout.lock("t"))
    with hold(layout):  # released without a file: still free
        pass
    Layout(layout.root, group="t").lock("").mkdir()  # locks of runs that are gone
    check_tag("t", False, layout)


def test_a_record_that_appears_while_waiting_for_the_lock_is_safe(layout, monkeypatch):
    fill(layout)
    monkeypatch.setattr("new_algorithm.record.reservation.check_tag", lambda *_: None)
    with pytest.raises(UserError, match="exists already"), hold(layout):
        pass
    assert (layout.record("t") / "old.txt").exists()


def test_dated_tags_differ_and_are_valid():
    tags = list(islice(dated_tags("two layer_relu", NOW), 4))
    assert tags[0] == "two_layer_relu_2026-11-20_134501"
    assert tags[1] == tags[0] + "_2"
    assert len(set(tags)) == 4
    for tag in (*tags, next(dated_tags("x" * 300, NOW))):
        validate_tag(tag)


def test_dated_tags_never_collide(layout):
    with hold(layout, tag=None) as first, hold(layout, tag=None) as second:
        assert first.tag == "toy_2026-11-20_134501"
        assert second.tag == "toy_2026-11-20_134501_2"


def test_no_tag_is_free_to_be_dated(layout):
    check_tag(None, False, layout)


def test_a_lock_deleted_by_its_holder_lets_nobody_in_beside_the_next_one(tmp_path):
    lock, entered = tmp_path / "lock", threading.Event()

    def wait():
        with hold_lock(lock, wait=True):
            entered.set()

    waiting = threading.Thread(target=wait)
    with hold_lock(lock):
        waiting.start()
        while not waits_for(lock):
            assert waiting.is_alive()
        lock.unlink()
        next_one = hold_lock(lock)
        next_one.__enter__()
    assert not entered.wait(0.3)
    next_one.__exit__(None, None, None)
    assert entered.wait(60)
    waiting.join()


def waits_for(lock):
    """Whether anybody does, as the kernel lists it."""
    locks = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and f":{lock.stat().st_ino} " in line for line in locks)
