"""The README's numbers and RESULTS.md, from the committed result files: `python -m benchmarks.readme [--check]`.

Rewrites the parts of README.md between markers and benchmarks/RESULTS.md, or with --check says whether both are up
to date.
"""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
REAL, MEASURED = "real model", "results"
"""The parts of README.md that are written here."""


@cache
def _records(name: str) -> dict[str, Any]:
    """Return the records of a result file by their metrics."""
    return {record["metric"]: record for record in json.loads((RESULTS / f"{name}.json").read_text())}


def _values(name: str) -> dict[str, Any]:
    """Return the values of a result file by their metrics."""
    return {metric: record["value"] for metric, record in _records(name).items()}


def real_table() -> str:
    """Return what a policy changed on the real model, as Markdown."""
    real = json.loads((RESULTS / "real.json").read_text())
    lines = [
        "| SmolLM2-135M-Instruct | per accepted sample, without → with the policy | good samples lost | the others |",
        "| --- | --- | --- | --- |",
    ]
    for engine, place in (("slots", "in slots (transformers)"), ("server", "through a llama.cpp server")):
        run = real["quiz3"][engine]
        some, full, certificate = run["with_policy"], run["without_policy"], run["certificate"]
        low, high = run["tokens_per_accepted_change_ci"]
        cpu, cpu_full = (each["cpu_seconds"] / each["accepted"] for each in (some, full))
        tokens, before = some["tokens_per_accepted"], full["tokens_per_accepted"]
        lost = run["realised"]["false_reject_rate"]
        lines.append(
            f"| {place} | {before:.0f} → **{tokens:.0f} tokens** ({run['tokens_per_accepted_change']:+.0%} "
            f"[{low:+.0%}, {high:+.0%}]), {cpu_full:.2f} → **{cpu:.2f} processor seconds** ({cpu / cpu_full - 1:+.0%}) "
            f"| {lost:.1%} of {full['accepted']}; certified: at most {certificate['max_false_reject']:.0%} "
            f"| {run['survivors'] - run['survivors_changed']} of {run['survivors']} token for token the same |"
        )
    return "\n".join(lines) + "\n"


def _program_rows() -> list[tuple[str, str, str]]:
    program = json.loads((RESULTS / "real.json").read_text())["small_tasks"]["program"]
    return [
        (
            "Real model, programs with tests: tokens per accepted sample, ended when decided",
            f"{program['ended_when_decided']['tokens_per_accepted']:.1f}",
            f"{program['whole']['tokens_per_accepted']:.1f} to their own ends",
        )
    ]


def _server_rows() -> list[tuple[str, str, str]]:
    value = _values("servers")
    most = max(value[f"requests: memory of the client at {share}"] for share in ("10%", "50%", "100%"))
    return [
        (
            "llama.cpp server, 64 streams: processor time of the client and a policy of 15 rules",
            f"{value['load: client and policy over server, processor time']:.1%} of the server's",
            f"{value['load: bare loop over server']:.1%} a bare loop that only reads",
        ),
        (
            "llama.cpp server: tokens made after a stream is closed",
            f"{value['overshoot: of 1 streams, all closed after 8 tokens, per stream']:.1f} of one stream, "
            f"{value['overshoot: of 64 streams, all closed after 8 tokens, per stream']:.1f} each of 64",
            "2; vLLM: 0",
        ),
        (
            "100,000 requests: largest memory of the client",
            f"{most:.0f} MiB, every token accounted for",
            f"{value['requests: memory of the client at 10%']:.0f} MiB after the first tenth",
        ),
    ]


