"""The README's numbers, from the committed result files: `python -m benchmarks.readme [--check]`.

Rewrites the part of README.md between the markers, or with --check says whether it is up to date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
BEGIN, END = "<!-- results: python -m benchmarks.readme -->\n", "<!-- end of results -->"


def _records(name: str) -> dict[str, Any]:
    return {record["metric"]: record for record in json.loads((RESULTS / f"{name}.json").read_text())}


def _demo_rows() -> list[tuple[str, str, str]]:
    demo = json.loads((RESULTS / "demo.json").read_text())
    full, with_policy, realised = demo["without_policy"], demo["with_policy"], demo["realised"]
    certificate, simulated = demo["certificate"], demo["simulated"]["replay"]
    return [
        (
            "Embedded model: tokens per accepted sample",
            f"{with_policy['tokens_per_accepted']:.1f} ({demo['tokens_per_accepted_change']:+.1%})",
            f"{full['tokens_per_accepted']:.1f} without a policy",
        ),
        (
            "Embedded model: good samples lost",
            f"{realised['false_reject_rate']:.1%}",
            f"certified at most {certificate['max_false_reject']:.0%}, confidence {certificate['confidence']:.0%}",
        ),
        (
            "Embedded model: tokens saved",
            f"{realised['saving_rate']:.1%}",
            f"{simulated['saving_rate']:.1%} simulated before the run",
        ),
        (
            "Embedded model: conversion efficiency",
            f"{with_policy['conversion_efficiency']:.2f}",
            f"slot engine, {demo['settings']['slots']} slots, {demo['environment']['cores']} cores",
        ),
    ]


def _trace_rows(families: tuple[str, ...]) -> list[tuple[str, str, str]]:
    records = _records("real_traces")
    rows = []
    for family in families:
        factor, low, high, cap, oracle, f = (
            records[f"{family} {what}"]["value"]
            for what in (
                "net cost factor", "interval low", "interval high", "length cap factor", "oracle factor",
                "false-reject rate",
            )
        )  # fmt: skip
        rows.append(
            (
                f"{family}: net cost factor",
                f"{factor:.3f} [{low:.3f}, {high:.3f}], f = {f:.1%}",
                f"{cap:.3f} best length cap, {oracle:.3f} oracle",
            )
        )
    return rows


def results() -> str:
    """Return the table of results as Markdown."""
    from benchmarks.real_traces import FOUR

    rows = [*_demo_rows(), *_trace_rows(FOUR)]
    lines = ["| what | measured | against |", "| --- | --- | --- |"]
    lines += [f"| {what} | {measured} | {against} |" for what, measured, against in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Rewrite or check the README."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    updated = before + BEGIN + results() + END + rest.split(END)[1]
    if "--check" in sys.argv:
        sys.exit(0 if updated == text else "README.md is out of date: run python -m benchmarks.readme")
    path.write_text(updated, encoding="utf-8")


if __name__ == "__main__":
    main()
