"""The accepted samples of a run alone, in the forms that trainers read."""

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec

from msifr_integrations.formats.rows import Record, check_rows_out
from msifr_integrations.formats.written import RunFacts, Written, read_written
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.provenance import provenance_of
from msifr_policy.errors import InputError
from msifr_policy.filters import Message
from msifr_policy.records.compact import IdSet
from msifr_policy.records.rows import write_rows

if TYPE_CHECKING:
    import pyarrow as pa

AcceptedForm = Literal["chat", "text", "parquet"]
"""`chat`: `messages`, the answer last. `text`: `prompt` (of a chat, what the user said last) and `completion`.

Both have `prompt_id`, `id`, and `group` where the prompt has one (a column that may be null in Parquet); `weight` where
it is not 1. `parquet`: as `chat`, with `weight` always, and where each sample is from: see `sample_columns`.
"""

ENDINGS: Final = (".jsonl", ".jsonl.gz", ".parquet")


class SampleCounts(msgspec.Struct):
    """What was written: accepted `samples` at `prompts`, and their weights, whose sum and sum of squares are kept."""

    samples: int = 0
    prompts: int = 0
    weight: float = 0.0
    weight_squared: float = 0.0

    @property
    def weighted(self) -> bool:
        """Whether any weight is not 1."""
        return self.weight_squared != self.samples or self.weight != self.samples

    @property
    def n_effective(self) -> float:
        """Kish's number of samples of equal weight that are worth as much, (ΣW)²/ΣW² [T7]."""
        return self.weight**2 / self.weight_squared if self.weight_squared else 0.0


def sample_of(attempt: Written, form: AcceptedForm, facts: RunFacts) -> Record:
    """Return an accepted attempt as a sample in one of the forms. Raises `InputError` if its prompt is not known."""
    sample: Record
    if form == "text":
        sample = {"prompt": attempt.prompt or attempt.asked[-1].content, "completion": attempt.text}
    else:
        said = (*attempt.asked, Message("assistant", attempt.text))
        sample = {"messages": [msgspec.structs.asdict(message) for message in said]}
    sample |= {"prompt_id": attempt.prompt_id, "id": attempt.id}
    if attempt.group is not None:
        sample["group"] = attempt.group
    if form == "parquet":
        return sample | {"weight": attempt.weight} | _origin(attempt, facts)
    return sample if attempt.weight == 1 else sample | {"weight": attempt.weight}


def _origin(attempt: Written, facts: RunFacts) -> dict[str, Any]:
    """Return where a sample is from, as far as it is known."""
    here = provenance_of(facts.settings)
    return {
        "gold": attempt.gold,
        "score": None if attempt.score is None or math.isnan(attempt.score) else attempt.score,
        "tokens": attempt.tokens,
        "model": attempt.model or next(iter(here.models), None),
        "sampling": here.sampling or None,
        "filter": here.filter or None,
        "seed": attempt.seed,
        "policy": facts.under or None,
    }


def sample_columns(form: AcceptedForm) -> "pa.Schema":
    """Return the columns of samples in Parquet; `weight` is what a sample stands for, `policy` the name of a file."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    said = {"messages": pa.list_(pa.struct([("role", text), ("content", text)]))}
    if form == "text":
        said = {"prompt": text, "completion": text}
    columns: dict[str, Any] = said | dict.fromkeys(("prompt_id", "id", "group"), text)
    if form == "parquet":
        columns |= {"weight": number, "gold": text, "score": number, "tokens": pa.int64(), "model": text}
        columns |= {"sampling": text, "filter": text, "seed": pa.int64(), "policy": text}
    return pa.schema(columns)


def samples_of(
    attempts: Iterable[Written], form: AcceptedForm, facts: RunFacts, counts: SampleCounts
) -> Iterator[Record]:
    """Yield the accepted ones of a run's attempts as samples, and count; memory: some 13 bytes for each prompt."""
    prompts = IdSet()
    for attempt in attempts:
        if attempt.accepted:
            prompts.add(attempt.prompt_id)
            counts.samples += 1
            counts.prompts = len(prompts)
            counts.weight += attempt.weight
            counts.weight_squared += attempt.weight**2
            yield sample_of(attempt, form, facts)


def check_accepted_out(out: str | os.PathLike[str], to: str | os.PathLike[str]) -> None:
    """Raise `InputError` if the accepted samples of the run `out` cannot be written to `to`; call it before the run."""
    check_not_the_run(out, to, check_rows_out(to, ENDINGS))


def check_not_the_run(out: str | os.PathLike[str], to: str | os.PathLike[str], place: Path) -> None:
    """Raise `InputError` if `to`, which ends up at `place`, is the output of the run or its ledger."""
    if place in [Path(os.path.realpath(path)) for path in (out, ledger_path(out))]:
        raise InputError("is written by the run itself", where=os.fspath(to), remedy="name another file")


def write_accepted(out: str | os.PathLike[str], to: str | os.PathLike[str], *, form: AcceptedForm = "chat") -> int:
    """Write the accepted samples of a run's output `out` to `to`, in the run's order; return how many.

    The ending of `to` says the format: JSON lines, plain or packed by gzip, or Parquet. The file appears whole or not
    at all. Memory: one sample, of Parquet one row group, and a digest for each prompt.

    Raises `InputError` for another ending or form, a place that cannot be written, and an `out` that is not the output
    of a run.
    """
    if form not in get_args(AcceptedForm):
        known = ", ".join(get_args(AcceptedForm))
        raise InputError(f"unknown form {form!r}", where=os.fspath(to), remedy=f"known: {known}")
    check_accepted_out(out, to)
    return write_samples(to, samples_of(read_written(out), form, RunFacts(), SampleCounts()), form)


def write_samples(to: str | os.PathLike[str], samples: Iterator[Record], form: AcceptedForm) -> int:
    """Write samples in the format that the ending of `to` says, whole or not at all; return how many."""
    if not os.fspath(to).endswith(".parquet"):
        return write_rows(to, samples)
    columns = sample_columns(form)
    return write_rows(to, samples if "weight" in columns.names else _unweighted(samples, to), columns)


def _unweighted(samples: Iterator[Record], to: str | os.PathLike[str]) -> Iterator[Record]:
    """Yield the samples. Raises `InputError` for one with a weight, which would be lost silently."""
    for sample in samples:
        if "weight" in sample:
            what = f"sample {sample['id']!r} has the weight {sample['weight']}, for which this form has no column"
            raise InputError(what, where=os.fspath(to), remedy="use the form parquet, or write JSON lines")
        yield sample
