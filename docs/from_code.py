"""What the site adds to the pages, while `make docs` builds it.

Pages are made from the code, so that they cannot be stale: the words (`msifr_integrations.terms`), the commands (their
own help), the Python names (their docstrings, read without being imported); and from the notebooks and results that lie
beside the documents. References to statements, such as "[T6]", become links. A page that would ask another host for
anything fails the build.
"""

import ast
import json
import posixpath
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from msifr_integrations.cli import main
from msifr_integrations.terms import TERMS

ROOT = Path(__file__).resolve().parents[1]
FACES = {
    "msifr_policy": ROOT / "msifr_policy",
    "msifr_policy.testing": ROOT / "msifr_policy/testing",
    "msifr_policy.validators": ROOT / "msifr_policy/validators",
    "msifr_sim": ROOT / "sim/msifr_sim",
    "msifr_calibration": ROOT / "calibration/msifr_calibration",
    "msifr_calibration.monitor": ROOT / "calibration/msifr_calibration/monitor",
    "msifr_integrations": ROOT / "integrations/msifr_integrations",
}
"""Packages whose public names the reference shows: those of the stub beside their `__init__`."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that come from the code."""
    pages = {"glossary.md": glossary(), "reference/commands.md": commands()}
    pages |= {f"reference/{package}.md": reference(package) for package in FACES}
    pages |= {f"notebooks/{path.stem}.md": notebook(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    pages["results.md"] = (ROOT / "benchmarks/RESULTS.md").read_text("utf-8")
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make "[T6]" or "[T8, T9]" in prose links to the statements, and mend links to what lies beside the documents."""
    del config, files
    here = posixpath.dirname(page.file.src_uri) or "."
    theory = posixpath.relpath("theory.md", here)
    markdown = markdown.replace("../benchmarks/RESULTS.md", posixpath.relpath("results.md", here))
    markdown = re.sub(
        r"\]\((?:\.\./)*notebooks/(\w+)\.ipynb\)", rf"]({posixpath.relpath('notebooks', here)}/\1.md)", markdown
    )
    anchors = statements()

    def linked(found: re.Match[str]) -> str:
        if found["code"] or found["heading"]:
            return found[0]
        links = re.sub(r"T\d+", lambda name: f"[{name[0]}]({theory}#{anchors[name[0]]})", found["names"])
        return rf"\[{links}\]"

    pattern = (
        r"(?P<code>^ *(?P<fence>```+).*?^ *(?P=fence)|`[^`\n]+`)|(?P<heading>^#[^\n]*$)"
        r"|\[(?P<names>T\d+(?:(?:, ?| ?– ?)T\d+)*)\](?![(\[])"
    )
    return re.sub(pattern, linked, markdown, flags=re.MULTILINE | re.DOTALL)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that loads something from elsewhere; links to click on are fine."""
    del config
    loads = _Loads()
    loads.feed(output)
    if outside := [address for address in loads.addresses if re.match(r"(https?:)?//", address)]:
        raise PluginError(f"{page.file.src_uri} would load {', '.join(outside)}")
    return output


class _Loads(HTMLParser):
    """Collects the addresses of what a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the address of a picture, script, frame, style or the like."""
        given = dict(attrs)
        address = given.get("href" if tag == "link" else "src")
        if tag != "a" and address:
            self.addresses.append(address)


def statements() -> dict[str, str]:
    """Return the anchors of the statements of the theory by their names."""
    headings = re.findall(r"^### \[(T\d+)\] (.+)$", (ROOT / "docs/theory.md").read_text("utf-8"), re.MULTILINE)
    return {name: slug(f"{name} {title}") for name, title in headings}


def slug(heading: str) -> str:
    """Return the anchor of a heading, as the site and GitHub make it."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def glossary() -> str:
    """Return the page of words."""
    lines = [
        "# Words",
        "",
        "What commands and reports print, for someone who does not know the theory. `msifr help WORD` says the same.",
    ]
    for term in TERMS.values():
        symbol = f" ({term.symbol})" if term.symbol else ""
        where = f" See {_place(term.where)}." if term.where else ""
        lines += ["", f"## {term.name}{symbol}", "", f"**{_plain(term.meaning)}**", "", f"{_plain(term.more)}{where}"]
    return "\n".join(lines) + "\n"


def _place(where: str) -> str:
    """Return a link to a section or statement of the theory."""
    if found := re.fullmatch(r"§(\d+)", where):
        heading = re.search(rf"^## ({found[1]}\. .+)$", (ROOT / "docs/theory.md").read_text("utf-8"), re.MULTILINE)
        return f"[theory {where}](theory.md#{slug(heading[1])})" if heading else f"theory {where}"
    return where


def commands() -> str:
    """Return the page of commands: what each says with `--help`."""
    lines = ["# Commands", "", "What `msifr COMMAND --help` prints.", ""]
    context = click.Context(main, info_name="msifr", terminal_width=100, max_content_width=100)
    every = {name: main.get_command(context, name) or main for name in ("", *main.list_commands(context))}
    for name, command in every.items():
        of = click.Context(command, info_name=name, parent=context) if name else context
        of.terminal_width = of.max_content_width = 100
        lines += [f"## msifr {name}".rstrip(), "", "```text", command.get_help(of).replace("```", "'''"), "```", ""]
    return "\n".join(lines)


def reference(package: str) -> str:
    """Return the page of a package: its public names."""
    lines = [
        f"# {package}",
        "",
        "Public names, by their docstrings. Shapes stand before what they are of, such as `[B, K]`; costs are in",
        "tokens or characters, whichever a table says.",
        *(f"\n::: {package}.{name}" for name in public_names(FACES[package])),
    ]
    return "\n".join(lines) + "\n"


def notebook(path: Path) -> str:
    """Return a notebook as a page: its prose, its code and what that shows."""
    lines = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            lines += [source.replace("../docs/", "../"), ""]
            continue
        lines += ["```python", source, "```", ""]
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/svg+xml" in data:
                lines += [f"<div>{''.join(data['image/svg+xml'])}</div>", ""]
            elif text := "".join(output.get("text", data.get("text/plain", []))):
                lines += ["```text", text.rstrip(), "```", ""]
    return "\n".join(lines)


def public_names(folder: Path) -> Iterator[str]:
    """Yield every name that a package shows."""
    for node in ast.parse((folder / "__init__.pyi").read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            yield from (each.name for each in node.names)


def _plain(text: str) -> str:
    """Return text that Markdown leaves as it is."""
    return re.sub(r"([*_<>])", r"\\\1", " ".join(text.split()))


__all__: list[Any] = ["on_files", "on_page_markdown", "on_post_page"]