def _engine_rows() -> list[tuple[str, str, str]]:
    value = _values("engine")
    sizes = [size for size in (16, 32, 64) if f"B={size} without a policy: slots over continuous batching" in value]
    if not sizes:
        return []

    def told(metric: str) -> str:
        return ", ".join(f"{value[f'B={size} {metric}']:.2f}" for size in sizes)

    slots = ", ".join(map(str, sizes))
    priced = "the same in processor time, slots, prompts priced"
    policies = sorted(
        metric.removeprefix("B=16 policy with ").removesuffix(": conversion efficiency")
        for metric in value
        if metric.startswith("B=16 policy with ") and metric.endswith(": conversion efficiency")
    )
    rows = [
        (
            f"Embedded model, {slots} slots: tokens saved that became processor time, prompts priced",
            told(priced),
            f">= 0.95; {told('the same in processor time, slots')} unpriced; half discarded at 30 %, no rules",
        ),
        (
            f"Embedded model, {slots} slots, no policy: times as fast as transformers' continuous batching",
            told("without a policy: slots over continuous batching"),
            ">= 1, in processor time",
        ),
    ]
    rows += [
        (
            f"Embedded model, {slots} slots, a whole run under a policy with {name}: tokens saved that became time",
            told(f"policy with {name}: conversion efficiency"),
            f"rules and beliefs included; {told(f'policy with {name}: the same, prompts priced')} with prompts priced",
        )
        for name in policies
    ]
    return rows


def _gpu_rows() -> list[tuple[str, str, str]]:
    value, before = _values("gpu-h100"), _values("gpu-h100-before")
    rows = []
    for shape, slots in (("8B", 128), ("8B", 256), ("1B", 128)):
        at = f"{shape} B={slots} useful tokens/s, discarding"
        rows.append(
            (
                f"H100, {shape[0]} billion weights, {slots} slots, half discarded at 30 %: useful tokens a second",
                f"{value[at]:,.0f}",
                f"{before[at]:,.0f} before packs of prompts, joined products and steps that begin before one is read",
            )
        )
    for slots in (128, 256):
        at = f"8B B={slots} the same until the last attempt begins, prompts priced"
        what = f"H100, 8 billion weights, {slots} slots: tokens saved that became time, prompts priced"
        rows.append((what, f"{value[at]:.2f}", ">= 0.95, until the last attempt begins"))
    reached, bound = (value[f"8B B=128 floor over {it}"] for it in ("it", "these and the reading of keys and values"))
    what = "H100, 8 billion weights, 128 rows: a step, as a share of the bandwidth of a copy"
    rows.append((what, f"{reached:.2f}", f"{bound:.2f} at most by cuBLAS; wanted >= 0.9"))
    faster = value["8B B=128 speed under the policy"]
    rows.append(("The same, 8 billion, against `generate()` with stopping criteria", f"{faster:.1f} times", ">= 2"))
    return rows


def _demo_rows() -> list[tuple[str, str, str]]:
    demo = json.loads((RESULTS / "demo.json").read_text())
    full, with_policy, realised = demo["without_policy"], demo["with_policy"], demo["realised"]
    certificate, simulated = demo["certificate"], demo["simulated"]["replay"]
    return [
        (
            "Embedded model: tokens per accepted sample",
            f"{with_policy['tokens_per_accepted']:.1f} ({demo['tokens_per_accepted_change']:+.1%})",
            f"{full['tokens_per_accepted']:.1f} without a policy; in hindsight, at an f no higher than is certified, "
            f"{full['tokens_per_accepted'] * demo['in_hindsight']:.1f}",
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
            "Embedded model: conversion efficiency in processor time",
            f"{with_policy['conversion_efficiency_cpu']:.2f}",
            f"slot engine, {demo['settings']['slots']} slots; processor time saved over tokens saved",
        ),
    ]


