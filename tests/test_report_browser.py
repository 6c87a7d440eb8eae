"""The page of a report in a real browser: on a desktop, a phone, in the dark, and on paper.

Runs where a Chromium is on the PATH (or named by CHROMIUM). Pictures go to the folder that SCREENSHOTS names.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from browser import chromium, find_chromium
from msifr_integrations.cli import main
from reports import make_runs

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no Chromium on the PATH; CHROMIUM may name one")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def pages(runs, tmp_path_factory):
    """Pages of a paired run with everything, of a policy alone, and of a run alone."""
    folder = tmp_path_factory.mktemp("pages")
    given = {
        "everything": [runs.with_policy, runs.policy, runs.full, runs.traces],
        "policy": [runs.policy],
        "run": [runs.with_policy],
    }
    for name, inputs in given.items():
        result = CliRunner().invoke(main, ["report", *map(str, inputs), "-o", str(folder / f"{name}.html")])
        assert result.exit_code == 0, result.output
    return {name: folder / f"{name}.html" for name in given}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium")) as page:
        yield page


SHOWN = {
    "desktop": {},
    "phone": {"width": 360, "height": 740, "phone": True},
    "dark": {"dark": True},
    "phone-dark": {"width": 360, "height": 740, "phone": True, "dark": True},
}


@pytest.mark.parametrize("name", ["everything", "policy", "run"])
@pytest.mark.parametrize("how", SHOWN)
def test_no_page_is_wider_than_its_window_complains_or_asks_for_anything(browser, pages, pictures, name, how):
    browser.errors.clear()
    browser.asked.clear()
    browser.show(pages[name], **SHOWN[how])
    browser.picture(pictures / f"{name}-{how}.png")
    width, window = browser.run("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= window == SHOWN[how].get("width", 1200)
    outside = browser.run(
        "[...document.querySelectorAll('h1, h2, p, svg, article, select, input, button, .text, dl')]"
        ".filter((one) => one.getBoundingClientRect().right > window.innerWidth + 0.5).map((one) => one.outerHTML)"
    )
    assert outside == []
    assert browser.errors == []
    assert browser.asked == [f"file://{pages[name]}"]


_CONTRAST = """
(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = (one) => {
    for (; one; one = one.parentElement) {
      const colour = numbers(getComputedStyle(one).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !one.checkVisibility() || one.closest("script, option, :disabled")) continue;
    const style = getComputedStyle(one);
    const ink = one.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(numbers(ink)), light(paper(one))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) low.push([contrast.toFixed(2), one.className, walker.currentNode.data.slice(0, 40)]);
  }
  return low;
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_every_letter_stands_out_from_its_paper_and_dark_is_dark(browser, pages, dark):
    browser.show(pages["everything"], dark=dark)
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.run(_CONTRAST) == []
    red, green, blue = map(int, re.findall(r"\d+", browser.run("getComputedStyle(document.body).backgroundColor"))[:3])
    assert (max(red, green, blue) < 40) if dark else (min(red, green, blue) > 240)
    lines = browser.run("[...document.querySelectorAll('svg [stroke]')].map((one) => getComputedStyle(one).stroke)")
    assert len(set(lines)) > 3
    assert all("var" not in colour for colour in lines)


def test_letters_of_plots_are_legible_on_a_phone(browser, pages):
    browser.show(pages["everything"], **SHOWN["phone"])
    heights = browser.run("[...document.querySelectorAll('svg text')].map((t) => t.getBoundingClientRect().height)")
    assert len(heights) > 50
    widths = browser.run(
        "[...document.querySelectorAll('svg')].map((svg) => [svg.getBoundingClientRect(), ...[...svg.querySelectorAll("
        "'text')].map((t) => t.getBoundingClientRect())].map((r) => [r.left, r.right]))"
    )
    for (left, right), *texts in widths:
        assert all(left - 1 <= start and end <= right + 1 for start, end in texts)
    sizes = browser.run(
        "[...document.querySelectorAll('svg')].map((svg) => 12 * svg.getBoundingClientRect().width / "
        "svg.viewBox.baseVal.width)"
    )
    assert min(sizes) >= 11


def attempt(browser):
    return browser.run("document.querySelector('#attempt h3')?.textContent")


def choose(browser, name, value):
    browser.run(
        f"(() => {{ const one = document.getElementById('{name}'); one.value = {value!r}; "
        f"one.dispatchEvent(new Event('{'input' if name == 'by-words' else 'change'}')); }})()"
    )


def count(browser):
    return browser.run("document.getElementById('count').textContent")


def test_the_viewer_opens_on_what_was_lost_and_shows_what_decided(browser, pages, pictures):
    browser.show(pages["everything"])
    assert "lost: discarded, and it would have been accepted" in browser.run("document.body.innerText")
    marked = browser.run("document.querySelector('#attempt mark').textContent")
    a, op, b, c = re.match(r"(\d+)([-+*/])(\d+)=(\d+)$", marked).groups()
    assert {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b), "/": int(a) / int(b)}[op] != int(c)
    decoration = browser.run("getComputedStyle(document.querySelector('#attempt mark')).textDecorationLine")
    assert decoration == "underline"  # not by colour alone
    order = browser.run(
        "[...document.querySelector('#attempt .text:last-of-type').children].map((one) => one.className)"
    )
    assert order.index("evidence") < order.index("decision") < order.index("after")
    box = browser.run(
        "(() => { const r = document.getElementById('viewer').getBoundingClientRect(); "
        "return {x: r.x, y: r.y + scrollY, width: r.width, height: r.height}; })()"
    )
    browser.picture(pictures / "viewer.png", clip=box)


