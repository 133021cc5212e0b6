import os
import subprocess

import numpy as np
import pytest
import threadpoolctl

from new_algorithm.cli.threads import THREAD_VARIABLES, fix_threads, thread_pools
from new_algorithm.record.provenance import git_state, host_facts, package_versions


@pytest.fixture
def restored_threads(monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    with threadpoolctl.threadpool_limits():
        yield


@pytest.mark.parametrize("threads", [2, 1])
def test_threads_are_fixed_and_reported(restored_threads, threads):
    fix_threads(threads)
    pools = thread_pools()
    assert "blas" in {pool["user_api"] for pool in pools}
    assert {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"} == {threads}
    assert os.environ["OPENBLAS_NUM_THREADS"] == str(threads)


def test_facts_are_filled_in_without_paths():
    facts = host_facts()
    assert facts["cores"] >= facts["cores_usable"] >= 1
    assert facts["memory_bytes"] > 1e8
    assert facts["cpu"]
    assert package_versions()["numpy"] == np.__version__
    assert "/" not in str(thread_pools())


def git(folder, *arguments):
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


def test_git_state_ignores_outputs_and_sees_changes(tmp_path):
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) is None  # no commit yet
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-qm", "first")
    for folder in ("ploting_data", "figures", "_logs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").touch()
    state = git_state(tmp_path)
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    (tmp_path / "code.py").write_text("2")
    assert git_state(tmp_path)["dirty"] is True


def test_a_folder_inside_another_repository_has_no_state(tmp_path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-qm", "first", "--allow-empty")
    (tmp_path / "copy").mkdir()
    assert git_state(tmp_path / "copy") is None


def test_without_git_there_is_no_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None
