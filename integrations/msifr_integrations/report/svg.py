"""Drawing plots as SVG text: linear axes, marks that differ in shape as well as in colour, and a legend below.

Colours are CSS variables of the page around the drawing (`page.css`), so that they follow its dark mode; what stands
behind the comma is for a drawing shown alone. Lengths are in units of the drawing, of which it is `WIDTH` wide: its
letters are 12 high, and still legible where it is as wide as a phone.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape
from textwrap import wrap
from typing import Literal, NamedTuple

WIDTH = 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 18, 10, 40
_ROW = 18
LETTER = 6.8
"""Width of a letter, rather too much than too little: fonts differ."""

Point = tuple[float, float]
Shape = Literal["circle", "square", "diamond", "triangle"]


class Look(NamedTuple):
    """How something is drawn: its colour, the shape of its marks, and the dashes of its lines ("": solid)."""

    colour: str
    shape: Shape = "circle"
    dashes: str = ""


INK, MUTED = "var(--ink, currentColor)", "var(--muted, #767676)"
BLUE = Look("var(--blue, #0067a3)")
ORANGE = Look("var(--orange, #b35900)", "square")
GREEN = Look("var(--green, #00704f)", "diamond")
RED = Look("var(--red, #b3261e)", "triangle", "2 3")
GREY = Look(MUTED, dashes="6 4")

_FILLS: tuple[tuple[str, str], ...] = (
    (BLUE.colour, ""),
    (ORANGE.colour, "M0 8 8 0M-2 2 2-2M6 10 10 6"),
    (GREEN.colour, "M0 4H8"),
    (RED.colour, "M4 0V8"),
    (MUTED, "M0 0 8 8M-2 6 2 10M6-2 10 2"),
    (BLUE.colour, "M0 4H8M4 0V8"),
)
"""Colours of bars with the strokes of their pattern; after the last they begin again."""


class Plot:
    """A plot with linear axes over the ranges x and y, to which things are added in the order they are drawn."""

    def __init__(self, x: Point, y: Point, *, height: float = 230, left: float = _LEFT) -> None:
        self._x, self._y, self._left = _wide(x), _wide(y), left
        self._floor = height - _BOTTOM
        self._axes: list[str] = []
        self._drawn: list[str] = []
        self._legend: list[tuple[str, str]] = []
        self._patterns: dict[int, str] = {}

    def _at(self, x: float, y: float) -> Point:
        (x0, x1), (y0, y1) = self._x, self._y
        across, up = (x - x0) / (x1 - x0), (y - y0) / (y1 - y0)
        return self._left + across * (WIDTH - _RIGHT - self._left), self._floor - up * (self._floor - _TOP)

    def axes(self, x_label: str, y_label: str = "", *, x_percent: bool = True, y_percent: bool = True) -> None:
        """Draw grid, numbers and labels; without `y_label` the y axis has neither."""
        for value in ticks(*self._x):
            px, _ = self._at(value, 0)
            self._axes.append(_line(px, _TOP, px, self._floor, MUTED, width=0.4))
            self._axes.append(_text(px, self._floor + 15, _number(value, x_percent), anchor="middle"))
        whole = 0.0 if y_percent else 1.0  # what is no share is a count
        for value in ticks(min(self._y), max(self._y), least=whole) if y_label else ():
            _, py = self._at(self._x[0], value)
            self._axes.append(_line(self._left, py, WIDTH - _RIGHT, py, MUTED, width=0.4))
            self._axes.append(_text(self._left - 5, py + 4, _number(value, y_percent), anchor="end"))
        middle = (self._left + WIDTH - _RIGHT) / 2
        self._axes.append(_text(middle, self._floor + 33, x_label, anchor="middle"))
        if y_label:
            at = f'transform="rotate(-90 11 {(_TOP + self._floor) / 2:g})"'
            self._axes.append(_text(11, (_TOP + self._floor) / 2 + 4, y_label, anchor="middle", more=at))

    def line(self, points: Sequence[Point], look: Look, words: str = "") -> None:
        """Draw a line through points; `words` put it into the legend."""
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in (self._at(*point) for point in points))
        self._drawn.append(
            f'<polyline points="{path}" fill="none" stroke="{look.colour}" stroke-width="1.8"{_dashes(look)}/>'
        )
        self._name(_line(2, 6, 20, 6, look.colour, look), words)

    def marks(
        self, points: Iterable[Point], look: Look, words: str = "", *, size: float = 4, hollow: bool = False
    ) -> None:
        """Draw a mark at each point."""
        self._drawn += [_mark(*self._at(*point), look, size, hollow=hollow) for point in points]
        self._name(_mark(11, 6, look, size, hollow=hollow), words)

    def bracket(self, start: Point, end: Point, look: Look) -> None:
        """Draw an interval, along x or along y, with short strokes at its ends."""
        (ax, ay), (bx, by) = self._at(*start), self._at(*end)
        dx, dy = (0, 3) if abs(bx - ax) > abs(by - ay) or ay == by else (3, 0)
        self._drawn.append(_line(ax, ay, bx, by, look.colour))
        self._drawn += [_line(px - dx, py - dy, px + dx, py + dy, look.colour) for px, py in ((ax, ay), (bx, by))]

    def bar(self, x: Point, y: Point, number: int) -> None:
        """Draw a bar filled by the pattern of this number."""
        (ax, ay), (bx, by) = self._at(x[0], y[0]), self._at(x[1], y[1])
        self._drawn.append(
            f'<rect x="{ax:.1f}" y="{by:.1f}" width="{max(bx - ax, 0.5):.1f}" height="{max(ay - by, 0):.1f}" '
            f"{self._filled(number)}/>"
        )

    def bar_name(self, number: int, words: str) -> None:
        """Put the pattern of this number into the legend."""
        self._name(f'<rect x="4" width="14" height="12" {self._filled(number)}/>', words)

    def word(self, at: Point, words: str, *, left: bool = False) -> None:
        """Write words at a point, or left of the axis at its height."""
        px, py = self._at(*at)
        self._drawn.append(_text(self._left - 9 if left else px, py + 4, words, anchor="end" if left else "middle"))

    def svg(self, label: str) -> str:
        """Return the drawing; `label` says what it shows to whoever does not see it."""
        rows, y = [], self._floor + 50
        for sample, words in self._legend:
            for i, line in enumerate(wrap(words, int((WIDTH - 40) / LETTER), break_on_hyphens=False)):
                rows.append(_text(34, y + 4, line, anchor="start"))
                if i == 0:
                    rows.append(f'<g transform="translate(6 {y - 6:g})">{sample}</g>')
                y += _ROW
        height = y - 4 if self._legend else self._floor + _BOTTOM
        patterns = f"<defs>{''.join(self._patterns.values())}</defs>" if self._patterns else ""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img" '
            f'aria-label="{escape(label)}" font-family="system-ui, sans-serif" font-size="12">'
            f"{patterns}{''.join(self._axes)}{''.join(self._drawn)}{''.join(rows)}</svg>"
        )

    def _name(self, sample: str, words: str) -> None:
        if words:
            self._legend.append((sample, words))

    def _filled(self, number: int) -> str:
        number %= len(_FILLS)
        colour, strokes = _FILLS[number]
        if not strokes:
            return f'fill="{colour}" stroke="{colour}"'
        self._patterns[number] = (
            f'<pattern id="fill{number}" width="8" height="8" patternUnits="userSpaceOnUse">'
            f'<path d="{strokes}" stroke="{colour}" stroke-width="2.2"/></pattern>'
        )
        return f'fill="url(#fill{number})" stroke="{colour}"'


def ticks(low: float, high: float, most: int = 6, least: float = 0.0) -> list[float]:
    """Return round numbers between low and high, at most so many and at least so far apart."""
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(m for m in (1, 2, 5, 10, 20) if (high - low) / (m * step) <= most - 1 + 1e-9)
    step = max(step, least)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _wide(ends: Point) -> Point:
    low, high = ends
    return (low, high) if high != low else (low, low + 1)


def _number(value: float, percent: bool) -> str:
    return f"{round(100 * value, 6):g}%" if percent else f"{round(value, 6):g}"


def _line(x0: float, y0: float, x1: float, y1: float, colour: str, look: Look | None = None, width: float = 1.8) -> str:
    place = f'x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
    return f'<line {place} stroke="{colour}" stroke-width="{width:g}"{_dashes(look)}/>'


def _dashes(look: Look | None) -> str:
    return f' stroke-dasharray="{look.dashes}"' if look is not None and look.dashes else ""


def _mark(x: float, y: float, look: Look, size: float, *, hollow: bool) -> str:
    a = size * 1.25
    shapes = {
        "square": [(-size, -size), (size, -size), (size, size), (-size, size)],
        "diamond": [(0, -a - 1), (a, 0), (0, a + 1), (-a, 0)],
        "triangle": [(0, -a), (a, size), (-a, size)],
    }
    fill = f'fill="{"none" if hollow else look.colour}" stroke="{look.colour}" stroke-width="1.4"'
    if look.shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:g}" {fill}/>'
    corners = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in shapes[look.shape])
    return f'<polygon points="{corners}" {fill}/>'


def _text(x: float, y: float, words: str, *, anchor: str, more: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{f" {more}" if more else ""}'
    return f'<text {place} fill="{INK}">{escape(words)}</text>'