def _live_rows() -> list[tuple[str, str, str]]:
    if not (RESULTS / "live.json").exists():
        return []
    records, value = _records("live"), _values("live")
    own = {metric.removeprefix("embedded autopilot: "): each for metric, each in value.items()}
    exchanged = {metric.removeprefix("exchanged model: "): each for metric, each in value.items()}
    lives = [metric for metric in value if re.match(r"violated lives of \d", metric)]
    worst = max(lives, key=value.__getitem__)
    hindsight = value["embedded, by replay in other orders: saving of a level in hindsight, no shadow"]
    n, setting = worst.removeprefix("violated lives of ").split(", ")
    alarms = [f"{value[f'alarm at δ = 5%, f = {f}, by √posterior: audits']:.0f}" for f in ("8%", "15%")]
    other = sum(value[metric] for metric in value if metric.endswith(": runs that differ in the end"))
    return [
        (
            f"Embedded model, autopilot from nothing, {own['prompts']:,.0f} prompts: tokens per accepted sample",
            f"{own['tokens per accepted']:.1f} ({own['tokens per accepted, change']:+.1%})",
            f"{records['embedded autopilot: tokens per accepted']['peer']}; "
            "in hindsight, at work from the first prompt, "
            f"{own['in hindsight, best level']:+.1%}, and {-hindsight:+.1%} on average over other orders",
        ),
        (
            "The same: good samples lost, and f while a level was at work",
            f"{own['good samples lost']:.1%}, {own['f of the levels at work']:.1%}",
            "promised: at most 5%, confidence 90%",
        ),
        (
            f"{len(lives)} settings of {n} simulated lives with an autopilot: promises broken",
            f"{value[worst]:.0f} at most ({setting})",
            "10% are allowed",
        ),
        (
            "Audited attempts until the alarm where f is 8%, 15%; where the embedded model is exchanged in a run",
            f"{', '.join(alarms)}; {exchanged['audits from the exchange to the alarm']:.0f}",
            f"the exchanged model's f is {exchanged['f of the policy there']:.0%}",
        ),
        (
            "Runs killed at random moments, and started again",
            f"{value['killed: times in all']:.0f} kills, {other:.0f} runs that differ in the end",
            "the same runs, never killed",
        ),
    ]


def _memory_rows() -> list[tuple[str, str, str]]:
    if not (RESULTS / "memory.json").exists():
        return []
    value = _values("memory")
    first, last = (value[f"run, {part}: most memory"] for part in ("to its half", "resumed"))
    return [
        (
            f"{value['run, resumed: attempts done']:,.0f} attempts, interrupted at half and resumed, no model: memory",
            f"{first:.0f} and {last:.0f} MiB at most; {value['run: memory by prompt']:.0f} B for each prompt",
            f"{value['run, to its half: memory at a tenth']:.0f} MiB at a tenth of the first half",
        )
    ]


def _memory_of_rejections_rows() -> list[tuple[str, str, str]]:
    value = _values("memory_of_rejections")
    jobs = [metric.removesuffix(": tokens per accepted, ratio") for metric in value if metric.endswith("ted, ratio")]
    return [
        (
            f"Embedded model, memory of rejections, {job} at a prompt: tokens per accepted sample",
            f"{value[f'{job}, with: tokens per accepted']:.1f}, {value[f'{job}: tokens per accepted, ratio']:.2f} × "
            f"[{value[f'{job}: ratio, 95 % from']:.2f}, {value[f'{job}: ratio, 95 % to']:.2f}]",
            f"{value[f'{job}, without: tokens per accepted']:.1f} without; processor time per accepted sample "
            f"{value[f'{job}, with: CPU per accepted'] / value[f'{job}, without: CPU per accepted']:.2f} times",
        )
        for job in jobs
    ]


def _trace_rows(families: tuple[str, ...]) -> list[tuple[str, str, str]]:
    records = _records("real_traces")
    rows = []
    for family in families:
        factor, low, high, cap, share, f = (
            records[f"{family} {what}"]["value"]
            for what in (
                "net cost factor", "interval low", "interval high", "length cap factor", "accepted cost share",
                "false-reject rate",
            )
        )  # fmt: skip
        rows.append(
            (
                f"{family}: net cost factor",
                f"{factor:.3f} [{low:.3f}, {high:.3f}], f = {f:.1%}",
                f"{cap:.3f} best length cap; accepted attempts cost {share:.3f} of all",
            )
        )
    return rows


def _mean_rows() -> list[tuple[str, str, str]]:
    records, value = _records("real_traces"), _values("real_traces")
    n = int(value["families"])
    return [
        (
            f"{n} families of recorded outputs: mean net cost factor",
            f"{value['learned: mean net cost factor']:.3f} learned, "
            f"{value['rules together: mean net cost factor']:.3f} rules alone",
            f"{value['length cap: mean net cost factor']:.3f} best length cap, "
            f"{value['hindsight bound: mean net cost factor']:.3f} in hindsight",
        ),
        (
            f"{n} families: mean captured share of what attempts not accepted cost",
            f"{value['learned: mean captured share']:.3f}",
            f"{value['length cap: mean captured share']:.3f} best length cap",
        ),
        (
            f"{n} families: largest factor; observed f above 5 %",
            f"{value['learned: largest net cost factor']:.3f}; "
            f"{value['learned: families with observed f > α']:.0f} families",
            f"1.02; {records['learned: families with observed f > α']['target']}",
        ),
    ]


