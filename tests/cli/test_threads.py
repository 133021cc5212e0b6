import os

import pytest

from new_algorithm.cli import threads


@pytest.mark.parametrize(
    ("affinity", "share", "cores"),
    [
        ({0, 1, 5}, None, 3),
        ({0, 1, 5}, "max 100000", 3),
        ({0, 1, 5}, "200000 100000", 2),
        ({0, 1, 5}, "50000 100000", 1),
        ({3}, "400000 100000", 1),
    ],
)
def test_cores_are_those_of_the_affinity_and_the_container(
    affinity, share, cores, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: affinity)
    monkeypatch.setattr(threads, "CONTAINER", tmp_path / "cpu.max")
    if share is not None:
        (tmp_path / "cpu.max").write_text(f"{share}\n")
    assert threads.usable_cores() == cores
