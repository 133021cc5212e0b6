"""Objects out of a user's own file: FILE.py:NAME, with errors that name the file and the line."""

import importlib.util
import sys
import traceback
from pathlib import Path
from typing import Any

from torch import nn

from new_algorithm.cli.errors import UserError
from new_algorithm.model_advice.examined import one_line


def load_object(place: str) -> Any:
    """Import the file of FILE.py:NAME, with its folder on the path, and return the object.

    UserError for another form, a file that is missing or fails, and a name that is not in it.
    """
    file, _, name = place.rpartition(":")
    path = Path(file)
    if path.suffix != ".py" or not name.isidentifier():
        raise UserError(f"{place!r} is no FILE.py:NAME: give a file and a name in it")
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    module = sys.modules.get(_module_name(path)) or _import(path)
    if not hasattr(module, name):
        own = [
            key
            for key, one in vars(module).items()
            if isinstance(one, nn.Module) or getattr(one, "__module__", None) == module.__name__
        ]
        raise UserError(f"{path} has no {name}: it has {', '.join(own) or 'no model'}")
    return getattr(module, name)


def load_model(place: str) -> nn.Module:
    """The model of FILE.py:MODEL: itself, or what a class or function returns without arguments.

    UserError as `load_object`, and for what is no nn.Module.
    """
    found, path = load_object(place), Path(place.rpartition(":")[0])
    if not isinstance(found, nn.Module) and callable(found):
        try:
            found = found()
        except Exception as error:
            raise UserError(
                f"{place_of(error, path)}: {place} cannot be made: {one_line(error)}"
            ) from error
    if not isinstance(found, nn.Module):
        raise UserError(
            f"{place} is of type {type(found).__name__}: give an nn.Module, its class, "
            "or a function that returns one without arguments"
        )
    return found


def place_of(error: BaseException, path: Path) -> str:
    """FILE:LINE, the last line of the file that an error passed through; else the file."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).name == path.name:
        return f"{path}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [one.lineno for one in frames if Path(one.filename) == path.resolve()]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _module_name(path: Path) -> str:
    return f"own_code:{path.resolve()}"  # no name of a module that anything else imports


def _import(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(_module_name(path), path.resolve())
    assert spec is not None  # by the file's suffix
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise UserError(
            f"{place_of(error, path)}: it cannot be imported: {one_line(error)}"
        ) from error
    return module
