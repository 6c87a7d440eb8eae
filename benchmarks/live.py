"""Certificates that live: `python -m benchmarks.live [--quick] [--only SECTION] [--save | -o FILE] [--full FILE]`.

Whatever a run with an autopilot, an audit, a monitor, forced answers or a goal promises, as records with targets.

    lives       simulated lives of runs with an autopilot, of which few may break the promise (`_lives`)
    alarms      how soon the monitor of a run is in alarm, and how often for nothing (`_alarms`)
    exits       forcing answers early, where it pays and where it cannot (`_exits`)
    embedded    the embedded model with an autopilot, from nothing, beside the same seeds without (`_embedded_life`)
    exchanged   a model that is exchanged in the middle of a run (`_exchanged_model`)
    kills       runs that are killed at random moments and go on (`_kills`)

Their parts are processes of one thread, {TOGETHER} at a time; the embedded model's runs with and without autopilot are
made side by side. All of it takes less than {MINUTES} minutes on two cores. `--full` names the output of an earlier run
of that model without a policy, which is then not made again. Needs no traces and no network.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec

from benchmarks._records import Record, environment, print_records, save_records, write_records

TOGETHER = 2
MINUTES = 25
ROOT = Path(__file__).resolve().parents[1]
SPENT, FAILED = ": processor time", ": failed"


class Where(NamedTuple):
    """What a part is told: a folder of the whole benchmark for its files, and whether it is only to be seen to run.

    full: the output of the embedded model without a policy, there or to be made.
    """

    folder: Path
    quick: bool
    full: Path

    @property
    def autopilot(self) -> Path:
        """The output of the embedded model with an autopilot."""
        return self.folder / "autopilot.jsonl"


# Each part imports what it needs: torch takes seconds, and a process is to hold no more than its own.


def _lives(where: Where) -> Iterable[Record]:
    from benchmarks import _lives

    return _lives.records(where.quick)


def _alarms(where: Where) -> Iterable[Record]:
    from benchmarks import _alarms

    return _alarms.alarms(where.quick)


def _exits(where: Where) -> Iterable[Record]:
    from benchmarks import _exits

    return _exits.exits(where.quick)


def _without(where: Where) -> Iterable[Record]:
    from benchmarks import _embedded_life

    if not where.full.exists():
        _embedded_life.make(where.full, _embedded_life.prompts_of(where.quick), autopilot=False)
    return ()


def _autopilot(where: Where) -> Iterable[Record]:
    from benchmarks import _embedded_life

    _embedded_life.make(where.autopilot, _embedded_life.prompts_of(where.quick), autopilot=True)
    return ()


def _compared(where: Where) -> Iterable[Record]:
    from benchmarks import _embedded_life

    return _embedded_life.records(where.autopilot, where.full)


def _orders(where: Where) -> Iterable[Record]:
    from benchmarks import _embedded_life

    return () if where.quick else _embedded_life.other_orders(where.full, 12)


def _exchanged(where: Where) -> Iterable[Record]:
    from benchmarks import _exchanged_model

    folder = where.folder / "exchanged"
    folder.mkdir()
    return _exchanged_model.records(folder, **({"n": 16, "swap": 8} if where.quick else {}))


def _kills(where: Where) -> Iterable[Record]:
    from benchmarks import _kills

    return _kills.records(where.folder / "kills", where.quick)


Part = Callable[[Where], Iterable[Record]]

PARTS: dict[str, Part] = {
    "embedded, without": _without,
    "embedded, autopilot": _autopilot,
    "alarms": _alarms,
    "exits": _exits,
    "lives": _lives,
    "kills": _kills,
    "exchanged": _exchanged,
}
"""In the order in which they begin, the longest first; a section is all parts whose names begin with it."""
PARTS_AFTER: dict[str, Part] = {"embedded, compared": _compared, "embedded, other orders": _orders}
"""Those that read what the others made."""
ALL = PARTS | PARTS_AFTER
SECTIONS = tuple(dict.fromkeys(name.partition(",")[0] for name in ALL))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    about = str(__doc__).format(TOGETHER=TOGETHER, MINUTES=MINUTES)
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print records as JSON, last")
    parser.add_argument("--quick", action="store_true", help="small runs, to see that it works; few targets")
    parser.add_argument("--only", choices=SECTIONS, help="one section")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/live.json")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="write the records there")
    parser.add_argument("--full", type=Path, metavar="FILE", help="the embedded model without a policy, made before")
    parser.add_argument("--traces", metavar="FOLDER", help="accepted by every benchmark; this one reads no traces")
    parser.add_argument("--part", choices=tuple(ALL), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.part:
        print_records(measured(given.part, Where(given.folder, given.quick, given.full)), json=True)
        return
    began = time.perf_counter()
    with TemporaryDirectory() as folder:
        records = together(Path(folder), given.only, given.quick, given.full)
    minutes = (time.perf_counter() - began) / 60
    spent = sum(float(record.value) for record in records if record.metric.endswith(SPENT)) / 60
    whole = not (given.quick or given.only)
    target = f"<= {MINUTES}" if whole else ""
    records += [
        Record("all parts: wall time", minutes, "minutes", target, ok=minutes <= MINUTES if whole else None),
        Record(f"all parts{SPENT}", spent, "minutes"),
        *environment("msifr-policy", "numpy", "torch"),
    ]
    if given.save:
        save_records(records, "live")
    if given.out:
        write_records(records, given.out)
    print_records(records, given.json)
    if any(record.metric.endswith(FAILED) for record in records):
        sys.exit(1)


def measured(part: str, where: Where) -> list[Record]:
    """Return the records of a part, and what it took."""
    began = time.perf_counter()
    records = [without_target(record) if where.quick else record for record in ALL[part](where)]
    wall = time.perf_counter() - began
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    processor = sum(each.ru_utime + each.ru_stime for each in used)
    return [*records, Record(f"{part}: wall time", wall, "s"), Record(f"{part}{SPENT}", processor, "s")]


def without_target(record: Record) -> Record:
    """Return the record of a small run: small runs say nothing of targets, but of those that are never missed."""
    return record if record.target == "0" else Record(record.metric, record.value, record.unit, "", record.peer, None)


def together(folder: Path, only: str | None, quick: bool, full: Path | None) -> list[Record]:
    """Run the parts in processes, so many at a time, and return their records in the order of the parts."""
    full = folder / "full.jsonl" if full is None else full.resolve()
    more = ["--folder", str(folder), "--full", str(full), *(["--quick"] if quick else [])]
    records: list[Record] = []
    for parts in (PARTS, PARTS_AFTER):
        asked = [name for name in parts if only in (None, name.partition(",")[0])]
        with ThreadPoolExecutor(TOGETHER) as pool:
            for found in pool.map(lambda name: run(name, more), asked):
                records += found
    return records


def run(part: str, more: Sequence[str]) -> list[Record]:
    """Run a part in a process; if it fails its record says so."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {part}\n")
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "benchmarks.live", "--part", part, *more]
    done = subprocess.run(  # noqa: S603
        command, cwd=ROOT, env=os.environ | threads, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.stderr.write(done.stderr)
        why = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        return [Record(f"{part}{FAILED}", why[:500], ok=False)]
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=list[Record])


if __name__ == "__main__":
    main()
