"""Which format records are of, told by the first of them."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from msifr_integrations.formats.importing.attempts import Format, Record
from msifr_integrations.formats.importing.batch import BATCH
from msifr_integrations.formats.importing.chat_logs import MESSAGES, SHARE_GPT
from msifr_integrations.formats.importing.completions import ALPACA, COMPLETIONS, TABLE, VERL, VLLM
from msifr_integrations.formats.importing.distilabel import DISTILABEL
from msifr_integrations.formats.importing.gsm8k import GSM8K, GSM8K_MODELS
from msifr_integrations.formats.importing.inspect_logs import INSPECT
from msifr_integrations.formats.importing.lm_eval import LM_EVAL
from msifr_integrations.formats.importing.mmlu_pro import MMLU_PRO
from msifr_integrations.formats.importing.open_r1 import OPEN_R1
from msifr_integrations.formats.importing.own import OWN
from msifr_integrations.formats.importing.skythought import SKYTHOUGHT
from msifr_integrations.formats.importing.step_labels import PRM800K, PROCESS_BENCH
from msifr_policy.errors import InputError
from msifr_policy.records.others import known_as

FORMATS: Final = (
    OWN, LM_EVAL, BATCH, INSPECT, SKYTHOUGHT, PRM800K, PROCESS_BENCH, MMLU_PRO, GSM8K_MODELS, OPEN_R1, DISTILABEL, VLLM,
    COMPLETIONS, VERL, ALPACA, SHARE_GPT, GSM8K, TABLE, MESSAGES,
)  # fmt: skip
"""Those whose names tell most come first: a chat may stand beside any of them."""

_MOST_PATHS: Final = 16  # that are told of a record of no known format
_DEEPEST: Final = 3  # names in one another
_LONGEST_PATH: Final = 80  # characters
_ODD: Final = re.compile(r"""[.\[\]"'<>=\s]""")  # what `--map` takes in quotes only


def recognise(records: Sequence[Record]) -> Format | None:
    """Return the format that most of these records are of, the first of several; None if none knows any."""
    fitting = Counter(next((i for i, known in enumerate(FORMATS) if known.fits(record)), -1) for record in records)
    fitting.pop(-1, None)
    return FORMATS[min(fitting, key=lambda i: (-fitting[i], i))] if fitting else None


def unknown(path: Path, first: Sequence[tuple[str, Record | InputError]], good: Sequence[Record]) -> InputError:
    """Return the error for a file of no known format: what it seems to be, or what its records have."""
    if not good:
        if first and isinstance(first[0][1], InputError):
            return first[0][1]
        return InputError("holds no records", where=str(path))
    remedy = (
        "tell where the fields are: --map text=PATH --map prompt=PATH, and --map gold=PATH with --filter, or "
        "--map 'correct=PATH>=0.5'"
    )
    if (other := known_as(good[0], f"{path}, record 1")) is not None:
        return InputError(f"is {other.what}", where=str(path), remedy=f"{other.remedy}; if it is another, {remedy}")
    return InputError(f"is of no known format; its records have {paths_of(good[0])}", where=str(path), remedy=remedy)


def paths_of(record: Record) -> str:
    """Return where a record has values, in the words of `--map`; of lists their first place stands for all."""
    found: list[str] = []
    left: list[tuple[str, Any]] = [("", record)]
    while left and len(found) < _MOST_PATHS:
        path, value = left.pop()
        if isinstance(value, list) and value and "[*]" not in path:
            left.append((f"{path}[*]", value[0]))
        elif isinstance(value, dict) and value and path.count(".") < _DEEPEST:
            left += [(path + _step(str(name), bool(path)), inner) for name, inner in reversed(value.items())]
        else:
            found.append(path if len(path) <= _LONGEST_PATH else f"{path[:_LONGEST_PATH]}…")
    return ", ".join(found) + ", …" * bool(left)


def _step(name: str, further: bool) -> str:
    return f'["{name}"]' if _ODD.search(name) else "." * further + name
