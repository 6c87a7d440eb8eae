"""The plots of a report, each a function from numbers to an SVG text. No global matplotlib state is touched."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msifr_policy.policy_file import FrontierPoint
from msifr_sim import Summary

# Distinguishable with any colour vision (Okabe and Ito 2008), and each mark also differs in shape.
_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
_CYCLE = (_BLUE, _ORANGE, _GREEN, _RED, "#CC79A7", "#56B4E9", "#F0E442", _GREY)


def _axes(height: float = 3.8) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _svg(figure: Any) -> str:
    import matplotlib as mpl

    out = io.StringIO()
    # Text stays text, and equal numbers give equal files.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "msifr"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def frontier_plot(
    frontier: Sequence[FrontierPoint],
    *,
    chosen: tuple[float, float] | None,
    realised: tuple[float, float] | None,
    max_false_reject: float,
) -> str:
    """Draw saving rate against false-reject rate along the path, with the break-even line s = f [T2].

    `chosen` and `realised` are (f, s) of the certified policy on the certification data and on fresh prompts.
    """
    figure, axes = _axes()
    f, s = [0.0, *(p.false_reject_rate for p in frontier)], [0.0, *(p.saving_rate for p in frontier)]
    top = max(*f, max_false_reject) * 1.15 + 0.01
    axes.plot(f, s, ".-", color=_BLUE, label="path of policies (certification prompts)")
    axes.plot([0, top], [0, top], "--", color=_GREY, label="break-even: s = f")
    axes.axvline(max_false_reject, color=_RED, linestyle=":", label=f"certified budget α = {max_false_reject:g}")
    if chosen:
        axes.plot(*chosen, "s", color=_ORANGE, markersize=9, label="certified policy")
    if realised:
        axes.plot(*realised, "*", color=_GREEN, markersize=13, label="realised on fresh prompts")
    axes.set(xlabel="false-reject rate f", ylabel="saving rate s", xlim=(0, top))
    axes.legend(fontsize=8)
    return _svg(figure)


def stops_plot(counts: Mapping[str, NDArray[np.int64]]) -> str:
    """Draw where attempts are discarded: one bar per checkpoint 0 … K, stacked by reason (`[K + 1]` counts each)."""
    figure, axes = _axes()
    length = max((len(c) for c in counts.values()), default=0)
    bottom = np.zeros(length)
    for i, (reason, count) in enumerate(counts.items()):
        padded = np.pad(count, (0, length - len(count)))
        axes.bar(np.arange(length), padded, bottom=bottom, color=_CYCLE[i % len(_CYCLE)], label=reason)
        bottom += padded
    axes.set(xlabel="checkpoint", ylabel="attempts discarded")
    if counts:
        axes.legend(title="reason", fontsize=8)
    else:
        axes.text(0.5, 0.5, "the policy never fired", transform=axes.transAxes, ha="center")
    return _svg(figure)


def reliability_plot(M: NDArray[np.float64], accepted: NDArray[np.bool_], *, bins: int = 10) -> str:
    """Draw the share accepted against the posterior, in bins of equal counts, with binomial error bars.

    M and accepted are `[n]`, one per attempt: attempts, not checkpoints, are (nearly) independent.
    """
    figure, axes = _axes()
    order = [i for i in np.array_split(np.argsort(M, kind="stable"), bins) if len(i)]
    x, y, n = np.asarray([(M[i].mean(), accepted[i].mean(), len(i)) for i in order]).reshape(-1, 3).T
    error = 1.96 * np.sqrt(np.maximum(y * (1 - y), 0.25 / n) / n)
    axes.plot([0, 1], [0, 1], "--", color=_GREY, label="calibrated")
    axes.errorbar(x, y, yerr=error, fmt="o", color=_BLUE, label="held-out prompts, 95 %")
    axes.set(xlabel="posterior M", ylabel="share accepted", xlim=(0, 1), ylim=(-0.02, 1.02))
    axes.legend(fontsize=8)
    return _svg(figure)


def simulated_plot(simulated: Summary, realised: Summary) -> str:
    """Draw the headline numbers [T2] with their intervals, simulated beside realised."""
    names = {
        "saving_rate": "saving rate s",
        "false_reject_rate": "false-reject rate f",
        "net_cost_factor": "net cost factor",
    }
    figure, axes = _axes(height=0.7 + 0.9 * len(names))
    for summary, shift, colour, mark, label in (
        (simulated, -0.12, _BLUE, "s", "simulated before the run"),
        (realised, 0.12, _GREEN, "*", "realised"),
    ):
        values = np.asarray([getattr(summary, name) or 0.0 for name in names])
        ends = [getattr(summary, f"{name}_ci") or (value, value) for name, value in zip(names, values, strict=True)]
        low, high = np.asarray(ends).T
        error = np.maximum([values - low, high - values], 0)
        y = np.arange(len(names)) + shift
        axes.errorbar(values, y, xerr=error, fmt=mark, color=colour, markersize=8, label=label)
    axes.set_yticks(range(len(names)), list(names.values()))
    axes.invert_yaxis()
    axes.margins(y=0.3)
    axes.legend(fontsize=8)
    return _svg(figure)
