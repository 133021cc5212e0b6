"""Damage to small sound inputs, as hypothesis draws it, and what a door may answer to that."""

import copy
import json
import math
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from new_algorithm.cli.errors import UserError

SECONDS = 30  # of CPU time, after which a door counts as hanging
MANY = 3  # changes at a time

# One round of examples: all there are in CI, one of many with --fuzz SECONDS.
quick = settings(max_examples=20, suppress_health_check=list(HealthCheck))
slow = settings(quick, max_examples=4)


@contextmanager
def sound_or_refused(*folders: Path) -> Iterator[None]:
    """Inside, all goes well or a UserError says in words why not; it ends, nothing is raised behind
    the scenes, and files that were in the folders are as they were."""
    before, told, unraisable = _contents(folders), "nothing", []
    hook, sys.unraisablehook = sys.unraisablehook, unraisable.append
    former = signal.signal(signal.SIGVTALRM, _hang)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    except UserError as error:
        told = str(error).strip()
    finally:
        sys.unraisablehook = hook
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, former)
    assert not unraisable
    assert told, "a UserError without words"
    after = _contents(folders)
    assert {path: after.get(path) for path in before} == before


def _hang(*_: Any) -> None:
    raise AssertionError(f"it takes more than {SECONDS} s")


def _contents(folders: tuple[Path, ...]) -> dict[Path, bytes]:
    files = (path for folder in folders for path in folder.rglob("*"))
    return {path: path.read_bytes() for path in files if path.is_file()}


@st.composite
def damaged(draw: st.DrawFn, sound: bytes, words: tuple[bytes, ...] = ()) -> bytes:
    """Bytes flipped, cut out, swapped, repeated or put in; words: what is put in, beside noise."""
    content = bytearray(sound)
    inserted = st.binary(min_size=1, max_size=8)
    if words:
        inserted |= st.sampled_from(words)
    for _ in range(draw(st.integers(1, MANY))):
        at, end = sorted(draw(st.tuples(*2 * [st.integers(0, len(content))])))
        kind = draw(st.sampled_from(("flip", "cut", "end", "insert", "replace", "repeat", "swap")))
        short = min(end, at + draw(st.integers(1, 16)))
        match kind:
            case "flip" if at < len(content):
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del content[at:short]
            case "end":
                del content[end:]
            case "insert":
                content[at:at] = draw(inserted)
            case "replace":
                content[at:short] = draw(inserted)
            case "repeat":
                content[at:at] = content[at:end] * draw(st.integers(1, 3))
            case "swap":
                content = content[end:] + content[at:end] + content[:at]
    return bytes(content)


ODD = (
    *(None, True, False, 0, 1, -1, 3, 2**31, 2**63, 10**400, 0.5, -0.0, 1e-320, 1e308),
    *(math.inf, math.nan, "", " ", "x", "nan", "1e999", "../x", "\0", "\ud800", "é|\n", "x" * 300),
    *([], [[]], [None], [1, "x"], [0.5] * 40, {}, {"": None}, {"x": [{}]}, [1e308] * 3),
)


@st.composite
def altered(draw: st.DrawFn, facts: Any) -> Any:
    """What JSON can say, with entries replaced by odd or by other values, left out or renamed."""
    facts = copy.deepcopy(facts)
    for _ in range(draw(st.integers(1, MANY))):
        places = list(_places(facts))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        kind = draw(st.sampled_from(("odd", "odd", "odd", "other", "leave out", "rename")))
        if kind == "leave out":
            del holder[key]
        elif kind == "rename" and isinstance(holder, dict):
            holder[draw(st.sampled_from(("", "x", "epoch", "é")))] = holder.pop(key)
        elif kind == "other":
            source, name = draw(st.sampled_from(places))
            holder[key] = copy.deepcopy(source[name])
        else:
            holder[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
    return facts


def _places(facts: Any) -> Iterator[tuple[Any, Any]]:
    pairs = facts.items() if isinstance(facts, dict) else enumerate(facts)
    for key, value in pairs:
        yield facts, key
        if isinstance(value, dict | list):
            yield from _places(value)


def as_json(facts: Any) -> bytes:
    return json.dumps(facts).encode()