def test_the_viewer_is_walked_by_keys_and_narrowed_by_fate_reason_group_and_words(browser, pages):
    browser.show(pages["everything"])
    first = attempt(browser)
    assert count(browser) == "1 of 200"
    browser.press("ArrowRight")
    second = attempt(browser)
    assert (first != second, count(browser)) == (True, "2 of 200")
    browser.press("ArrowLeft")
    assert attempt(browser) == first
    browser.press("ArrowLeft")
    assert attempt(browser) == first  # there is none before
    browser.run("document.getElementById('next').focus()")
    browser.press("ArrowRight")
    assert attempt(browser) == second
    choose(browser, "by-kind", "kept")
    kept = int(count(browser).split()[-1])
    assert 0 < kept < 200
    assert "finished and accepted" in browser.run("document.getElementById('attempt').innerText")
    choose(browser, "by-group", "3-step")
    assert 0 < int(count(browser).split()[-1]) < kept
    choose(browser, "by-kind", "")
    choose(browser, "by-reason", "arithmetic")
    assert "false:" in browser.run("document.getElementById('attempt').innerText")
    choose(browser, "by-words", "no text has this in it")
    assert count(browser) == "none fits"
    assert browser.run("document.getElementById('next').disabled")
    browser.press("ArrowRight")
    choose(browser, "by-words", "")
    choose(browser, "by-group", "")
    choose(browser, "by-reason", "")
    choose(browser, "by-words", first.upper())
    assert (count(browser), attempt(browser)) == ("1 of 1", first)


def test_everything_that_can_be_used_can_be_used_by_keyboard(browser, pages):
    browser.show(pages["everything"])
    wanted = {"by-kind", "by-group", "by-words", "next", "pick"}  # where there is but one reason, there is no choice
    seen = set()
    for _ in range(80):
        browser.press("Tab")
        seen.add(browser.run("document.activeElement.id"))
    assert wanted <= seen
    names = browser.run(
        "[...document.querySelectorAll('select, input, button')].map((one) => "
        "(one.labels?.[0]?.textContent || one.textContent).trim())"
    )
    assert all(names)


def test_texts_of_models_are_never_read_as_html(browser, runs, tmp_path):
    lines = runs.full.read_text().splitlines()[:4]
    nasty = "</script><img src=x onerror=\\\"document.title='owned'\\\"><script>document.title='owned'</script>"
    path = tmp_path / "nasty.jsonl"
    path.write_text("".join(re.sub(r'"text":"[^"]*"', f'"text":"{nasty}"', line) + "\n" for line in lines))
    out = tmp_path / "nasty.html"
    result = CliRunner().invoke(main, ["report", str(path), "-o", str(out)])
    assert result.exit_code == 0, result.output
    browser.errors.clear()
    browser.show(out)
    assert browser.run("document.title") == "Report on nasty.jsonl"
    assert "<img src=x" in browser.run("document.querySelector('#attempt .text:last-of-type').textContent")
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert browser.errors == []


@pytest.mark.parametrize("name", ["everything", "policy", "run"])
def test_on_paper_no_heading_is_left_at_the_end_of_a_page(browser, pages, pictures, name):
    browser.show(pages[name])
    headings = {re.sub(r"\s+", " ", each) for each in browser.run(
        "[...document.querySelectorAll('h2, h3, h4, caption:not(.hidden)')].map((one) => one.textContent)"
    )}  # fmt: skip
    pdf = pictures / f"{name}.pdf"
    browser.print(pdf)
    assert pdf.read_bytes().startswith(b"%PDF")
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext (poppler-utils): what stands at the end of printed pages was not read")
    text = poppler("pdftotext", "-layout", pdf, "-")
    last = [page.strip().splitlines()[-1].strip() for page in text.split("\f") if page.strip()]
    assert last
    assert not headings & set(last)
    if shutil.which("pdftoppm"):
        poppler("pdftoppm", "-r", 60, "-png", pdf, pictures / f"{name}-print")


def poppler(tool, *arguments):
    """Run one of Poppler's tools and return what it prints."""
    command = [shutil.which(tool), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True).stdout.decode()  # noqa: S603
