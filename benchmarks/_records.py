"""What every benchmark prints: a table for people, or with `--json` a list of records as the last line."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["Record", "environment", "print_records", "save_records", "write_records"]


class Record(msgspec.Struct, frozen=True):
    """One measured number. `ok` says whether it meets `target` (None: it has no target)."""

    metric: str
    value: float | str
    unit: str = ""
    target: str = ""
    peer: str = ""
    ok: bool | None = None


def environment(*packages: str) -> list[Record]:
    """Return hardware and versions as records: processor, cores, Python and the named packages."""
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpu = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), cpu)
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    facts = {"processor": cpu, "cores": str(cores), "python": platform.python_version()}
    facts |= {package: version(package) for package in packages}
    return [Record(f"environment {name}", value) for name, value in facts.items()]


def print_records(records: Sequence[Record], json: bool) -> None:
    """Print the records as a table; with `json` as one line of JSON, to be printed last."""
    if json:
        sys.stdout.write(msgspec.json.encode(records, enc_hook=_plain).decode() + "\n")
        return
    for record in records:
        value = record.value if isinstance(record.value, str) else f"{record.value:.4g}"
        mark = {True: "ok", False: "MISSED", None: ""}[record.ok]
        peer = f"against {record.peer}" if record.peer else ""
        target = f"target {record.target}" if record.target else ""
        line = f"{record.metric:44s} {value:>12s} {record.unit:10s} {target:24s} {mark:7s} {peer}"
        sys.stdout.write(line.rstrip() + "\n")


def write_records(records: Sequence[Record], path: Path) -> None:
    """Write the records to a file of JSON for people to read too."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(records, enc_hook=_plain), indent=1) + b"\n")


def _plain(value: Any) -> Any:
    """Return a number or truth value of numpy as Python's own."""
    return value.item()


def save_records(records: Sequence[Record], name: str) -> None:
    """Write the records to `results/NAME.json` beside the benchmarks."""
    write_records(records, Path(__file__).with_name("results") / f"{name}.json")
