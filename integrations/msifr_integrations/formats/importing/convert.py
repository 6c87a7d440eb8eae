"""From files in whatever format to traces: recognised, given ids and outcomes, written; what is lost is counted."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from msifr_integrations.formats.importing.attempts import ForeignAttempt, Format, Lost, OutcomeReader, Record
from msifr_integrations.formats.importing.own import AS_THEY_ARE, FIELDS, NO_TEXT, mapped
from msifr_integrations.formats.importing.prompts import Asked, read_asked, with_asked
from msifr_integrations.formats.importing.recognise import paths_of, recognise, unknown
from msifr_integrations.formats.importing.sources import find_inputs, foreign_records
from msifr_integrations.generation.judging import MakeFilter, ToJudge, judged
from msifr_policy.errors import InputError
from msifr_policy.filters import Prompt
from msifr_policy.records.compact import IdSet
from msifr_policy.records.ids import Numbering, id_of_prompt
from msifr_policy.records.mapping import FieldMap
from msifr_policy.records.traces import OnError, Output, Trace, write_outputs

NO_OUTCOME: Final = "no outcome"

_FIRST: Final = 20  # records by which a format is told
_IN_VAIN: Final = 10_000  # attempts without an outcome, after which the rest is not looked at
_NOT_JUDGED: Final = "cannot be judged"
_SKIP: Final = "--on-error skip counts and skips what is none"
_GOLD: Final = (
    "name a file that has them, by id or by what is asked, with --prompts, or their field with --map gold=PATH"
)


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """How files are converted.

    prompts: files that tell prompts and gold answers by id. metric: which of a format's verdicts is the outcome.
    reward_threshold: the reward from which on an output is accepted. fields: where fields are, in words (`FieldMap`).
    without_outcome: write attempts without an outcome, too. on_error: stop at a record that is malformed, or skip it.
    workers: processes that judge.

    Raises `InputError` for words that are none.
    """

    prompts: tuple[str, ...] = ()
    metric: str = ""
    reward_threshold: float | None = None
    fields: tuple[str, ...] = ()
    without_outcome: bool = False
    on_error: OnError = "raise"
    workers: int = 1

    def __post_init__(self) -> None:
        _ = self.mapping

    @property
    def mapping(self) -> FieldMap:
        """Where fields are in records of a shape of their own."""
        return FieldMap.parse(self.fields, FIELDS)


class ConvertedFile(msgspec.Struct):
    """A file that was read: what it is, and how many records and attempts it holds."""

    path: str
    format: str
    note: str = ""
    records: int = 0
    attempts: int = 0


class Converted(msgspec.Struct):
    """What came of a conversion.

    files, not_recognised: those that were read, and in folders those that hold no known records.
    attempts, written, accepted, unjudged, prompts: how many there were, were written, of these with which outcome or
    none, and at how many prompts.
    outcomes: where outcomes are from: "own" for the format's verdicts, else the filter's name.
    both_told, disagree: outputs of which filter and format have a verdict, and of which they say different things.
    not_accepted_because: outputs that the filter could not judge and therefore did not accept, by reason.
    lost: attempts that are not written, by reason. malformed, errors: records that were skipped, and what is wrong with
    the first of them.
    ids_made: attempts whose prompt came without an id. without_prompt, without_gold: of which it is not told what was
    asked, or what is right. asked_before: whose prompt is the last of what was asked.
    without_place: members of records that have no place in traces, with how many records have them.
    """

    files: list[ConvertedFile] = msgspec.field(default_factory=list)
    not_recognised: list[str] = msgspec.field(default_factory=list)
    attempts: int = 0
    written: int = 0
    accepted: int = 0
    unjudged: int = 0
    prompts: int = 0
    outcomes: str = "own"
    ids_made: int = 0
    without_prompt: int = 0
    asked_before: int = 0
    without_gold: int = 0
    both_told: int = 0
    disagree: int = 0
    lost: dict[str, int] = msgspec.field(default_factory=dict)
    not_accepted_because: dict[str, int] = msgspec.field(default_factory=dict)
    without_place: dict[str, int] = msgspec.field(default_factory=dict)
    malformed: int = 0
    errors: list[str] = msgspec.field(default_factory=list)

    def skip(self, error: InputError) -> None:
        """Count a malformed record; keep the words of the first few."""
        self.malformed += 1
        if len(self.errors) < 5:
            self.errors.append(str(error))


def convert(
    paths: Sequence[str],
    out: str,
    options: ConvertOptions,
    make_filter: MakeFilter | None = None,
    progress: Callable[[Converted], None] | None = None,
) -> Converted:
    """Write the attempts in files as traces to `out`, which appears whole or not at all; return what came of it.

    With a filter it says what is accepted, else the format's own verdict does. Attempts without an outcome are left
    out, unless `without_outcome`. Ids are made where there are none: of prompts by what they ask, of attempts by
    number. Memory: what is told of each prompt, and a digest for each attempt with an id of its own.

    Raises `InputError` for what is no known format, a malformed record, and if nothing can be written: with the reason.
    """
    came = Converted()
    files = find_inputs(paths)
    identify = _Identify(read_asked(options.prompts), came)
    candidates = _candidates(files, {str(Path(path)) for path in paths}, options, identify, came)
    if make_filter is None:
        outputs = _by_own_verdict(candidates, options, came)
    else:
        came.outcomes = make_filter().name
        outputs = _by_filter(candidates, make_filter, options, came)
    counted = _counted(outputs, came, progress)
    first = list(islice(counted, 1))
    if not first:
        raise _nothing(came, make_filter is not None)
    write_outputs(out, chain(first, counted))
    came.prompts = identify.prompts
    return came


class _Candidate(NamedTuple):
    """An attempt with its ids: what is written of it, its own verdict, and the tests that a filter may run."""

    output: Output
    verdict: bool | None
    tests: str | None


class _Identify:
    """Gives attempts what is known of their prompts, and ids where they have none."""

    def __init__(self, known: dict[str, Asked], came: Converted) -> None:
        self._known = known
        self._came = came
        self._numbering = Numbering()
        self._taken = IdSet()
        self._first_request: dict[str, str] = {}  # by what is asked: the id of the first request that asks it

    @property
    def prompts(self) -> int:
        """How many prompts there were."""
        return len(self._numbering)

    def __call__(self, attempt: ForeignAttempt) -> _Candidate | Lost:
        """Return the attempt with ids; raises ValueError for what no trace can hold."""
        attempt = with_asked(attempt, self._known)
        prompt_id, context = attempt.prompt_id, attempt.asked or attempt.prompt
        if not prompt_id and (request := attempt.request_id):
            prompt_id = self._first_request.setdefault(id_of_prompt(context), request) if context else request
        if not prompt_id:
            if not context:
                return Lost("neither the prompt nor an id of it is told")
            self._came.ids_made += 1
            prompt_id = id_of_prompt(context)
        self._came.without_prompt += not attempt.prompt
        self._came.asked_before += attempt.asked not in ("", attempt.prompt)
        self._came.without_gold += attempt.gold is None
        told = {name: getattr(attempt, name) for name in Output.__struct_fields__}
        told |= {"prompt_id": prompt_id, "id": self._id(attempt.id, prompt_id)}
        return _Candidate(Output(**told), attempt.outcome, attempt.tests)

    def _id(self, own: str, prompt_id: str) -> str:
        """Return an attempt's own id if no other has it, else one of its prompt and its number at it."""
        made = self._numbering.next_id(prompt_id)
        return own if own and self._taken.add(own) else made


