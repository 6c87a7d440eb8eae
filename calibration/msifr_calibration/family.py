"""Families of traces: a model on a benchmark, with the evidence of its attempts and the texts behind it."""

from collections.abc import Sequence
from dataclasses import dataclass

from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.records.traces import Trace


@dataclass(frozen=True, slots=True)
class Family:
    """Attempts of one model on one benchmark, or whatever else is fitted and certified by itself.

    traces: the texts behind `table` (any order, more than its attempts allowed), needed where words are learned. pool:
    families of one pool are certified together where they are too small to be certified alone.
    """

    name: str
    table: EvidenceTable
    traces: Sequence[Trace] = ()
    pool: str = ""
