"""Test runs write into a copy of the scripts and the code that they import."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

# Tests run side by side, one a core: threads of theirs would wait for each other. Set before NumPy
# and torch are imported, here and in the processes that tests start.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]

# The same examples every time, and no time limit on one: the machines are shared and noisy.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("random", derandomize=False, deadline=None, database=None)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def tracked():
    """The files that git tracks, by path from the root: what is published, and not what runs of
    this machine left beside it."""
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a checkout of git")
    return set(listed.stdout.splitlines())


CODE = (".py", ".toml", ".html", ".md")  # with definitions and templates


@pytest.fixture(scope="session")
def work_tree(tmp_path_factory):
    """A copy of the code, with no data and no outputs: the scripts in it write into it."""
    copy = tmp_path_factory.mktemp("work_tree")
    shutil.copy(REPOSITORY / "bench_mnist.py", copy)
    for folder, kept in (("new_algorithm", CODE), ("datasets", (".py", ".toml"))):
        for file in (REPOSITORY / folder).rglob("*"):
            if file.suffix not in kept:
                continue
            target = copy / file.relative_to(REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    return copy


@pytest.fixture(scope="session")
def run_script(work_tree):
    """run_script("bench_mnist.py", "--epochs", "1") -> CompletedProcess, output captured."""

    def run(script, *arguments, cwd=None, **options):
        return subprocess.run(
            [sys.executable, str(work_tree / script), *map(str, arguments)],
            cwd=cwd or work_tree,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            **options,
        )

    return run


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=10, help="runs that test_killed_runs.py kills")
    parser.addoption("--soak", type=int, default=6, help="short runs that test_soak.py makes")
    parser.addoption("--fuzz", type=float, default=0, help="seconds for each door of tests/fuzz/")


def pytest_configure(config):
    if config.getoption("--fuzz"):
        settings.load_profile("random")


@pytest.fixture(scope="session")
def kills(request):
    return request.config.getoption("--kills")


@pytest.fixture(scope="session")
def soak(request):
    return request.config.getoption("--soak")
