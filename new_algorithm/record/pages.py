"""Pages and their twins in Markdown, from templates; what all of them share is in templates/."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context, select_autoescape
from jinja2.runtime import Context

from new_algorithm.record.note import table

SHARED = Path(__file__).parent / "templates"


class Cell(NamedTuple):
    """interval: what stands smaller beside the text. strong: in bold."""

    text: str
    interval: str = ""
    strong: bool = False

    def __str__(self) -> str:
        """In Markdown."""
        text = f"**{self.text}**" if self.strong else self.text
        return f"{text} {self.interval}".strip()


class Table(NamedTuple):
    """texts: how many columns from the left are words, aligned left; the others are numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    texts: int = 1
    notes: Sequence[str] = ()


def page_templates(folder: Path) -> Environment:
    """Return the templates in `folder`, which may extend the shared ones: what is missing is an
    error, and HTML is escaped.

    In Markdown, which passes HTML on, the tags in what is filled in are.
    """
    templates = Environment(
        loader=FileSystemLoader([folder, SHARED]),
        autoescape=select_autoescape(["html"]),
        finalize=_without_tags,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.globals["markdown_table"] = _in_markdown
    return templates


def _in_markdown(one: Table) -> str:
    return table(one.header, [[*map(str, row)] for row in one.rows])


@pass_context
def _without_tags(context: Context, value: Any) -> Any:
    if isinstance(value, str) and (context.name or "").endswith(".md"):
        return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", value)
    return value