_OF_NUMBERS, _OF_OTHERS = ": agreement, gold a number", ": agreement, other gold"
_PUT_RIGHT = ", errors of the record put right"
_BY_SOURCE = "the source"


def _plain_rows() -> list[tuple[str, str, str]]:
    value, bound = _values("plain_fit"), _values("certifiable")
    mean, share = "mean net cost factor", "mean captured share"
    return [
        (
            "56 families one at a time, plain `msifr fit`: mean net cost factor",
            f"{value[f'plain: {mean}']:.3f}, captured share {value[f'plain: {share}']:.3f}",
            f"{value[f'certified length cap: {mean}']:.3f} certified length cap, "
            f"{value[f'observed length cap: {mean}']:.3f} one that no certificate backs",
        ),
        (
            "The same, best in hindsight that so many samples can certify at all",
            f"{bound[f'in hindsight at what n samples certify: {mean}']:.3f}",
            f"{bound[f'in hindsight at f <= 5 %: {mean}']:.3f} in hindsight at f = 5 %",
        ),
        (
            "The same: families whose observed f is above 5 %",
            f"{value['plain: families with observed f > α']:.0f}",
            f"{value['observed length cap: families with observed f > α']:.0f} with that length cap",
        ),
    ]


def _certificate_rows() -> list[tuple[str, str, str]]:
    value = _values("certificates")

    def shares(way: str) -> str:
        each = (value[f"power, n = {n}, {way}: share of the oracle's saving"] for n in (60, 100, 200, 1000))
        return "/".join(f"{share:.2f}" for share in each)

    return [
        (
            "Simulated worlds, 60/100/200/1,000 accepted samples: share of the oracle's saving",
            f"{shares('plain')} plain, {shares('beliefs from elsewhere')} with beliefs from elsewhere",
            f"MAPIE {shares('MAPIE, cross-fitted')}, e-valuator {shares('e-valuator, cross-fitted')}",
        ),
        (
            "A million attempts, 16 checkpoints, 8 columns: fitted and certified",
            f"{value['speed: fit and certify']:.0f} s, {value['speed: peak memory']:.1f} GB",
            f"{value['speed: times faster than MAPIE with its scores']:.0f} times faster than MAPIE, "
            f"{value['speed: times faster than e-valuator with its scores']:.0f} than e-valuator, with their scores",
        ),
    ]


def _agreement(kind: str) -> tuple[float, int]:
    """Return agreement with outcomes of the sources over all families, in percent, and the number of attempts."""
    agreed, attempts = 0.0, 0
    for metric, record in _records("filters").items():
        if metric.endswith(kind) and record["peer"].startswith(_BY_SOURCE):
            n = int(record["unit"].removeprefix("% of "))
            agreed, attempts = agreed + record["value"] * n / 100, attempts + n
    return 100 * agreed / attempts, attempts


def _filter_rows() -> list[tuple[str, str, str]]:
    records = _records("filters")
    (number, numbers), (other, others) = _agreement(_OF_NUMBERS), _agreement(_OF_OTHERS)
    (number_right, _), (other_right, _) = _agreement(_OF_NUMBERS + _PUT_RIGHT), _agreement(_OF_OTHERS + _PUT_RIGHT)
    human = records["DEAD though right, human solutions: arithmetic"]
    return [
        (
            "Filters agree with outcomes of the sources, gold answers that are numbers",
            f"{number:.1f}% of {numbers:,}",
            f"{number_right:.1f}% with errors of the record put right: results/filters_disagreements.json",
        ),
        (
            "The same, other mathematics",
            f"{other:.1f}% of {others:,}",
            f"{other_right:.1f}% likewise: most sources compare notations, not values",
        ),
        (
            "Right human solutions that arithmetic calls DEAD",
            f"{human['value']:.2f}{human['unit']}",
            f"{human['target'].removeprefix('<= ')}%",
        ),
    ]


