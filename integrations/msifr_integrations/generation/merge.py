"""Shards of one run, made by jobs that know nothing of each other, joined into the output and ledger of one run."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from msifr_integrations.generation.journal import AttemptId, ledger_path, other_content
from msifr_integrations.generation.turns import Goal
from msifr_policy.errors import InputError
from msifr_policy.files import replacing
from msifr_policy.records.compact import IdMap, IdSet
from msifr_policy.records.ledger import (
    NO_ATTEMPTS,
    Entry,
    Header,
    Session,
    Totals,
    encode_line,
    scan_ledger,
    total,
)

_LEDGER_ENDING = ".ledger.jsonl"
_OWN = "shard"
"""The setting in which shards differ."""
_LONGEST_NAME = 20
"""Of a shard, in characters."""


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """What shards came to together.

    shards: how many the run was cut into. missing_shards: those that were not given. missing: attempts that are not
    there, those of missing shards included; where the run has a quota, the most that may still be made. totals: the
    account of those that are; its `seconds` are those of the shard that took longest, its `cpu_seconds` the sum.
    """

    shards: int
    missing_shards: tuple[int, ...]
    missing: int
    totals: Totals


class _Shard(NamedTuple):
    path: Path
    number: int
    of: int
    settings: dict[str, Any]  # those that all share


def merge_runs(outs: Iterable[str | os.PathLike[str]], out: str | os.PathLike[str], *, partial: bool = False) -> Merged:
    """Join the outputs `outs` of runs that differ in their shard alone, and their ledgers, into `out` and its ledger.

    Attempts come shard by shard, each in its own order. `seconds` of an attempt stay those of its shard; `cpu_seconds`
    are counted on from shard to shard, as if one process had made them all. Of a killed shard what is half written is
    no part; unless `partial`, every shard must be there and complete. Ledgers among `outs`, as patterns find them, are
    read with their outputs only. Memory: one attempt, and some 13 bytes of each and 17 of each prompt.

    Raises `InputError` for runs that differ in more, for what is missing or there twice, for an output that is no pair
    with its ledger, and for an `out` that exists; nothing is written then.
    """
    place = Path(out)
    if not place.name.endswith(".jsonl"):
        raise InputError("the output's name must end in .jsonl", where=os.fspath(out))
    for path in (place, ledger_path(place)):
        if os.path.lexists(path):
            raise InputError("exists, and would be lost", where=str(path), remedy="name another output first")
    shards = _shards([Path(path) for path in outs if not os.fspath(path).endswith(_LEDGER_ENDING)])
    _, _, of, settings = shards[0]
    goal = Goal(settings["attempts"], settings.get("accepted_per_prompt"))
    prompts = {number: len(range(number - 1, settings["prompt_count"], of)) for number in range(1, of + 1)}
    # A share of no prompts has left no files.
    absent = sorted({number for number, size in prompts.items() if size} - {shard.number for shard in shards})
    if absent and not partial:
        raise _incomplete(f"shards {', '.join(f'{number}/{of}' for number in absent)} are missing", place)
    at = {shard.number: IdMap(NO_ATTEMPTS) for shard in shards}  # by prompt
    with ExitStack() as stack:
        # An output without a ledger is refused by all that read runs, so the ledger comes last.
        accounts = stack.enter_context(replacing(ledger_path(place))).open("wb")
        lines = stack.enter_context(replacing(place)).open("wb")
        with lines, accounts:
            accounts.write(encode_line(Header(settings=settings)))

            def passed_on() -> Iterator[Entry | Session]:
                for number, line, account in _joined(shards):
                    if isinstance(account, Entry):
                        there = at[number]
                        there[account.prompt_id] = there[account.prompt_id].after(account)
                    lines.write(line)
                    accounts.write(encode_line(account))
                    yield account

            totals = total(passed_on())
        lacks = {number: size * goal.attempts for number, size in prompts.items()}
        for path, number, *_ in shards:
            counts = at[number].counts()
            touched = sum(counts.values())
            made = sum(n * each.attempts for each, n in counts.items())
            most = sum(n * goal.most(each) for each, n in counts.items()) + (prompts[number] - touched) * goal.attempts
            lacks[number] = most - made
            if touched > prompts[number] or (lacks[number] and not partial):
                of_most = "of at most" if goal.accepted is not None else "of"
                raise _incomplete(f"has {made} {of_most} {most} attempts", path)
    return Merged(
        shards=of,
        missing_shards=tuple(absent),
        missing=sum(lacks.values()),
        totals=totals,
    )


def _incomplete(what: str, where: Path) -> InputError:
    remedy = "start the same command again, which finishes it, or merge what is there with --partial"
    return InputError(what, where=str(where), remedy=remedy)


def _shards(paths: Sequence[Path]) -> list[_Shard]:
    """Return the shards at `paths` in their order within the run; raises `InputError` unless they are of one run."""
    shards = sorted(map(_shard, paths), key=lambda shard: shard.number)
    if not shards:
        raise InputError("no shards were named", remedy="name outputs of msifr generate --shard, not their ledgers")
    first = shards[0]
    shared = first.settings | {"shards": first.of}
    for before, shard in pairwise(shards):
        where, remedy = str(shard.path), "merge shards of one run"
        others = shard.settings | {"shards": shard.of}
        for name in [*shared, *others]:
            if others.get(name) != shared.get(name):
                told = other_content(name, others, shared)
                shown = f"{name} = {others.get(name)!r}, {first.path} {shared.get(name)!r}"
                what = f"has {told}, unlike {first.path}" if told else f"has {shown}"
                raise InputError(what, where=where, remedy=remedy)
        if before.number == shard.number:
            what = f"is shard {shard.number}/{shard.of}, as {before.path} is"
            raise InputError(what, where=where, remedy="name each shard once")
    return shards


def _shard(path: Path) -> _Shard:
    """Read whose output this is."""
    header, _ = next(scan_ledger(ledger_path(path)))
    settings = dict(header.settings) if isinstance(header, Header) else {}
    name = settings.pop(_OWN, None)
    number, _, of = name.partition("/") if isinstance(name, str) and len(name) < _LONGEST_NAME else ("", "", "")
    counted = all(type(settings.get(size)) is int for size in ("prompt_count", "attempts"))
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) and counted):
        raise InputError("is no shard of a run", where=str(path), remedy="shards are made by generate with a shard")
    return _Shard(path, int(number), int(of), settings)


def _joined(shards: Iterable[_Shard]) -> Iterator[tuple[int, bytes, Entry | Session]]:
    """Yield of each account its shard, the line of the output (b"" for a session), and itself with time counted on."""
    seen = IdSet()
    cpu_before = 0.0
    for path, number, _, _ in shards:
        cpu = 0.0
        for line, account in _paired(path):
            if isinstance(account, Entry):
                if not seen.add(account.id):
                    raise InputError(f"attempt {account.id!r} is in another shard, too", where=str(path))
                cpu = max(cpu, account.cpu_seconds)
                account = msgspec.structs.replace(account, cpu_seconds=round(cpu_before + account.cpu_seconds, 6))
            yield number, line, account
        cpu_before += cpu


def _paired(path: Path) -> Iterator[tuple[bytes, Entry | Session]]:
    """Yield the accounts of an output, each attempt's with its line; a last one without the other is none.

    Raises `InputError` where the two files are no pair.
    """

    def no_pair(what: str) -> InputError:
        return InputError(what, where=str(path), remedy="output and ledger are no pair")

    try:
        with open(path, "rb") as file:
            whole = (line for line in file if line.endswith(b"\n"))
            without = 0
            for account, _ in scan_ledger(ledger_path(path)):
                if isinstance(account, Session):
                    yield b"", account
                elif isinstance(account, Entry):
                    line = next(whole, b"")
                    without += not line
                    if line:
                        found = msgspec.json.decode(line, type=AttemptId).id
                        if found != account.id:
                            raise no_pair(f"attempt {found!r} where the ledger has {account.id!r}")
                        yield line, account
            beyond = sum(1 for _ in whole)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise no_pair(f"cannot be read: {error}") from error
    if max(without, beyond) > 1:
        raise no_pair(f"{without} attempts of the ledger are not in it, {beyond} of its own not there")
