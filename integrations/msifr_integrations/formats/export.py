"""What a run made, exported for training: samples or pairs in a file, or a data set with a card in a folder."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

import msgspec

from msifr_integrations.formats.accepted import (
    ENDINGS,
    AcceptedForm,
    SampleCounts,
    check_not_the_run,
    sample_columns,
    samples_of,
    write_samples,
)
from msifr_integrations.formats.data_card import TAG, Card, data_card
from msifr_integrations.formats.preference import PairCounts, PairOptions, Pairs, RejectedKind, make_pairs, pair_columns
from msifr_integrations.formats.rows import Record, check_rows_out
from msifr_integrations.formats.written import RunFacts, Written, read_facts, read_written
from msifr_integrations.generation.provenance import differences
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import prompt_hash
from msifr_policy.extras import needs
from msifr_policy.files import check_writable, replacing
from msifr_policy.records.lines import line_of
from msifr_policy.records.rows import write_rows

ExportForm = Literal["chat", "text", "preference", "parquet", "datasets"]
"""`chat`, `text`, `parquet`: accepted samples, see `AcceptedForm`. `preference`: pairs, see `make_pairs`. `datasets`: a
folder that `datasets.load_dataset` reads, with samples (as `parquet`), pairs if they are asked for, and a data card."""

_SHARD_BYTES: Final = 1 << 28
"""A file of a data set is followed by another when its rows have so many bytes as JSON."""

_PARTS: Final = frozenset({"README.md", "data", "preference"})


class ExportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is exported.

    policy: the file of the policy that it was under, whose certificate the data card carries. pairs: which pairs are
    made, None for the usual: one per prompt where the form is `preference`, none in a data set. rejected: what may be
    the rejected side of a pair.
    """

    form: ExportForm = "chat"
    policy: str | None = None
    pairs: Pairs | None = None
    rejected: RejectedKind = "any"

    def __post_init__(self) -> None:
        if self.form not in get_args(ExportForm):
            raise InputError(f"unknown form {self.form!r}", remedy=f"known: {', '.join(get_args(ExportForm))}")
        if self.pairs is not None and self.form not in ("preference", "datasets"):
            what, remedy = f"the form {self.form} has no pairs", "use the form preference, or datasets"
            raise InputError(what, where="export, pairs", remedy=remedy)

    @property
    def pair_options(self) -> PairOptions:
        """Which pairs are made."""
        return PairOptions(pairs=self.pairs or "one-per-prompt", rejected=self.rejected)


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What an export came to: `samples` at `prompts`, worth `n_effective` of equal weight; its pairs, if it has any.

    `remarks` are what to know of it.
    """

    form: ExportForm
    samples: int | None = None
    prompts: int | None = None
    n_effective: float | None = None
    pairs: PairCounts | None = None
    remarks: tuple[str, ...] = ()


def check_export(out: str | os.PathLike[str], to: str | os.PathLike[str], options: ExportOptions) -> Path:
    """Return where an export of the run `out` to `to` ends up; call it before the run, or before any other work.

    Raises `InputError` for a place that cannot be written, an ending that is none of the form's, what the run itself
    writes, and a folder that holds anything but an earlier export.
    """
    if options.form == "datasets":
        needs("pyarrow", extra="parquet", what="a data set of Parquet files", where=os.fspath(to))
        place = check_writable(to, folder=True)
        _check_ours(place)
    else:
        place = check_rows_out(to, (".parquet",) if options.form == "parquet" else ENDINGS)
    check_not_the_run(out, to, place)
    return place


def _check_ours(place: Path) -> None:
    if not place.exists() or not any(place.iterdir()):
        return
    card = place / "README.md"
    ours = {path.name for path in place.iterdir()} <= _PARTS
    if not ours or not card.is_file() or f"- {TAG}\n" not in card.read_text(encoding="utf-8", errors="replace")[:1000]:
        what = "is a folder with other files, which an export does not replace"
        raise InputError(what, where=str(place), remedy="name a new folder, or one of an earlier export")


def export_run(
    out: str | os.PathLike[str],
    to: str | os.PathLike[str],
    options: ExportOptions = ExportOptions(),  # noqa: B008 - frozen
    progress: Callable[[int], None] | None = None,
) -> Exported:
    """Export what a run made, its output `out` (or judged traces), to the file or folder `to`.

    All of it appears or nothing does, and the same run gives the same bytes. `progress` is told how many attempts were
    read, from 1 again whenever they are read once more. Memory: one sample, of Parquet one row group, a digest for each
    prompt, and for pairs what `make_pairs` says.

    Raises `InputError` as `check_export`, for an `out` that is no run, and for a policy file that is not of this run.
    """
    place = check_export(out, to, options)
    facts = read_facts(out, options.policy)
    samples = None if options.form == "preference" else SampleCounts()
    pairs = PairCounts() if options.form == "preference" or options.pairs is not None else None

    def attempts() -> Iterator[Written]:
        number = 0
        for number, attempt in enumerate(read_written(out), 1):
            if progress is not None:
                progress(number)
            yield attempt
        if not number and facts.totals is None:
            raise InputError(
                "holds no attempts", where=os.fspath(out), remedy="name the output of a run, or judged traces"
            )

    def paired(counts: PairCounts) -> Iterator[Record]:
        folder = place.parent if options.form == "preference" else _part(place)
        return make_pairs(attempts(), folder, options.pair_options, counts, facts)

    if options.form == "datasets" and samples is not None:
        differ = _differences(facts, attempts())
        card = Card(samples=samples, pairs=pairs, pair_options=options.pair_options, facts=facts, differences=differ)
        found = samples_of(attempts(), "parquet", facts, samples)
        _write_folder(place, card, found, None if pairs is None else paired(pairs))
    elif options.form in get_args(AcceptedForm) and samples is not None:
        form = cast(AcceptedForm, options.form)
        write_samples(to, samples_of(attempts(), form, facts, samples), form)
    elif pairs is not None:
        write_rows(to, paired(pairs), pair_columns() if os.fspath(to).endswith(".parquet") else None)
    return Exported(
        form=options.form,
        samples=None if samples is None else samples.samples,
        prompts=None if samples is None else samples.prompts,
        n_effective=None if samples is None else samples.n_effective,
        pairs=pairs,
        remarks=tuple(_remarks(options, facts, samples, pairs)),
    )


def _remarks(
    options: ExportOptions, facts: RunFacts, samples: SampleCounts | None, pairs: PairCounts | None
) -> Iterator[str]:
    if samples is not None and not samples.samples:
        yield "no attempt of the run was accepted" + "; an empty data set cannot be loaded" * (
            options.form == "datasets"
        )
    if samples is not None and samples.weighted:
        yield (
            f"the samples have weights, and tell as much as {samples.n_effective:.1f} of equal weight: "
            "train with `weight` (1 where a line has none), or they are biased"
        )
    if pairs is not None and not pairs.pairs:
        yield "no prompt has both an accepted attempt and one to reject"
    if pairs is not None and pairs.unjudged:
        yield f"{pairs.unjudged} attempts are on no side of a pair: the final filter could not judge them"
    if options.form == "datasets" and facts.totals is None:
        yield "there is no ledger beside the attempts: the data card cannot say what was dropped"
    elif options.form == "datasets" and facts.policy is None and facts.under == "":
        yield "the run was under a policy: give its file (--policy), and the data card carries its certificate"


def _differences(facts: RunFacts, attempts: Iterable[Written]) -> list[str]:
    """Return how the run differs from what its policy was certified on."""
    if facts.policy is None or not facts.policy.certificate.certified:
        return []
    prompts: Iterable[int] = ()
    if facts.policy.certified_for.prompts:
        prompts = sorted({prompt_hash(attempt.prompt_id, attempt.prompt) for attempt in attempts})
    return differences(facts.policy.policy(), facts.settings, prompts)


def _part(place: Path) -> Path:
    """Return where the folder of a data set is written before it is put in its place."""
    return place.with_name(f".{place.name}.part")


def _write_folder(place: Path, card: Card, samples: Iterator[Record], pairs: Iterator[Record] | None) -> None:
    """Write the folder of a data set beside its place, then put it there."""
    part, old = _part(place), place.with_name(f".{place.name}.old")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _write_shards(part / "data", samples, sample_columns("parquet"))
        if pairs is not None:
            _write_shards(part / "preference", pairs, pair_columns())
        with replacing(part / "README.md") as readme:
            readme.write_text(data_card(card), encoding="utf-8")
        shutil.rmtree(old, ignore_errors=True)
        if place.exists():
            place.rename(old)
        try:
            part.rename(place)
        except BaseException:
            if old.exists():
                old.rename(place)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", where=str(place)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_shards(folder: Path, records: Iterator[Record], schema: Any) -> None:
    """Write records into files of about `_SHARD_BYTES`; none for none, since `datasets` loads no empty ones."""
    size = 0

    def shard(record: Record) -> int:
        nonlocal size
        size += len(line_of(record))
        return size // _SHARD_BYTES

    for number, (_, rows) in enumerate(groupby(records, shard)):
        write_rows(folder / f"train-{number:05}.parquet", rows, schema)