def _candidates(
    files: Sequence[Path], named: set[str], options: ConvertOptions, identify: _Identify, came: Converted
) -> Iterator[_Candidate]:
    """Yield the attempts in files; count what is none."""
    for path in files:
        records = foreign_records(path)
        first = list(islice(records, _FIRST))
        good = [record for _, record in first if not isinstance(record, InputError)]
        known = mapped(options.mapping) if options.mapping else recognise(good)
        if known is None:
            if str(path) not in named and len(files) > 1:
                came.not_recognised.append(str(path))
                continue
            raise unknown(path, first, good)
        about = ConvertedFile(str(path), known.name, known.note)
        came.files.append(about)
        reading = OutcomeReader(options.metric, options.reward_threshold)
        for where, record in chain(first, records):
            about.records += 1
            try:
                for each in _of_record(record, where, known, reading, came):
                    about.attempts += 1
                    found = each if isinstance(each, Lost) else identify(each)
                    if isinstance(found, Lost):
                        came.lost[found.why] = came.lost.get(found.why, 0) + 1
                    else:
                        yield found
            except ValueError as error:
                told = error if isinstance(error, InputError) else InputError(str(error), where=where, remedy=_SKIP)
                if options.on_error == "raise":
                    raise told from None
                came.skip(told)
        came.attempts += about.attempts
        if len(files) == 1 and good and about.attempts and came.lost.get(NO_TEXT) == about.attempts:
            remedy = "mend --map text=PATH; several attempts of one record are told by [*]"
            raise InputError(
                f"has no text where --map says; its records have {paths_of(good[0])}", where=str(path), remedy=remedy
            )


