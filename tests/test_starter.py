"""./starter in a repository that was renamed or copied, or whose venv/ is a link.

A stand-in for Python makes environments without the network.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

STARTER = Path(__file__).resolve().parents[1] / "starter"
PYTHON = """#!/bin/sh
case "$*" in
-c*) echo 3.11 ;;
*pip\\ install*) echo "pip in $0" >>"$LOG" ;;
*-m\\ venv*)
    mkdir -p "$4/bin"
    cp "$0" "$4/bin/python"
    printf 'home = /usr\\ncommand = %s -m venv --clear %s\\n' "$0" "$4" >"$4/pyvenv.cfg"
    printf '#!%s/bin/python\\n' "$4" >"$4/bin/tool"
    ;;
esac
"""


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "a repository"
    folder.mkdir()
    shutil.copy(STARTER, folder)
    for name in ("requirements.txt", "requirements-extras.txt"):
        (folder / name).write_text("numpy\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3.11").write_text(PYTHON)
    (tmp_path / "bin" / "python3.11").chmod(0o755)
    return folder


@pytest.fixture
def start(tmp_path):
    """start(folder, words...) -> stderr and how often pip was called since the last time."""
    log = tmp_path / "log"

    def run(folder, *words, status=0):
        log.write_text("")
        environment = os.environ | {"LOG": str(log)}
        environment["PATH"] = f"{tmp_path / 'bin'}{os.pathsep}{environment['PATH']}"
        done = subprocess.run(
            [folder / "starter", *words], env=environment, capture_output=True, text=True
        )
        assert done.returncode == status, done.stderr
        return done.stderr, len(log.read_text().splitlines())

    return run


def shebang(folder):
    return (folder / "venv" / "bin" / "tool").read_text().strip()


def test_it_is_set_up_once(repository, start):
    assert start(repository)[1] == 1
    told, pips = start(repository)
    assert "up to date" in told
    assert pips == 0


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_a_venv_that_moved_is_made_anew(repository, start, move):
    start(repository)
    start(repository, "--extras")
    moved = repository.with_name("renamed")
    move(repository, moved)
    assert str(repository) in shebang(moved)
    told, pips = start(moved, "--extras")
    assert f"was made as {repository}/venv" in told
    assert pips == 2  # the extras too
    assert shebang(moved) == f"#!{moved}/venv/bin/python"
    assert start(moved)[1] == 0


def test_a_link_to_a_venv_that_stayed_is_sound(repository, start):
    start(repository)
    other = repository.with_name("other")
    shutil.copytree(repository, other, ignore=lambda *_: ["venv"])
    (other / "venv").symlink_to(repository / "venv")
    assert start(other)[1] == 0


def test_what_a_link_points_to_is_left_alone(repository, start):
    start(repository)
    (repository / "venv").rename(repository.with_name("elsewhere"))
    (moved := repository.with_name("renamed")).symlink_to(repository)  # the old name still works
    (repository / "venv").symlink_to(repository.with_name("elsewhere"))
    assert start(moved)[1] == 0
    moved.unlink()
    repository.rename(moved)
    told, pips = start(moved, status=1)
    assert "remove the link" in told
    assert pips == 0
    assert (repository.with_name("elsewhere") / "installed").exists()


def test_an_environment_that_does_not_say_where_it_was_made_is_taken(repository, start):
    start(repository)
    for text in ("home = /usr\n", "command = python -m venv --prompt='a b' x\n"):
        (repository / "venv" / "pyvenv.cfg").write_text(text)
        assert start(repository)[1] == 0
