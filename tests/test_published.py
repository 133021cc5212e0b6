"""The pages that are published: their links lead somewhere, and no published run is left out."""

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_link_leads_to_a_file_that_is_published_too(tracked):
    folders = {parent.as_posix() for name in tracked for parent in Path(name).parents}
    dangling = []
    for page in (name for name in tracked if name.endswith(".md") and "templates" not in name):
        text = (ROOT / page).read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if ":" in link:  # in the web
                continue
            target = os.path.normpath(os.path.join(os.path.dirname(page), link))
            if target not in tracked | folders:
                dangling.append(f"{page}: {link}")
    assert dangling == []


def test_every_published_run_is_on_the_curated_page(tracked):
    page = (ROOT / "figures" / "README.md").read_text(encoding="utf-8")
    tags = {name.split("/")[1] for name in tracked if re.match(r"(figures|ploting_data)/.+/", name)}
    assert [tag for tag in sorted(tags) if f"]({tag}/" not in page] == []
    assert "figures/local_runs.md" not in tracked
