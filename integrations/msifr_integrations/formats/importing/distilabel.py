"""Rows that distilabel writes: `instruction`, `generation` or `generations`, and what it keeps of the answer."""

from collections.abc import Mapping
from typing import Final

from msifr_integrations.formats.importing.attempts import Format, Record, as_count, in_place
from msifr_integrations.formats.importing.rows import Rows


def _tokens(record: Record, place: int) -> int | None:
    """Return the tokens of a generation, which the metadata tell by step, as `statistics_NAME_OF_STEP`."""
    metadata = in_place(record.get("distilabel_metadata"), place)
    if not isinstance(metadata, Mapping):
        return None
    told = [
        value for name, value in metadata.items() if str(name).startswith("statistics_") and isinstance(value, Mapping)
    ]
    counts = [each.get("output_tokens") for each in told]
    return as_count(in_place(counts[-1], 0)) if counts else None


_ROWS: Final = Rows(
    prompts=("instruction", "prompt", "messages"),
    texts=("generations", "generation"),
    models=("model_name", "generation_models", "generation_model"),
    tokens=_tokens,
)


def _fits(record: Record) -> bool:
    generated = "generation" in record or "generations" in record
    return generated and ("distilabel_metadata" in record or "instruction" in record)


DISTILABEL: Final = Format("rows of distilabel", _fits, _ROWS.attempts, _ROWS.used | {"distilabel_metadata"})
