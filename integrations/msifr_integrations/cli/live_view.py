"""What a run shows while it goes on: a view that is drawn anew on a terminal, or a line now and then elsewhere."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live as Drawn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from msifr_integrations.cli.money import TokenPrices, spent_by
from msifr_integrations.generation.progress import Progress
from msifr_policy.errors import InputError

FIRST_LINE = 2.0
"""Seconds after which the first line comes, where the view is lines."""

_WINDOW = 15.0
"""Seconds over which the present pace is measured."""

_FEWEST = 5
"""Attempts that must be done in this session before its end is foretold."""

_BAR = 40
"""Characters of the bar."""

_REASONS = 4
"""Reasons that are shown by name."""


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """How a run is shown. live: None for what suits the output. every: seconds between two lines.

    Raises `InputError` for lines that come more often than once a second.
    """

    live: bool | None = None
    every: float = 30.0

    def __post_init__(self) -> None:
        if not self.every >= 1:
            raise InputError(f"{self.every:g} seconds are too few", where="--live-every", remedy="1 or more")


@dataclass
class Pace:
    """How fast a session is: tokens and attempts per second of late, and when it will end.

    Times are in seconds of any clock.
    """

    _seen: deque[tuple[float, int]] = field(default_factory=deque)
    _first: tuple[float, Progress] | None = None
    _last: tuple[float, Progress] | None = None

    def see(self, now: float, progress: Progress) -> None:
        """Take note of how far the run is."""
        if self._first is None:
            self._first = now, progress
        self._last = now, progress
        self._seen.append((now, progress.tokens))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _WINDOW:
            self._seen.popleft()

    @property
    def tokens_per_second(self) -> float | None:
        """Of late; None before anything is known."""
        if len(self._seen) < 2 or self._seen[-1][0] <= self._seen[0][0]:
            return None
        (begun, before), (now, tokens) = self._seen[0], self._seen[-1]
        return max(tokens - before, 0) / (now - begun)

    @property
    def seconds_left(self) -> float | None:
        """Until the end, at most, at the pace of this session; None before enough attempts are done.

        The end is when all attempts are made, or when the first of the goals is reached: the number of accepted samples
        counts as soon as enough were accepted in this session.
        """
        if self._first is None or self._last is None:
            return None
        (begun, first), (now, last) = self._first, self._last
        if last.done - first.done < _FEWEST or now <= begun:
            return None
        left = [(last.attempts - last.done) / (last.done - first.done)]
        before = last.goals.standing(first.spent)
        for name, (there, goal) in last.goals.standing(last.spent).items():
            made = there - before[name][0]
            if made >= (_FEWEST if name == "accepted" else 1) or (name == "max_cost" and made > 0):
                left.append((goal - there) / made)
        return max(min(left), 0.0) * (now - begun)


@contextmanager
def watching(
    console: Console, options: ViewOptions, prices: TokenPrices | None, *, quiet: bool
) -> Iterator[Callable[[Progress], None]]:
    """Show a run on a console, as a view on a terminal, else as lines; yields what takes its progress.

    quiet: show nothing unless `options.live` asks for it.
    """
    wanted = options.live if options.live is not None else not quiet
    if wanted and console.is_terminal:
        view = _View(prices)
        with Drawn(view, console=console, refresh_per_second=4, transient=True):
            yield view.take
    elif wanted:
        yield _Lines(console, options.every, prices).take
    else:
        yield lambda _: None


class _Lines:
    """A line soon after the beginning, and then one every so many seconds."""

    def __init__(self, console: Console, every: float, prices: TokenPrices | None) -> None:
        self._console, self._every, self._prices = console, every, prices
        self._pace = Pace()
        self._next = time.monotonic() + min(FIRST_LINE, every)

    def take(self, progress: Progress) -> None:
        """Say how far the run is, if it is time."""
        now = time.monotonic()
        self._pace.see(now, progress)
        if now >= self._next and progress.done < progress.attempts:
            self._next = now + self._every
            self._console.print(Text(one_line(progress, self._pace, self._prices)))


class _View:
    """The state of a run as a table, drawn whenever the terminal asks for it."""

    def __init__(self, prices: TokenPrices | None) -> None:
        self._prices = prices
        self._pace = Pace()
        self._progress: Progress | None = None
        self._begun = time.monotonic()

    def take(self, progress: Progress) -> None:
        """Take note of how far the run is."""
        self._pace.see(time.monotonic(), progress)
        self._progress = progress

    def __rich__(self) -> Table | Text:
        """Return what is drawn."""
        progress = self._progress
        if progress is None:
            return Text(f"getting ready: {clock(time.monotonic() - self._begun)}")
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="bold", no_wrap=True)
        rows.add_column(overflow="fold")
        for name, told in view_rows(progress, self._pace, self._prices):
            rows.add_row(name, told)
        rows.add_row("", ProgressBar(total=1.0, completed=share_done(progress), width=_BAR))
        return rows


def share_done(progress: Progress) -> float:
    """Return the share of the run that is done: of its attempts, or of the goal that is nearest."""
    standing = progress.goals.standing(progress.spent).values()
    pairs = [(progress.done, max(progress.attempts, 1)), *standing]
    return min(max(there / goal for there, goal in pairs), 1.0)


def view_rows(progress: Progress, pace: Pace, prices: TokenPrices | None) -> list[tuple[str, str]]:
    """Return the rows of the view: a word, and what is said of it."""
    p = progress
    ended = [f"{p.accepted:,} accepted{_share(p.accepted, p.done)}", f"{p.unaccepted:,} unaccepted"]
    ended.append(f"{p.discarded:,} discarded{_share(p.discarded, p.done)}")
    ended += [f"{p.skipped:,} of them before the first token"] if p.skipped else []
    ended += [f"{p.failed:,} failed"] if p.failed else []
    most = "at most " * bool(p.goals)
    rows = [("attempts", f"{p.done:,} of {most}{p.attempts:,}, {_left(pace)}"), ("ended", ", ".join(ended))]
    if p.goals:
        rows.append(("goal", p.goals.said(p.spent)))
    if p.steered:
        rows.append(("certificate", p.steered))
    if p.by_reason:
        named = [f"{name or 'no reason'} {n:,}" for name, n in list(p.by_reason.items())[:_REASONS]]
        others = sum(list(p.by_reason.values())[_REASONS:])
        rows.append(("discarded by", ", ".join([*named, *([f"others {others:,}"] if others else [])])))
    speed = pace.tokens_per_second
    told = [f"{p.tokens:,}", *([] if speed is None else [f"{speed:,.0f} a second"])]
    if speed is not None and p.slots:
        told.append(f"{speed / p.slots:,.1f} in each slot")
    if p.accepted:
        told.append(f"{p.tokens / p.accepted:,.0f} for each accepted sample")
    rows.append(("tokens", ", ".join(told)))
    if p.slots:
        waiting = f", {p.waiting} of them wait for a first token" if p.waiting else ""
        rows.append(("slots", f"{p.running} of {p.slots} at work{waiting}"))
    if p.discarded:
        rows.append(("saved", f"{_saved(p)} (estimated: what the policy expected discarded attempts still to take)"))
    if prices is not None:
        rows.append(("money", prices.line(spent_by(p))))
    return rows


def one_line(progress: Progress, pace: Pace, prices: TokenPrices | None) -> str:
    """Return how far the run is, in a line."""
    p = progress
    speed = pace.tokens_per_second
    told = [f"{p.done:,} of {'at most ' * bool(p.goals)}{p.attempts:,} attempts"]
    told += [p.goals.said(p.spent)] if p.goals else []
    told += [f"{p.accepted:,} accepted"] if p.goals.accepted is None else []
    told += [
        f"{p.discarded:,} discarded",
        f"{p.tokens:,} tokens" + ("" if speed is None else f" ({speed:,.0f} a second)"),
    ]
    told += [f"{_saved(p)} saved (estimated)"] if p.discarded else []
    told += [prices.line(spent_by(p))] if prices is not None else []
    return "; ".join([", ".join([*told, _left(pace)]), *([p.steered] if p.steered else [])])


def clock(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _left(pace: Pace) -> str:
    left = pace.seconds_left
    return "the end is not in sight yet" if left is None else f"about {clock(left)} left"


def _share(part: int, whole: int) -> str:
    return f" ({part / whole:.0%})" if whole else ""


def _saved(progress: Progress) -> str:
    if progress.tokens_ahead is None:
        return "an unknown number of tokens"
    whole = progress.tokens + progress.tokens_ahead
    return f"{progress.tokens_ahead:,} tokens{_share(progress.tokens_ahead, whole)}"
