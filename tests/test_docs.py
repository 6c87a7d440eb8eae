"""What documents, docstrings and messages refer to exists, and what documents show is what happens.

To write what commands print today into the pages: `python tests/test_docs.py`.
"""

import importlib.util
import os
import pkgutil
import re
import shutil
import sys
import tempfile
from collections import Counter
from contextlib import chdir
from pathlib import Path

import pytest

import pages
from fake_server import FakeServer

ROOT = Path(__file__).resolve().parents[1]
THEORY = ROOT / "docs" / "theory.md"
PLACES = ("docs", "benchmarks", "notebooks", "tests", "msifr_policy", "sim", "calibration", "integrations")

DOCS = sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))
MEASURED = {
    "| this package, beliefs of the text |": "| text | 0.920",
    "| this package, plain `msifr fit` |": "| plain | 0.917",
    "| MAPIE 1.6, cross-fitted |": "| MAPIE, cross-fitted |",
    "| MAPIE 1.6, our split |": "| MAPIE, our split |",
    "| e-valuator 1.0, cross-fitted |": "| e-valuator, cross-fitted |",
    "| e-valuator 1.0, our split |": "| e-valuator, our split |",
    "| certified length cap (all 56 families) |": "| 56 families one at a time, plain",
    "| this package, plain |": "| Simulated worlds",
    "| this package, beliefs from elsewhere |": "| Simulated worlds",
    "| MAPIE |": "| Simulated worlds",
    "| e-valuator |": "| Simulated worlds",
    "mean net cost factor of 0.926": "| 56 families one at a time, plain",
    "in hindsight, is 0.912": "| The same, best in hindsight",
    "(4.2 % against 0.8 % and 0.5 %": "| plain | 0.926",
    "processor time saved is 0.36": "| Embedded model: conversion efficiency",
}
"""Numbers of the pages, by how they begin, and the line of README.md or RESULTS.md that has them."""
OF_OTHERS = {"--log_samples", "--tiny"}
"""Options of programs that are not ours."""

NOT_RUN = {"on your server": 2, "on your machine": 2, "on your cluster": 5, "in a clone": 2}
"""Blocks of all pages that cannot run here, by what they say; each new one has to be counted."""

if not THEORY.exists():
    pytest.skip("not in a checkout", allow_module_level=True)


def files(*suffixes):
    here = [path for path in ROOT.iterdir() if path.suffix in suffixes]
    return sorted(here + [path for place in PLACES for path in (ROOT / place).rglob("*") if path.suffix in suffixes])


def found(pattern, *suffixes):
    """Return (place, match) for every match of `pattern` in files with these suffixes, line by line."""
    return [
        (f"{path.relative_to(ROOT)}:{number}", match)
        for path in files(*suffixes)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in re.finditer(pattern, line)
    ]


def wrong(places):
    """Return what a failing assertion should show: one place a line."""
    return "\n" + "\n".join(places)


def prose(path):
    """Return a Markdown file without what is code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S))


def anchors(path):
    """Return the anchors that GitHub gives the headings of a Markdown file."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def resolves(name):
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_theory_states_each_of_the_sixteen_once_with_its_assumptions():
    sections = re.split(r"^#+ ", THEORY.read_text(encoding="utf-8"), flags=re.MULTILINE)
    statements = {section.split("]")[0][1:]: section for section in sections if section.startswith("[T")}
    assert sum(section.startswith("[T") for section in sections) == 16
    assert list(statements) == [f"T{i}" for i in range(1, 17)]
    for name, statement in statements.items():
        assert "*Assumes*" in statement, name
        assert "*Then*" in statement, name


def test_every_statement_referred_to_is_in_theory():
    stated = set(re.findall(r"^### \[(T\d+)\]", THEORY.read_text(encoding="utf-8"), re.MULTILINE))
    references = found(r"\[(T\d+(?:(?:, ?| ?[–-] ?)T\d+)*)\\*\]", ".py", ".md", ".ipynb")
    assert len(references) > 50  # the pattern finds them
    missing = [f"{place}: {m[0]}" for place, m in references if not set(re.findall(r"T\d+", m[1])) <= stated]
    assert not missing, wrong(missing)


def test_every_section_of_theory_referred_to_exists():
    sections = set(re.findall(r"^## (\d+)\. ", THEORY.read_text(encoding="utf-8"), re.MULTILINE))
    references = found(r"[Tt]heory(?:\.md)?,? §(\d+)", ".py", ".md", ".ipynb")
    missing = [f"{place}: {m[0]}" for place, m in references if m[1] not in sections]
    assert not missing, wrong(missing)


