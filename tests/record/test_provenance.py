import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl

from new_algorithm import attention, contrastive, meta_learning, n_layer_relu_data
from new_algorithm.cli.threads import THREAD_VARIABLES, fix_threads, thread_pools
from new_algorithm.record.layout import Layout
from new_algorithm.record.provenance import (
    describe,
    git_state,
    host_facts,
    package_versions,
    peak_memory,
    reset_peak_memory,
)


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


# The peak of resident memory, against arrays of known size.

counts_memory = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="resident memory is counted as Linux does"
)
MB = 10**6
SLACK = 4 * MB  # what the interpreter itself may take or give back meanwhile


def touch(megabytes):
    """An array whose pages are all written to, and so resident."""
    return np.ones(megabytes * MB, dtype=np.uint8)


@counts_memory
def test_peak_is_that_of_what_was_allocated_since_the_reset():
    resident = reset_peak_memory()
    assert peak_memory() == pytest.approx(resident, abs=SLACK)
    for megabytes in (64, 24):  # the second time less: the first peak must be forgotten
        array = touch(megabytes)
        at_the_top = peak_memory()
        assert at_the_top - resident == pytest.approx(megabytes * MB, abs=SLACK)
        del array
        assert peak_memory() >= at_the_top - SLACK  # a peak stays when memory is freed
        assert reset_peak_memory() == pytest.approx(resident, abs=SLACK)
        assert peak_memory() == pytest.approx(resident, abs=SLACK)


@counts_memory
def test_reset_gives_back_small_blocks_that_were_freed():
    resident = reset_peak_memory()
    blocks = [bytearray(4000) for _ in range(10_000)]
    del blocks[:-1]  # the last one keeps the heap from shrinking by itself
    assert reset_peak_memory() - resident < 40 * MB / 2


@counts_memory
def test_child_does_not_inherit_the_peak_of_its_parent():
    reset_peak_memory()
    array = touch(160)
    code = "from new_algorithm.record.provenance import peak_memory; print(peak_memory())"
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert 1 * MB < int(finished.stdout) < array.nbytes / 2


@counts_memory
def test_where_it_cannot_be_reset_an_error_says_so(monkeypatch):
    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refused)
    with pytest.raises(OSError):  # noqa: PT011
        reset_peak_memory()


@pytest.mark.parametrize(
    ("script", "settings"),
    [
        (contrastive, {"epochs": 6, "lr": 0.08}),
        (attention, {"lr": 0.08, "lambda_w": 8.0}),
        (meta_learning, {"lr": 0.01, "iterations": 5000}),
        (n_layer_relu_data, {}),
    ],
)
def test_what_flags_leave_to_an_optimizer_is_described(script, settings, tmp_path):
    found = describe(Path(script.__file__), script.Config(), "t", Layout(tmp_path))["settings"]
    assert found | settings == found
