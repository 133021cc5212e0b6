"""A list of words that is begun twice: argparse would forget the first one without a word."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from new_algorithm.cli.errors import UserError


def refuse_repeated(config_type: type[Any], arguments: Sequence[str]) -> None:
    """UserError where a flag that takes several words is given more than once.

    Of numbers and single values the last counts, so that what follows in a command put together of
    parts wins over what stands before.
    """
    given = [argument.partition("=")[0].replace("_", "-") for argument in arguments]
    for flag in _word_lists(config_type):
        if given.count(flag) > 1:
            raise UserError(
                f"{flag} is given {given.count(flag)} times: give it once, with all its values "
                "behind it"
            )


def _word_lists(config_type: type[Any]) -> Iterator[str]:
    for name, hint in get_type_hints(config_type, include_extras=True).items():
        metadata = getattr(hint, "__metadata__", ())
        kind = get_args(hint)[0] if metadata else hint
        if get_origin(kind) is not tuple or Ellipsis not in get_args(kind):
            continue
        entry = get_args(kind)[0]
        if entry is str or get_origin(entry) is Literal:
            named = (one.name for one in metadata if getattr(one, "name", None))
            yield "--" + next(named, name).replace("_", "-")
