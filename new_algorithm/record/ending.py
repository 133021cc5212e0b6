"""What is made of a record when its run has ended: figures, note and index."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from new_algorithm.cli.console import notice
from new_algorithm.record.index import rebuild_index
from new_algorithm.record.layout import Layout
from new_algorithm.record.note import write_note

if TYPE_CHECKING:
    from new_algorithm.record.figures import Tables


def report(tag: str, layout: Layout, tables: "Tables") -> None:
    """Make each whatever becomes of the others; a group's runs are left to its own report."""
    if not layout.group:
        with _attempt("figures", tag):
            from new_algorithm.record.figures import draw_run  # matplotlib takes a second

            draw_run(tag, layout, tables)
    with _attempt("note", tag):
        write_note(tag, layout)
    if not layout.group:
        with _attempt("index", tag):
            rebuild_index(layout)


@contextmanager
def _attempt(what: str, tag: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        notice(f"no {what} of run {tag} ({error}); its record is complete")