def made_by_the_site():
    """Return the pages of the site's navigation that are not in the tree; that they are made, `make docs` checks."""
    named = re.findall(r"[\w./-]+\.md$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    return {name for name in named if not (ROOT / "docs" / name).exists()}


def test_links_between_documents_lead_somewhere():
    broken = []
    for path in files(".md", ".ipynb"):
        for target in re.findall(r"\[[^\]\n]*\]\(([^)\s]+)\)", prose(path)):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            to = (path.parent / file).resolve() if file else path
            if to.is_relative_to(ROOT / "docs") and to.relative_to(ROOT / "docs").as_posix() in made_by_the_site():
                continue
            if not to.exists() or (anchor and anchor not in anchors(to)):
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert not broken, wrong(broken)


def test_every_module_and_name_written_in_backticks_exists():
    """A changelog may speak of what is no more; all else has to follow when things move."""
    names = found(r"`(msifr_(?:policy|sim|calibration|integrations)(?:\.\w+)*)\b", ".py", ".md", ".ipynb")
    assert len(names) > 30  # the pattern finds them
    stale = [f"{place}: {m[1]}" for place, m in names if "CHANGELOG" not in place and not resolves(m[1])]
    assert not stale, wrong(stale)


def test_every_module_that_can_be_run_exists(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    modules = found(r"python3? -m ((?:msifr_|benchmarks\.)[\w.]*\w)", ".py", ".md", ".ipynb")
    assert modules
    named = [
        (place, m[1]) for place, m in modules if not m[1].rpartition(".")[2].isupper()
    ]  # capitals stand for others
    missing = [f"{place}: {name}" for place, name in named if importlib.util.find_spec(name) is None]
    assert not missing, wrong(missing)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A folder with what pages take as given."""
    folder = tmp_path_factory.mktemp("given")
    pages.prepare(folder)
    return folder


@pytest.fixture(scope="module")
def server():
    """A server whose answers are short; what it says is no mathematics."""
    with FakeServer(length=40) as running:
        yield running.url


def read(page, folder, server):
    """Paste every block of a page; yield each that runs with what it prints."""
    reader = pages.Reader(folder, server)
    sys.path.insert(0, str(folder))
    try:
        with chdir(folder):
            for block in pages.blocks(page):
                printed = reader.does(block)
                if block.runs:
                    yield block, printed
    finally:
        sys.path.remove(str(folder))
        for name in [path.stem for path in folder.glob("*.py")]:
            sys.modules.pop(name, None)


@pytest.mark.parametrize("page", DOCS)
def test_every_block_of_a_page_does_what_it_shows(page, given, server, tmp_path):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    if not any(block.runs or block.title for block in pages.blocks(text)):
        return
    shutil.copytree(given, tmp_path, dirs_exist_ok=True)
    shown = pages.outputs(text)
    for block, printed in read(text, tmp_path, server):
        if block.start in shown:
            expected = pages.comparable(block, shown[block.start].text)
            assert pages.comparable(block, printed) == expected, "to refresh what is shown: python tests/test_docs.py"


def test_no_block_escapes_and_no_command_stands_outside_of_one():
    every = [block for page in DOCS for block in pages.blocks((ROOT / "docs" / page).read_text(encoding="utf-8"))]
    assert {block.language for block in every} <= {"sh", "python", "json", "toml", "text", "csv"}
    assert Counter(block.title for block in every if block.title and not block.is_file) == Counter(NOT_RUN)
    bare = {page: pages.prose_commands((ROOT / "docs" / page).read_text(encoding="utf-8")) for page in DOCS}
    assert not {page: lines for page, lines in bare.items() if lines}


@pytest.mark.parametrize(("billion", "slots"), [(8, 128), (8, 256), (1, 128)])
def test_speeds_on_a_gpu_are_those_of_the_results(billion, slots):
    page, table = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/generating.md", "README.md"))
    shown = re.findall(rf"^\| {billion} billion, {slots} slots \| ([\d,]+) \|", page, re.MULTILINE)
    measured = re.findall(rf"^\| H100, {billion} billion weights, {slots} slots,.*?\| ([\d,]+) \|", table, re.MULTILINE)
    assert shown == measured
    assert len(shown) == 1


def test_numbers_measured_are_those_of_the_results():
    """README and RESULTS.md are made of the files of results; what the pages repeat must stand there."""
    results = [
        line for name in ("README.md", "benchmarks/RESULTS.md") for line in (ROOT / name).read_text().splitlines()
    ]
    text = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("comparison.md", "limits.md"))
    for shown, line in MEASURED.items():
        assert text.count(shown) == 1, shown
        row = text[text.index(shown) :].splitlines()[0] if shown.startswith("|") else shown
        # Labels name versions and bounds; the numbers of a row are in its cells.
        numbers = re.findall(r"\d+\.\d+|(?<=\| )\d+(?= \|)", row.removeprefix(shown) if shown.startswith("|") else row)
        there = [each for each in results if each.startswith(line)]
        assert numbers, shown
        assert len(there) == 1, line
        # README.md does not say of the certified length cap that its f was above 5 % in no family.
        assert set(numbers) <= set(re.findall(r"\d+\.\d+|\d+", there[0])) | {"0"}, (shown, there)


def test_every_option_named_in_a_page_exists():
    from msifr_integrations.cli import main

    every = [main.get_command(pages.context(), name) for name in main.list_commands(pages.context())]
    known = {name for one in every for each in one.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
    named = found(r"`[^`\n]*?(--[a-z][\w-]+)", ".md")
    unknown = [f"{place}: {m[1]}" for place, m in named if place.startswith("docs/") and m[1] not in known | OF_OTHERS]
    assert len(named) > 30  # the pattern finds them
    assert not unknown, wrong(unknown)


def refresh():
    """Write what is printed now into every page that shows it."""
    with tempfile.TemporaryDirectory() as made, FakeServer(length=40) as running:
        pages.prepare(Path(made))
        for name in DOCS:
            path = ROOT / "docs" / name
            text = path.read_text(encoding="utf-8")
            shown = pages.outputs(text)
            with tempfile.TemporaryDirectory() as folder:
                shutil.copytree(made, folder, dirs_exist_ok=True)
                try:
                    printed = {block.start: (block, out) for block, out in read(text, Path(folder), running.url)}
                except Exception as error:  # the other pages first
                    sys.stderr.write(f"{name}: {error}\n")
                    continue
            for start in sorted(shown, reverse=True):
                old, (block, new) = shown[start], printed[start]
                if pages.comparable(block, new) != pages.comparable(block, old.text):
                    text = text[: old.start] + new.strip("\n") + "\n" + text[old.start + len(old.text) :]
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    refresh()
