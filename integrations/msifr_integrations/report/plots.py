"""The plots of a report, each a function from numbers to SVG text (`svg`).

Nothing is told by colour alone: marks differ in shape, lines in dashes, bars in pattern. Whoever hears a plot
instead of seeing it is told its numbers.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from msifr_integrations.report.numbers import Bin, Estimate
from msifr_integrations.report.svg import BLUE, GREEN, GREY, LETTER, ORANGE, RED, Look, Plot
from msifr_policy.policy_file import FrontierPoint

_LOOKS: tuple[Look, ...] = (BLUE, GREEN, ORANGE)


def frontier_plot(
    frontier: Sequence[FrontierPoint],
    *,
    chosen: tuple[float, float] | None,
    realised: tuple[float, float] | None,
    max_false_reject: float,
    n_certified: int = 0,
    intervals: tuple[tuple[float, float], tuple[float, float]] | None = None,
) -> str:
    """Draw saving rate against false-reject rate along the path, with the break-even line s = f [T2].

    `chosen` and `realised` are (f, s) of the certified policy on the certification data and on other attempts. The
    first `n_certified` points are the certified ones: full marks, the others hollow. `intervals` are those of the
    realised f and s. Shown is where f is up to four times the budget, and the intervals.
    """
    points = [(p.false_reject_rate, p.saving_rate) for p in frontier]
    f_most = max(4 * max_false_reject, *(point[0] * 1.1 for point in (chosen, realised) if point), 0.02)
    f_most = min(f_most, max(max_false_reject * 1.2, 1.05 * max((f for f, _ in points), default=1.0), 0.02))
    others = [point for point in (chosen, realised) if point]
    if intervals:
        f_most = max(f_most, 1.03 * intervals[0][1])
        others += [(0.0, s) for s in intervals[1]]
    shown = [point for point in points if point[0] <= f_most]
    s_most = 1.08 * max([s for _, s in (*shown, *others)] + [0.05])
    plot = Plot((0, f_most), (min(0, *(s for _, s in (*shown, *others, (0, 0)))), s_most))
    plot.axes("false-reject rate f", "saving rate s")
    plot.line([(0, 0), (min(f_most, s_most), min(f_most, s_most))], GREY, "break-even s = f: above it a policy pays")
    plot.line(
        [(max_false_reject, 0), (max_false_reject, s_most)], RED, f"budget: f at most {100 * max_false_reject:.3g}%"
    )
    plot.line([(0.0, 0.0), *shown], BLUE._replace(colour=GREY.colour))
    certified, rest = shown[:n_certified], shown[n_certified:]
    if certified:
        plot.marks(certified, BLUE, f"certified policies of the path ({n_certified})", size=3.2)
    if rest:
        words = "bolder ones: no promise is made of them" if certified else "path of policies"
        plot.marks(rest, BLUE, words, size=3.2, hollow=True)
    if realised and intervals:
        (f_low, f_high), (s_low, s_high) = intervals
        plot.bracket((f_low, realised[1]), (f_high, realised[1]), GREEN)
        plot.bracket((realised[0], s_low), (realised[0], s_high), GREEN)
    said = [f"{len(frontier)} policies of the path, {n_certified} of them certified."]
    for point, look, words in (
        (chosen, ORANGE, "the certified policy, on the prompts it was certified on"),
        (realised, GREEN, "the same policy, measured here" + ", with 95% intervals" * (intervals is not None)),
    ):
        if point:
            plot.marks([point], look, f"{words}: f {point[0]:.1%}, s {point[1]:.1%}", size=5)
            said.append(f"{words}: f {point[0]:.1%}, s {point[1]:.1%}.")
    return plot.svg(f"Saving rate against false-reject rate. {' '.join(said)}")


def stops_plot(counts: Mapping[str, NDArray[np.int64]]) -> str:
    """Draw where attempts are discarded: one bar per checkpoint 0 … K, stacked by reason (`[K + 1]` counts each)."""
    length = max((len(c) for c in counts.values()), default=1)
    padded = {reason: np.pad(c, (0, length - len(c))) for reason, c in counts.items()}
    tallest = float(sum(padded.values(), np.zeros(length)).max(initial=0))
    plot = Plot((-0.6, length - 0.4), (0, 1.08 * tallest or 1))
    plot.axes("checkpoint (0: before the first token)", "attempts discarded", x_percent=False, y_percent=False)
    bottom = np.zeros(length)
    for number, (reason, count) in enumerate(padded.items()):
        for k in np.flatnonzero(count).tolist():
            plot.bar((k - 0.4, k + 0.4), (bottom[k], bottom[k] + count[k]), number)
        bottom += count
        plot.bar_name(number, f"{reason} ({count.sum()})")
    if not tallest:
        plot.word((length / 2 - 0.5, 0.5), "nothing was discarded")
    said = "; ".join(
        f"{reason}: " + ", ".join(f"{n} at checkpoint {k}" for k, n in enumerate(count.tolist()) if n)
        for reason, count in padded.items()
    )
    return plot.svg(f"Attempts discarded by checkpoint and reason. {said or 'None.'}")


def reliability_plot(bins: Sequence[Bin]) -> str:
    """Draw the share accepted against the posterior, with intervals."""
    plot = Plot((0, 1), (0, 1), height=260)
    plot.axes("posterior M: believed share accepted", "share accepted in the end")
    plot.line([(0, 0), (1, 1)], GREY, "what is believed is what happens")
    for each in bins:
        plot.bracket((each.posterior, each.low), (each.posterior, each.high), BLUE)
    plot.marks(
        [(each.posterior, each.accepted) for each in bins], BLUE, "attempts, in groups of equal size; 95% intervals"
    )
    said = ", ".join(f"believed {b.posterior:.0%}, accepted {b.accepted:.0%}" for b in bins)
    return plot.svg(f"Reliability of the posterior. {said}.")


def estimates_plot(
    rows: Mapping[str, Sequence[Estimate | None]],
    names: Sequence[str],
    *,
    x_label: str,
    limit: float | None = None,
    percent: bool = True,
) -> str:
    """Draw estimates with their intervals, one row of the plot for each word of `rows`, one mark for each of `names`.

    `limit` is drawn as a line: the budget.
    """
    known = [each for row in rows.values() for each in row if each is not None]
    ends = [x for each in known for x in (each.value, each.low, each.high) if x is not None] + [limit or 0.0]
    top = max(*ends, 0.01)
    longest = max((len(word) for word in rows), default=0)
    plot = Plot(
        (min(0.0, *ends), 1.06 * top), (len(rows) - 0.4, -0.6),
        height=56 + 17 * max(len(names), 1.4) * len(rows), left=min(18 + LETTER * longest, 145),
    )  # fmt: skip
    plot.axes(x_label, x_percent=percent)
    if limit is not None:
        plot.line([(limit, -0.6), (limit, len(rows) - 0.4)], RED, f"budget: at most {100 * limit:.3g}%")
    for i, name in enumerate(names):
        look = _LOOKS[i % len(_LOOKS)]
        shift = (i - (len(names) - 1) / 2) * 0.3
        here = [(row[i], place + shift) for place, row in enumerate(rows.values())]
        for each, y in here:
            if each is not None and each.low is not None and each.high is not None:
                plot.bracket((each.low, y), (each.high, y), look)
        plot.marks([(e.value, y) for e, y in here if e is not None], look, name)
    for place, word in enumerate(rows):
        plot.word((0, place), word if len(word) <= 19 else word[:18] + "…", left=True)
    said = "; ".join(
        f"{word}: "
        + ", ".join(f"{name} {e.said(percent)}" for name, e in zip(names, row, strict=True) if e is not None)
        for word, row in rows.items()
    )
    return plot.svg(f"{x_label}. {said}.")
