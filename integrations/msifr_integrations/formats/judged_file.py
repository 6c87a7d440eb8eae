"""Files of outputs without an outcome, judged: `correct` is what a final filter says of each text.

What was judged is kept beside the output in `OUT.judging` until the output is whole: a killed judge goes on where it
stopped, and no text is judged twice.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from msifr_integrations.formats.columns import columns_of
from msifr_integrations.formats.importing.prompts import Asked, keys_of
from msifr_integrations.formats.kept_verdicts import Begun, KeptVerdict, KeptVerdicts, digest_of
from msifr_integrations.formats.rows import Record, check_rows_out, read_rows
from msifr_integrations.generation.inputs import fingerprint
from msifr_integrations.generation.judging import Judged, MakeFilter, ToJudge, judged
from msifr_policy.errors import InputError
from msifr_policy.files import is_stream
from msifr_policy.filters import Prompt
from msifr_policy.records.ids import Numbering
from msifr_policy.records.lines import as_objects, as_texts, with_values
from msifr_policy.records.mapping import FieldMap, mapped
from msifr_policy.records.others import known_as
from msifr_policy.records.rows import write_rows
from msifr_policy.records.traces import OnError, Trace, find_trace_files

ENDINGS: Final = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
UNFINISHED: Final = ("discarded", "failed")
"""The status of attempts of a run that have no finished text."""

_FIELDS: Final = tuple(dict.fromkeys((*Trace.__struct_encode_fields__, *Prompt.__struct_encode_fields__, "status")))
_MOST_REASONS: Final = 20
_REMEDY: Final = 'an output is a line such as {"id": "a1", "prompt_id": "p1", "text": "2 + 3 = 5.", "gold": "5"}'


class JudgeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How files are judged.

    prompts: by their ids, or by what they ask (`keys_of`), what texts are judged by; what a record says itself counts
    where these say nothing. again: whether records that have an outcome are judged, too. keep: whether records that
    cannot be judged are written without an outcome, and not left out. workers: processes. on_error: what to do about
    lines that are no records, and records without a text. fields: where fields are in records of another shape, in
    words (`FieldMap`); these keep fields of ours alone.

    Raises `InputError` for words that are none.
    """

    prompts: Mapping[str, Asked] = msgspec.field(default_factory=dict)
    again: bool = False
    keep: bool = False
    workers: int = 1
    on_error: OnError = "raise"
    fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _ = self.mapping

    @property
    def mapping(self) -> FieldMap:
        """Where fields are in records of another shape."""
        return FieldMap.parse(self.fields, _FIELDS)


class Reason(msgspec.Struct):
    """How many records, and which was the first: its id, or its place."""

    records: int
    first: str


class BothOutcomes(msgspec.Struct):
    """Records that had an outcome and were judged again, by both outcomes: `accepted_unaccepted` were accepted once."""

    accepted_accepted: int = 0
    accepted_unaccepted: int = 0
    unaccepted_accepted: int = 0
    unaccepted_unaccepted: int = 0

    @property
    def records(self) -> int:
        """All of them."""
        return sum(getattr(self, name) for name in self.__struct_fields__)

    @property
    def disagree(self) -> int:
        """Those whose outcomes differ."""
        return self.accepted_unaccepted + self.unaccepted_accepted


class JudgedFile(msgspec.Struct, kw_only=True):
    """What judging files came to, in records.

    `judged` have an outcome by `filter`, `accepted` of them are; `known` of these verdicts were taken from a judge that
    was killed. `had_outcome` were left as they were, and so were `unfinished`: attempts that a run discarded, or could
    not make. `written` are in the output. `not_judged` have no outcome, by reason, and `not_accepted_because`
    counts those not accepted since the filter could not tell (no answer found, out of time). `found`: where the answers
    stand, "" is nowhere. `malformed` were skipped. `without_exits` had answers that were forced at their checkpoints,
    and lost them: another filter had judged these. `agreement`: only if those with an outcome were judged again.
    """

    filter: str
    records: int = 0
    judged: int = 0
    accepted: int = 0
    known: int = 0
    had_outcome: int = 0
    unfinished: int = 0
    malformed: int = 0
    written: int = 0
    without_exits: int = 0
    not_judged: dict[str, Reason] = msgspec.field(default_factory=dict)
    not_accepted_because: dict[str, Reason] = msgspec.field(default_factory=dict)
    found: dict[str, int] = msgspec.field(default_factory=dict)
    agreement: BothOutcomes | None = None

    @property
    def outcomes(self) -> int:
        """Records that have an outcome now."""
        return self.judged + self.had_outcome


