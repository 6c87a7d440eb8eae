"""Which format records are of, told by the first of them."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

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

FORMATS: Final = (
    OWN, LM_EVAL, BATCH, INSPECT, SKYTHOUGHT, PRM800K, PROCESS_BENCH, MMLU_PRO, GSM8K_MODELS, OPEN_R1, DISTILABEL, VLLM,
    COMPLETIONS, VERL, ALPACA, SHARE_GPT, GSM8K, TABLE, MESSAGES,
)  # fmt: skip
"""Those whose names tell most come first: a chat may stand beside any of them."""


def recognise(records: Sequence[Record]) -> Format | None:
    """Return the format that most of these records are of, the first of several; None if none knows any."""
    fitting = Counter(next((i for i, known in enumerate(FORMATS) if known.fits(record)), -1) for record in records)
    fitting.pop(-1, None)
    return FORMATS[min(fitting, key=lambda i: (-fitting[i], i))] if fitting else None
