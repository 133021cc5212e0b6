"""Imports point one way, read off the files."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = [  # each imports those above it in this list alone
    "new_algorithm.back_projection",
    "new_algorithm.estimators",
    "new_algorithm.torch_optimizer",
    "new_algorithm.cli",
    "new_algorithm.plots",
    "new_algorithm.record",
    "new_algorithm.model_advice",
    "new_algorithm.profiling",
    "datasets",
    "new_algorithm.models",
    "new_algorithm.gallery",
    "new_algorithm.methods",
    "new_algorithm.prediction",
    "new_algorithm.table_models",
    "new_algorithm.analysis",
    "new_algorithm.measurements",
    "new_algorithm.experiments",
]
SCRIPTS = {
    "bench_mnist",
    *(f"new_algorithm.{p.stem}" for p in (ROOT / "new_algorithm").glob("*.py")),
}
SCRIPTS.remove("new_algorithm.__init__")
FILES = [
    ROOT / "bench_mnist.py",
    *(ROOT / "new_algorithm").rglob("*.py"),
    *(ROOT / "datasets").rglob("*.py"),
]


def imported(path: Path) -> set[str]:
    """The full names of what a file imports, inside functions and for types too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def floor_of(name: str) -> int | None:
    """The highest floor that a module belongs to; None for a script or another package."""
    floors = [i for i, floor in enumerate(FLOORS) if f"{name}.".startswith(f"{floor}.")]
    return floors[0] if floors else None


def module_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_nothing_imports_from_above_nor_from_a_script(path):
    own = floor_of(module_of(path))
    for name in imported(path):
        assert name not in SCRIPTS, f"{name} is a script"
        theirs = floor_of(name)
        assert own is None or theirs is None or theirs <= own, f"{name} lies above"


def test_the_method_imports_numpy_and_scipy_alone():
    packages = {
        name.split(".")[0]
        for path in (ROOT / "new_algorithm" / "back_projection").rglob("*.py")
        for name in imported(path)
    }
    allowed = {"numpy", "scipy", "new_algorithm"}
    standard = {
        "collections",
        "contextlib",
        "copy",
        "dataclasses",
        "functools",
        "itertools",
        "typing",
    }
    assert packages <= allowed | standard


def test_no_source_file_has_more_than_300_lines():
    for path in FILES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, path
