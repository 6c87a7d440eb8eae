"""The options of an autopilot, and what is said of one when its run has ended."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msifr_integrations.cli.words import parse_validators
from msifr_integrations.generation.options import AutopilotOptions
from msifr_policy.errors import InputError

if TYPE_CHECKING:
    from msifr_integrations.generation.autopilot import AutopilotReport

_DEFAULTS = AutopilotOptions()


@dataclass(frozen=True, slots=True)
class PilotWords:
    """An autopilot as the command line asks for it."""

    autopilot: bool = False
    max_false_reject: float = _DEFAULTS.max_false_reject
    confidence: float = _DEFAULTS.confidence
    validators: str = "default"

    def __post_init__(self) -> None:
        if not self.autopilot and PilotWords(True, *self._promise) != PilotWords(True):
            raise InputError(
                "the promise and its validators are those of an autopilot",
                where="msifr generate",
                remedy="add --autopilot, or leave out --max-false-reject, --confidence and --validators",
            )
        _ = self.options

    @property
    def _promise(self) -> tuple[float, float, str]:
        return self.max_false_reject, self.confidence, self.validators

    @property
    def options(self) -> AutopilotOptions | None:
        """The options of the autopilot, None without one."""
        if not self.autopilot:
            return None
        alpha, confidence, words = self._promise
        return AutopilotOptions(
            max_false_reject=alpha, confidence=confidence, validators=tuple(parse_validators(words))
        )


PILOT_HELP: dict[str, str | dict[str, Any]] = {
    "autopilot": {
        "is_flag": True,
        "help": "Instead of --policy: fit, certify and run one on the way. Nothing is discarded until that is "
        "certified; then a share of it is audited, and an alarm ends it.",
    },
    "max_false_reject": "With --autopilot: the largest share of the good samples that may be discarded.",
    "confidence": "With --autopilot: how sure that is, over the whole run.",
    "validators": {
        "metavar": "WORDS",
        "help": "With --autopilot: what reads partial texts, in the words of msifr fit.",
    },
}


def pilot_lines(report: "AutopilotReport") -> list[str]:
    """Return how far an autopilot came, in lines."""
    state = report.state
    blocks = "1 block" if state.blocks == 1 else f"{state.blocks} blocks"
    prompts = "1 prompt" if state.prompts == 1 else f"{state.prompts} prompts"
    lines = [f"autopilot: {prompts} in {blocks}; {_now(report)}"]
    if state.alarms:
        lines.append(f"alarms after {', '.join(map(str, state.alarms))} prompts: each began a new shadow")
    if state.monitor is not None:
        rate = state.monitor.rate
        lines.append(
            f"f of the level in force, by {state.monitor.audited} audits: {rate.lower:.1%} to {rate.upper:.1%} at "
            f"confidence {state.confidence:g}, whenever it is looked at"
        )
    return lines


def _now(report: "AutopilotReport") -> str:
    state = report.state
    if state.path is None:
        return "in shadow: nothing is discarded yet"
    certified = f"{state.certified} of {state.levels} levels certified (counted from 0)"
    return f"{certified}, " + ("none in force" if state.level is None else f"level {state.level} in force")