class _Entered(NamedTuple):
    record: Record
    where: str
    before: bool | None  # the outcome that the record had


def judge_files(
    paths: Iterable[str | os.PathLike[str]],
    make: MakeFilter,
    out: str | os.PathLike[str],
    options: JudgeOptions = JudgeOptions(),  # noqa: B008 - frozen
    progress: Callable[[JudgedFile], None] | None = None,
) -> JudgedFile:
    """Write the records of files (JSON lines or Parquet) to `out` with the outcome by the filter that `make` makes.

    Records keep all that they have; `correct`, `judged_by` (the filter), `score` where the filter scores and
    `correct_before` where there was an outcome are set. Attempts that were never finished stay as they are. It appears
    whole or not at all.
    `progress` is called after each record. Memory: some 100 records for each worker, and a verdict's line.

    Raises `InputError` for what cannot be read or written, a record without a text, a filter that cannot work, and a
    judge that was begun with another filter or on other records. After any error or interrupt it can be started again.
    """
    files = find_trace_files(paths)
    check_rows_out(out, ENDINGS)
    filter_name = make().name
    counts = JudgedFile(filter=filter_name, agreement=BothOutcomes() if options.again else None)
    begun = Begun(filter=filter_name, again=options.again, prompts=_prompts_name(options.prompts))
    with ExitStack() as stack:
        # A judge that writes into a stream cannot go on.
        kept = stack.enter_context(KeptVerdicts(out, begun)) if not is_stream(out) else None
        items = _items(files, options, counts)
        verdicts = _remembered(items, kept, make, options.workers, counts)
        records = _some(_outcomes(verdicts, counts, options.keep, progress), kept, counts)
        if os.fspath(out).endswith(".parquet"):
            schema, row = columns_of(files, ("correct", "judged_by", "score", *("correct_before",) * options.again))
            write_rows(out, map(row, records), schema)
        else:
            write_rows(out, records)
        if kept is not None:
            kept.remove()
    return counts


def _prompts_name(prompts: Mapping[str, Asked]) -> str:
    return fingerprint(msgspec.json.encode(prompt) for prompt in prompts.values()) if prompts else ""


def _items(
    files: Iterable[Path], options: JudgeOptions, counts: JudgedFile
) -> Iterator[tuple[_Entered, ToJudge | None]]:
    """Yield the records, each with what is to be judged, None for one that is not."""
    mapping, numbering = options.mapping, Numbering()
    for path in files:
        records = read_rows(path, _REMEDY)
        for where, record in mapped(records, mapping, numbering, _FIELDS) if mapping else records:
            counts.records += 1
            try:
                if isinstance(record, InputError):
                    raise record
                before = _outcome(record, where)
                unfinished = before is None and record.get("status") in UNFINISHED
                wanted = not unfinished and (before is None or options.again)
                task = _task(record, where, options.prompts) if wanted else None
            except InputError:
                if options.on_error == "raise":
                    raise
                counts.malformed += 1
                continue
            counts.unfinished += unfinished
            yield _Entered(record, where, before), task


def _outcome(record: Record, where: str) -> bool | None:
    correct = with_values(record, ("correct",)).get("correct")
    if correct is not None and correct not in (0, 1):
        what = f"`correct` is {correct!r:.40}, must be true or false (or 1 or 0)"
        raise InputError(what, where=where, remedy="put it right, or take it away to have the text judged")
    return None if correct is None else bool(correct)


def _task(record: Record, where: str, prompts: Mapping[str, Asked]) -> ToJudge:
    """Return what is to be judged in a record; raises `InputError` for one without a text."""
    text = record.get("text")
    if not isinstance(text, str):
        what, remedy = "missing required field `text`" if text is None else "`text` is no text", _REMEDY
        if (other := known_as(record)) is not None:
            what, remedy = f"{what}: this is {other.what}", other.remedy
        raise InputError(what, where=where, remedy=remedy)
    given = as_texts(with_values(record, Prompt.__struct_encode_fields__), ("prompt_id", "gold", "group"))
    given = as_objects(given, ("schema", "parameters", "messages"))
    # Outputs may come without their prompts: a filter needs these only where they say how to answer.
    unknown = {} if given.get("messages") else {"prompt": " "}
    given = {"prompt_id": str(record.get("id") or where)} | unknown | given
    try:
        prompt = msgspec.convert(given, Prompt)
    except msgspec.ValidationError as error:
        raise InputError(str(error), where=where, remedy=_REMEDY) from None
    told = next((known for key in (prompt.prompt_id, *keys_of(prompt.prompt)) if (known := prompts.get(key))), None)
    if told is not None:
        said = {name: value for name in Prompt.__struct_fields__ if (value := getattr(told, name, None))}
        prompt = msgspec.structs.replace(prompt, **said)
    return ToJudge(prompt, text)


