"""One self-contained HTML page: sentences, tables and figures, everything escaped."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from msifr_policy.files import replacing


class Figure(NamedTuple):
    """A plot (`svg` of `plots`) with its title and a caption that says what to see in it."""

    title: str
    svg: str
    caption: str


class Table(NamedTuple):
    """A table with a title; cells are text."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; }
td, th { padding: .25rem .9rem .25rem 0; text-align: left; border-bottom: 1px solid #ddd; }
td:not(:first-child) { font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; } figcaption { color: #555; max-width: 44rem; }
svg { max-width: 100%; height: auto; }
.lead li { margin: .25rem 0; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<ul class="lead">{% for line in lead %}<li>{{ line }}</li>{% endfor %}</ul>
{% for table in tables %}
<h2>{{ table.title }}</h2>
<table><thead><tr>{% for cell in table.head %}<th scope="col">{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</tbody>
</table>
{% endfor %}
{% for figure in figures %}
<h2>{{ figure.title }}</h2>
<figure role="img" aria-label="{{ figure.title }}. {{ figure.caption }}">{{ figure.svg | safe }}
<figcaption>{{ figure.caption }}</figcaption></figure>
{% endfor %}
<p><small>{{ footer }}</small></p>
</body>
</html>
"""


def write_page(
    path: str | os.PathLike[str],
    *,
    title: str,
    lead: Sequence[str],
    tables: Sequence[Table] = (),
    figures: Sequence[Figure] = (),
    footer: str = "",
) -> None:
    """Write the page, whole or not at all."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    html = environment.from_string(_TEMPLATE).render(
        title=title, lead=lead, tables=tables, figures=figures, footer=footer
    )
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
