"""Fenced blocks in a text: what stands between two lines of backticks."""

_FENCE = "```"


def last_block(text: str, languages: frozenset[str]) -> str | None:
    """Return the last closed block fenced as one of `languages` (lower case), or None; one pass over the lines.

    A block that the text breaks off in is none: its end is missing.
    """
    found: str | None = None
    ticks, wanted, lines = 0, False, list[str]()
    for line in text.splitlines(keepends=True):
        stripped = line.strip()
        run = len(stripped) - len(stripped.lstrip("`"))
        if ticks == 0:
            if stripped.startswith(_FENCE) and "`" not in stripped[run:]:
                ticks, wanted, lines = run, stripped[run:].strip().lower() in languages, []
        elif run >= ticks and run == len(stripped):
            if wanted:
                found = "".join(lines)
            ticks = 0
        elif wanted:
            lines.append(line)
    return found