def _filter_tables() -> list[str]:
    """Return how filters agree with recorded outcomes, by family, and which validators call accepted texts DEAD."""
    records = _records("filters")
    names = dict.fromkeys(metric.partition(": agreement")[0] for metric in records if ": agreement" in metric)
    lines = [
        "",
        "## Filters and recorded outcomes, by family",
        "",
        "Share of attempts on which extract (`auto`) and compare say what was recorded (`filters`). Outcomes are the",
        "source's own, or were computed from the same texts by another script. Each attempt on which they differ, with",
        "the reason: `results/filters_disagreements.json`. Errors of the record are those that somebody looked at.",
        "",
        "| family | outcome | gold a number | errors put right | other gold | errors put right |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in names:
        kinds = (_OF_NUMBERS, _OF_NUMBERS + _PUT_RIGHT, _OF_OTHERS, _OF_OTHERS + _PUT_RIGHT)
        cells = [records.get(name + kind) for kind in kinds]
        label = next(cell["peer"].partition(";")[0] for cell in cells if cell)
        shown = [f"{cell['value']:.2f}{cell['unit']}" if cell else "–" for cell in cells]
        lines.append(f"| {name} | {label} | {' | '.join(shown)} |")
    prefix = "DEAD though accepted: "
    lines += [
        "",
        "## DEAD, by validator",
        "",
        "Texts that a validator calls DEAD after any line, at its default: of those that the filter accepts, and of",
        "wrong ones. An accepted text may hold a false equation, or end in a loop, or be no JSON although a number is",
        "found in it.",
        "",
        "| validator | accepted | wrong |",
        "| --- | --- | --- |",
    ]
    for metric, record in records.items():
        if metric.startswith(prefix):
            wrong = record["peer"].removesuffix(" wrong")
            lines.append(f"| {metric.removeprefix(prefix)} | {record['value']:.0f} {record['unit']} | {wrong} |")
    lines += [
        "",
        "Arithmetic alone, by family:",
        "",
        "| family | wrong texts DEAD | right texts DEAD |",
        "| --- | --- | --- |",
    ]
    suffix = ": wrong texts DEAD by arithmetic"
    for metric, record in records.items():
        if metric.endswith(suffix):
            share = f"{record['value']:.2f}{record['unit']}"
            lines.append(f"| {metric.removesuffix(suffix)} | {share} | {record['peer'].removesuffix(' right')} |")
    return lines


def results() -> str:
    """Return the table of results as Markdown."""
    from benchmarks.real_traces import FOUR

    rows = [*_program_rows(), *_server_rows(), *_engine_rows(), *_gpu_rows(), *_demo_rows(), *_live_rows()]
    rows += [*_memory_rows(), *_filter_rows(), *_memory_of_rejections_rows()]
    rows += [*_certificate_rows(), *_plain_rows(), *_mean_rows(), *_trace_rows(FOUR)]
    lines = ["| what | measured | against |", "| --- | --- | --- |"]
    lines += [f"| {what} | {measured} | {against} |" for what, measured, against in rows]
    return "\n".join(lines) + "\n"


def all_results() -> str:
    """Return RESULTS.md: every family, every method, where the saved tokens came from, and the learned posterior."""
    value = _values("real_traces")
    families = [metric.removesuffix(" hindsight factor") for metric in value if metric.endswith(" hindsight factor")]
    lines = [
        "# Results",
        "",
        "Written by `python -m benchmarks.readme` from the files in `results/`; how each number comes about is said by",
        "the benchmark of that name.",
        "",
        "## Recorded outputs, by family",
        "",
        "Net cost factor of policies certified at f ≤ 5 %, confidence 90 %, on prompts nothing was learned, tuned or",
        "certified on (`real_traces`). The length cap's budget is observed on the design half, not certified. With",
        "f ≤ 5 % on the judged prompts the learned posterior could give: by the best policy of its path (uncertified),",
        "and by one of a path made on the judged prompts (hindsight).",
        "",
        "| family | accepted | learned | interval | f | rules | length cap | accepted cost share | captured "
        "| uncertified | hindsight |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in families:
        row = {what: value[f"{name} {what}"] for what in _COLUMNS}
        lines.append(
            f"| {name} | {row['judged accepted']:.0f} | {row['net cost factor']:.3f} "
            f"| {row['interval low']:.3f}–{row['interval high']:.3f} | {row['false-reject rate']:.1%} "
            f"| {row['rules together']:.3f} | {row['length cap factor']:.3f} | {row['accepted cost share']:.3f} "
            f"| {_share(row['captured share'])} | {row['uncertified factor']:.3f} | {row['hindsight factor']:.3f} |"
        )
    lines += ["", "## Means over families", "", "| method | net cost factor | captured share |", "| --- | --- | --- |"]
    alone = _values("rules")
    value |= alone
    methods = [
        metric.removesuffix(": mean net cost factor") for metric in value if metric.endswith("mean net cost factor")
    ]
    for method in methods:
        factor, share = value[f"{method}: mean net cost factor"], value[f"{method}: mean captured share"]
        lines.append(f"| {method} | {factor:.3f} | {share:.3f} |")
    rules = [method.removesuffix(" alone") for method in methods if method.endswith(" alone")]
    lines += ["", *_what_stands_in_the_way(value)]
    lines += _ladder_tables()
    lines += ["", "## Each rule alone, by family: net cost factor", "", "Every path may add a length cap.", ""]
    lines += [f"| family | {' | '.join(rules)} |", f"| --- |{' --- |' * len(rules)}"]
    for name in families:
        row_of_rules = [f"{alone[f'{name}: {rule} alone']:.3f}" for rule in rules]
        lines.append(f"| {name} | {' | '.join(row_of_rules)} |")
    lines += [
        "",
        "## Where every saved token came from",
        "",
        "Shares of all tokens, mean over families, by the validator that spoke most against the attempt.",
        "",
        "| validator | saved on bad attempts | saved on good attempts | share of good attempts lost |",
        "| --- | --- | --- | --- |",
    ]
    records = _records("real_traces")
    for metric, record in records.items():
        if metric.startswith("saved by ") and metric.endswith("on bad attempts"):
            name = metric.removeprefix("saved by ").removesuffix(", on bad attempts")
            good = records[f"saved by {name}, on good attempts"]
            lost = float(good["peer"].removeprefix("f "))
            lines.append(f"| {name} | {record['value']:.2%} | {good['value']:.2%} | {lost:.2%} |")
    lines += _filter_tables()
    lines += _plain_tables()
    lines += _state_tables()
    lines += ["", "## The learned posterior", "", "| what | value |", "| --- | --- |"]
    for record in json.loads((RESULTS / "learned.json").read_text()):  # two of which have one name
        shown = (
            record["value"] if isinstance(record["value"], str) else f"{record['value']:.4g} {record['unit']}".strip()
        )
        lines.append(f"| {record['metric']} | {shown} |")
    return "\n".join(lines) + "\n"


def _state_tables() -> list[str]:
    """Return what each rung of evidence, with hidden states among them, saves and tells apart on two models."""
    lines = ["", "## What hidden states add", ""]
    for name in ("states", "states_real"):
        records = _records(name)
        value = {metric: record["value"] for metric, record in records.items()}
        rungs = [metric.removesuffix(": net cost factor") for metric in value if metric.endswith(": net cost factor")]
        lines += [
            f"{value['model']}: {value['attempts']:,.0f} attempts at {value['prompts']:,.0f} prompts, "
            f"{value['share accepted']:.0%} accepted; rules: {value['rules']}. Areas under the curve half way.",
            "",
            "| evidence | net cost factor, certified | f | area | area within prompt |",
            "| --- | --- | --- | --- | --- |",
        ]
        for rung in rungs:
            lost = records[f"{rung}: net cost factor"]["unit"].removeprefix("f = ")
            areas = (value[f"{rung}: area {where} half way"] for where in ("under the curve", "within prompt"))
            areas_told = " | ".join(f"{area:.2f}" for area in areas)
            lines.append(f"| {rung} | {value[f'{rung}: net cost factor']:.3f} | {lost} | {areas_told} |")
        lower = records["states: lower factor than text, certified"]
        lines += [
            "",
            "With states the factor is lower than with text by the share "
            f"{lower['value']:.3f} {lower['unit']} (wanted: 0.1).",
            "",
        ]
    return lines[:-1]


def _plain_tables() -> list[str]:
    """Return what plain fits save of every family, and how good pretrained beliefs are on what they never saw."""
    from benchmarks.plain_fit import METHODS

    value, judged = _values("plain_fit"), _values("pretrained")
    names = [metric.removesuffix(": plain") for metric in value if metric.endswith(": plain")]
    lines = [
        "",
        "## Plain `msifr fit`, a family at a time",
        "",
        "Net cost factors; three quarters of the prompts are fitted and certified on, the others judged, in turn",
        "(`plain_fit`); pretrained beliefs learned without the family's benchmark.",
        "",
        f"| family | {' | '.join(METHODS)} |",
        f"| --- |{' --- |' * len(METHODS)}",
    ]
    for name in names:
        factors = [f"{value[f'{name}: {method}']:.3f}" for method in METHODS]
        lines.append(f"| {name} | {' | '.join(factors)} |")
    lines += [
        "",
        "## Pretrained beliefs",
        "",
        "Mean log loss in nats per checkpoint, and mean area under the curve (`pretrained`).",
        "",
        "| left out of learning | own | pretrained | both |",
        "| --- | --- | --- | --- |",
    ]
    for kind in ("nothing held out", "benchmark known", "model held out", "benchmark held out"):
        cells = [
            f"{judged[f'{kind}: {one}: log loss']:.3f}, {judged[f'{kind}: {one}: area under the curve']:.3f}"
            for one in ("own", "pretrained", "both")
        ]
        lines.append(f"| {kind.removesuffix(' held out')} | {' | '.join(cells)} |")
    return lines


def _ladder_tables() -> list[str]:
    """Return what each rung of evidence adds: over all families, and where prompts have several attempts or one."""
    from benchmarks.ladder import ONE, OURS, PEERS, SEVERAL

    value = _values("ladder")
    lines = [
        "",
        "## What each rung of evidence adds",
        "",
        "The same fit, path and certificate (f ≤ 5 %, confidence 90 %) on the same prompts; only the evidence differs",
        "(`ladder`). Three quarters of the prompts are fitted and certified on, the others judged, in turn. Prompt",
        "only is what is known before the first token; text is rules and words, whose weights are those of pretrained",
        "beliefs learned without the family's benchmark. Plain is `msifr fit` without flags. Uncertified: the best",
        "policy of the path with f ≤ 5 % on the judged prompts, were it known. f: good samples lost at hard, middling",
        "and easy prompts, with a third of them each. AUC: area under the curve of the posterior, before the first",
        "token and half way through a median attempt; within prompt, of pairs of attempts at one prompt, where",
        "history misleads: the later one knows how the earlier one ended, the opposite of how it will end itself.",
    ]
    for scope, what in (("", "families"), (SEVERAL, "families with several attempts per prompt")):
        within = ("before_within", "half_way_within") if scope else ()
        titles = [_LADDER_TITLES[field] for field in (*_LADDER_FIELDS, *within)]
        lines += [
            "",
            f"{value[f'{scope}families']:.0f} {what}:",
            "",
            f"| evidence | {' | '.join(titles)} | f hard / middling / easy | f > 5 % |",
            f"| --- |{' --- |' * (len(titles) + 2)}",
        ]
        for rung in OURS:
            if f"{scope}{rung}: {_ladder_word('factor')}" in value:
                lines.append(f"| {rung} | {' | '.join(_ladder_cells(value, scope + rung, within))} |")
    few = value[f"{SEVERAL}text and history: {_ladder_word('certified')}"]
    lines += [
        "",
        f"For new prompts {few:.0%} of the fits with history are certified: these families have 21 to 78 prompts, of",
        "which a quarter is judged. What history could save is in the column uncertified.",
    ]
    rivals = [m.partition(": ")[0] for m in value if m.startswith(tuple(ONE + peer for peer in PEERS))]
    lines += [
        "",
        f"Peers at the same α and δ on the posterior of the text rung, {value[f'{ONE}families']:.0f} families with one",
        "attempt per prompt: on our split they get what our certificate gets; cross-fitted, all prompts not judged.",
        "",
        "| certificate | net cost factor | captured share | f hard / middling / easy | f > 5 % |",
        "| --- | --- | --- | --- | --- |",
    ]
    for method in dict.fromkeys([f"{ONE}text", f"{ONE}{OURS[-1]}", *rivals]):
        factor, share, *_, thirds, above = _ladder_cells(value, method, ())
        lines.append(f"| {method.removeprefix(ONE)} | {factor} | {share} | {thirds} | {above} |")
    names = [metric.removesuffix(": text") for metric in value if metric.endswith(": text")]
    lines += [
        "",
        "By family, net cost factors:",
        "",
        f"| family | {' | '.join(OURS)} |",
        f"| --- |{' --- |' * len(OURS)}",
    ]
    for name in names:
        factors = [value.get(f"{name}: {rung}") for rung in OURS]
        lines.append(f"| {name} | {' | '.join('–' if each is None else f'{each:.3f}' for each in factors)} |")
    return lines


_LADDER_FIELDS = ("factor", "captured", "uncertified", "log_loss", "before", "half_way")
_LADDER_TITLES = {
    "factor": "net cost factor",
    "captured": "captured share",
    "uncertified": "uncertified",
    "log_loss": "log loss",
    "before": "AUC before",
    "half_way": "AUC half way",
    "before_within": "within prompt, before",
    "half_way_within": "within prompt, half way",
}


def _ladder_word(field: str) -> str:
    from benchmarks.ladder import SHOWN

    return SHOWN[field]


def _ladder_cells(value: dict[str, Any], method: str, within: tuple[str, ...]) -> list[str]:
    """Return the cells of a row: fields, f by third of difficulty, and families above α."""
    numbers = [value.get(f"{method}: {_ladder_word(field)}") for field in (*_LADDER_FIELDS, *within)]
    cells = ["–" if number is None else f"{number:.3f}" for number in numbers]
    thirds = [value.get(f"{method}: {_ladder_word(field)}") for field in ("hard", "middle", "easy")]
    above = f"{value[f'{method}: families with observed f > α']:.0f}"
    return [*cells, " / ".join("–" if third is None else f"{third:.1%}" for third in thirds), above]


def _what_stands_in_the_way(value: dict[str, float]) -> list[str]:
    """Return what separates the learned policies from the targets, in numbers."""
    learned = _values("learned")
    factor, share = "mean net cost factor", "mean captured share"
    whole, half = "learned", "learned, half of the prompts"
    loss, area = "log loss", "area under the curve"
    return [
        "## What stands in the way of more",
        "",
        f"Targets: mean factor 0.80, mean share 0.36. Certified: {value[f'learned: {factor}']:.3f} and "
        f"{value[f'learned: {share}']:.3f}.",
        "",
        "- Certificates on few accepted samples: the best policy of each path with an observed f ≤ 5 %, were it known,",
        f"  gives {value[f'uncertified bound: {factor}']:.3f} and {value[f'uncertified bound: {share}']:.3f}.",
        "- What the evidence can tell: with the path too made on the judged prompts, in hindsight, the same posterior",
        f"  gives {value[f'hindsight bound: {factor}']:.3f} and {value[f'hindsight bound: {share}']:.3f}.",
        "- Prompts to learn from: a posterior learned from half of them has a log loss of "
        f"{learned[f'{half}: {loss}']:.3f} nats",
        f"  and an area under the curve of {learned[f'{half}: {area}']:.3f}, from all of them "
        f"{learned[f'{whole}: {loss}']:.3f} and {learned[f'{whole}: {area}']:.3f}.",
    ]


_COLUMNS = (
    "judged accepted", "net cost factor", "interval low", "interval high", "false-reject rate", "rules together",
    "length cap factor", "accepted cost share", "captured share", "uncertified factor", "hindsight factor",
)  # fmt: skip


def _share(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.2f}"


def _with_part(text: str, part: str, table: str) -> str:
    """Return `text` with `table` between the markers of a part."""
    begin, end = f"<!-- {part}: python -m benchmarks.readme -->\n", f"<!-- end of {part} -->"
    before, rest = text.split(begin)
    return before + begin + table + end + rest.split(end)[1]


def main() -> None:
    """Rewrite or check both files."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    updated = _with_part(_with_part(text, REAL, real_table()), MEASURED, results())
    everything = Path(__file__).with_name("RESULTS.md")
    if "--check" in sys.argv:
        same = updated == text and everything.exists() and everything.read_text(encoding="utf-8") == all_results()
        sys.exit(0 if same else "README.md or RESULTS.md is out of date: run python -m benchmarks.readme")
    path.write_text(updated, encoding="utf-8")
    everything.write_text(all_results(), encoding="utf-8")


if __name__ == "__main__":
    main()