def _remembered(
    items: Iterator[tuple[_Entered, ToJudge | None]],
    kept: KeptVerdicts | None,
    make: MakeFilter,
    workers: int,
    counts: JudgedFile,
) -> Iterator[tuple[_Entered, Judged | None]]:
    """Yield each record with what came of it: as it is kept, or judged now and then kept."""
    known = iter(()) if kept is None else kept.read()
    for item, task in items:
        verdict = None if task is None else next(known, None)
        if task is not None and verdict is None:
            items = chain([(item, task)], items)
            break
        if task is not None and verdict is not None:
            if verdict.digest != digest_of(task):
                raise InputError(
                    "is of a judge that was killed, and its records were others",
                    where=f"{kept.path if kept else ''}, {item.where}",
                    remedy="remove that file to judge all anew, or name another output",
                )
            counts.known += 1
        yield item, None if verdict is None else verdict.judged
    else:
        return
    digested = (((item, None if task is None else digest_of(task)), task) for item, task in items)
    for (item, digest), said in judged(digested, make, workers=workers):
        if kept is not None and said is not None and digest is not None:
            kept.write(KeptVerdict(digest, said))
        yield item, said


def _outcomes(
    verdicts: Iterable[tuple[_Entered, Judged | None]],
    counts: JudgedFile,
    keep: bool,
    progress: Callable[[JudgedFile], None] | None,
) -> Iterator[Record]:
    """Yield the records to be written, and count."""
    for item, said in verdicts:
        record: Record | None = _as_it_was(item)
        if said is None:
            counts.had_outcome += item.before is not None
        elif said.accepted is None:
            _count(counts.not_judged, said.why, item)
            if item.before is not None:
                counts.had_outcome += 1  # which it keeps
            elif not keep:
                record = None
        else:
            record = _judged_record(item, said, counts.filter)
            counts.without_exits += item.record.get("exits") is not None
            counts.judged += 1
            counts.accepted += said.accepted
            if said.why:
                _count(counts.not_accepted_because, said.why, item)
            if said.found is not None:
                counts.found[said.found] = counts.found.get(said.found, 0) + 1
            if item.before is not None and (both := counts.agreement) is not None:
                name = "_".join("accepted" if one else "unaccepted" for one in (item.before, said.accepted))
                setattr(both, name, getattr(both, name) + 1)
        if record is not None:
            counts.written += 1
            yield record
        if progress is not None:
            progress(counts)


def _some(records: Iterator[Record], kept: KeptVerdicts | None, counts: JudgedFile) -> Iterator[Record]:
    """Yield the records. Raises `InputError` if none has an outcome in the end."""
    yield from records
    if counts.outcomes:
        return
    if kept is not None:
        kept.remove()  # it tells nothing that is worth going on with
    why = ", ".join(f"{of.records} with {reason}" for reason, of in counts.not_judged.items())
    why = why or f"{counts.unfinished} never finished, {counts.malformed} malformed"
    what = f"none of {counts.records} records has an outcome: {why}" if counts.records else "there are no records"
    remedy = (
        "give what they are judged by in the records, or by id or by what is asked in a file of prompts (--prompts), "
        "or use another --filter"
    )
    raise InputError(what, where="msifr judge", remedy=remedy if counts.records else "name files with outputs")


def _as_it_was(item: _Entered) -> Record:
    """Return the record, with its outcome as true or false, and no null or NaN in the place of one."""
    record = {name: value for name, value in item.record.items() if name != "correct"}
    return record if item.before is None else record | {"correct": item.before}


def _judged_record(item: _Entered, said: Judged, judged_by: str) -> Record:
    scored = {} if said.score is None else {"score": said.score}
    before = {} if item.before is None else {"correct_before": item.before}
    record = {name: value for name, value in item.record.items() if name != "exits"}
    return record | {"correct": said.accepted, "judged_by": judged_by} | scored | before


def _count(reasons: dict[str, Reason], why: str, item: _Entered) -> None:
    if why not in reasons and len(reasons) >= _MOST_REASONS:
        why = "other reasons"
    if why in reasons:
        reasons[why].records += 1
    else:
        reasons[why] = Reason(1, str(item.record.get("id") or item.where)[:80])
