"""What documents, docstrings and messages refer to exists: statements, sections, links, modules and names."""

import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
THEORY = ROOT / "docs" / "theory.md"
PLACES = ("docs", "benchmarks", "notebooks", "tests", "msifr_policy", "sim", "calibration", "integrations")

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


def test_theory_states_each_of_the_fifteen_once_with_its_assumptions():
    sections = re.split(r"^#+ ", THEORY.read_text(encoding="utf-8"), flags=re.MULTILINE)
    statements = {section.split("]")[0][1:]: section for section in sections if section.startswith("[T")}
    assert sum(section.startswith("[T") for section in sections) == 15
    assert list(statements) == [f"T{i}" for i in range(1, 16)]
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


def test_links_between_documents_lead_somewhere():
    broken = []
    for path in files(".md", ".ipynb"):
        for target in re.findall(r"\[[^\]\n]*\]\(([^)\s]+)\)", prose(path)):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            to = (path.parent / file).resolve() if file else path
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
    missing = [f"{place}: {m[1]}" for place, m in modules if importlib.util.find_spec(m[1]) is None]
    assert not missing, wrong(missing)
