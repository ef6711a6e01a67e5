"""Documentation says what is there: links lead somewhere, the index has every page, commands exist."""

import re
from pathlib import Path

import pytest
import typer.main

from koordinator.cli.main import app
from koordinator.cli.reference import verbs

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:^|`|\$ )(koord|make) ([a-z][a-z<>-]*)((?: [a-z][a-z-]*)?)", re.MULTILINE)


def name(page):
    return str(page.relative_to(ROOT))


def anchors(page):
    """What headings are called in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text()):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_has_every_page():
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text())}
    assert [name(page) for page in (ROOT / "docs").glob("*/*.md") if page not in linked] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets |= {f"bench-{path.stem.removeprefix('bench_').replace('_', '-')}" for path in ROOT.glob("benchmarks/bench_*.py")}
    root = typer.main.get_command(app)
    known = {words for verb, _ in verbs(root.commands) for words in (verb, verb.partition(" ")[0])}
    for program, word, more in COMMAND.findall(page.read_text()):
        if program == "make":
            assert word in targets | {"bench-<name>"}, f"make {word}"
        else:
            assert word in known, f"koord {word}"
            assert f"{word}{more}" in known or not any(verb.startswith(f"{word} ") for verb in known), f"koord {word}{more}"