def _of_record(
    record: Record | InputError, where: str, known: Format, reading: OutcomeReader, came: Converted
) -> Iterable[ForeignAttempt | Lost]:
    if isinstance(record, InputError):
        raise record
    if not known.fits(record):
        names = ", ".join(list(record)[:8])
        raise InputError(f"is not of {known.name}, as those before: it has {names}", where=where, remedy=_SKIP)
    for name in record:
        if name not in known.used:
            came.without_place[name] = came.without_place.get(name, 0) + 1
    return known.attempts(record, reading, where)


def _by_own_verdict(candidates: Iterable[_Candidate], options: ConvertOptions, came: Converted) -> Iterator[Output]:
    for output, verdict, _ in candidates:
        if verdict is not None or options.without_outcome:
            yield _with_outcome(output, verdict)
            continue
        came.lost[NO_OUTCOME] = came.lost.get(NO_OUTCOME, 0) + 1
        if not came.written and came.lost[NO_OUTCOME] >= _IN_VAIN:
            return


def _by_filter(
    candidates: Iterable[_Candidate], make: MakeFilter, options: ConvertOptions, came: Converted
) -> Iterator[Output]:
    tasks = ((each, _task(each)) for each in candidates)
    for (output, verdict, _), said in judged(tasks, make, workers=options.workers):
        outcome, why = (None, "") if said is None else (said.accepted, said.why)
        if outcome is None and not options.without_outcome:
            came.lost[f"{_NOT_JUDGED}: {why}"] = came.lost.get(f"{_NOT_JUDGED}: {why}", 0) + 1
            continue
        if why and outcome is not None:
            came.not_accepted_because[why] = came.not_accepted_because.get(why, 0) + 1
        if verdict is not None and outcome is not None:
            came.both_told += 1
            came.disagree += verdict != outcome
        yield _with_outcome(output, outcome, judged_by=came.outcomes)


def _task(candidate: _Candidate) -> ToJudge:
    """Return what a filter is given; where nobody knows what was asked, the prompt's id stands for it."""
    output = candidate.output
    prompt = Prompt(
        prompt_id=output.prompt_id,
        prompt=output.prompt or output.prompt_id,
        gold=output.gold,
        tests=candidate.tests,
        schema=output.schema,
        parameters=output.parameters,
    )
    return ToJudge(prompt, output.text)


def _with_outcome(output: Output, outcome: bool | None, judged_by: str | None = None) -> Output:
    if outcome is None:
        return output
    return Trace(**msgspec.structs.asdict(output), accepted=outcome, judged_by=judged_by)


def _counted(
    outputs: Iterable[Output], came: Converted, progress: Callable[[Converted], None] | None
) -> Iterator[Output]:
    for output in outputs:
        came.written += 1
        if isinstance(output, Trace):
            came.accepted += output.accepted
        else:
            came.unjudged += 1
        if progress is not None:
            progress(came)
        yield output


def _nothing(came: Converted, by_filter: bool) -> InputError:
    """Return the error that says why no attempt can be written, and what helps."""
    files = ", ".join(f"{each.path}: {each.format}" for each in came.files[:3])
    reasons = ", ".join(f"{why} {count}" for why, count in sorted(came.lost.items(), key=lambda one: -one[1]))
    if came.lost.get(NO_OUTCOME):
        gold = "they have gold answers"
        if came.without_gold >= came.lost[NO_OUTCOME]:
            gold = f"they have no gold answers: {_GOLD}"
        remedy = (
            f"judge them here with --filter numeric, math, choice or another; {gold}; or write them as they are with "
            "--without-outcome, for msifr judge"
        )
        told = dict.fromkeys(each.note for each in came.files if each.note not in ("", AS_THEY_ARE))
        notes = "".join(f"; {note}" for note in told)
        return InputError(f"nothing says which outputs are accepted: {reasons}{notes}", where=files, remedy=remedy)
    if by_filter and not came.written and any(why.startswith(_NOT_JUDGED) for why in came.lost):
        return InputError(f"no output can be judged: {reasons}", where=files, remedy=_GOLD)
    if came.malformed:
        return InputError(f"all {came.malformed} records are malformed; the first: {came.errors[0]}", where=files)
    return InputError(f"there are no attempts to write: {reasons or 'no records'}", where=files)
