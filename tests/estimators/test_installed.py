"""`pip install .`: the estimators without the rest of the repository."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILDING = ("pyproject.toml", "README.md", "LICENSE")
USE = """
import sys
from sklearn.datasets import load_iris
from new_algorithm.estimators import BackProjectionClassifier
X, y = load_iris(return_X_y=True)
print(BackProjectionClassifier(random_state=0).fit(X, y).score(X, y))
assert "torch" not in sys.modules and "tyro" not in sys.modules
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with what the wheel holds."""
    tree = tmp_path_factory.mktemp("tree")
    for name in BUILDING:
        shutil.copy(ROOT / name, tree)
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "new_algorithm", tree / "new_algorithm", ignore=skipped)
    (tree / "datasets").mkdir()
    shutil.copy(ROOT / "datasets" / "__init__.py", tree / "datasets")
    built = tree / "built"
    flags = ["--no-build-isolation", "--no-deps", "--no-index", "-q", "-w", str(built)]
    made = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *flags, "."],
        cwd=tree,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder


def test_what_is_installed_works_alone(installed, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", USE],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0.95


def test_neither_data_sets_nor_scripts_are_installed(installed):
    assert not (installed / "datasets").exists()
    assert list((installed / "new_algorithm").glob("*.py")) == []
    packages = {path.name for path in (installed / "new_algorithm").iterdir()}
    assert packages == {"back_projection", "estimators", "torch_optimizer"}


def test_every_module_of_the_installed_packages_is_there(installed):
    for package in ("back_projection", "estimators", "torch_optimizer"):
        folder = ROOT / "new_algorithm" / package
        for path in folder.rglob("*.py"):
            assert (installed / "new_algorithm" / package / path.relative_to(folder)).exists()
