"""Files that are sound, and yet not what is needed: of another version, or changed by hand."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from new_algorithm.cli.errors import UserError

UNFIT = ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError


@contextmanager
def fitting(what: str, remedy: str) -> Iterator[None]:
    """Let it be a UserError where `what` is read inside and does not hold what is needed."""
    try:
        yield
    except UNFIT as error:
        why = " ".join(traceback.format_exception_only(error)[-1].split())
        raise UserError(f"{what} ({why}): {remedy}") from error
