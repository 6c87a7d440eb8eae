"""Hidden states of recorded attempts, by a forced pass of the model that made them: to learn a probe and to replay.

An attempt's tokens are found again from its text and their ends: as the tokenizer writes the text, or token by token,
and only if they decode to just these pieces. Of the last token nothing is asked, so any end of a sequence will do.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_calibration.beliefs.state_features import Origin, StateFeatures
from msifr_integrations.engine.base import Engine, ModelEngine
from msifr_integrations.generation.inputs import encode_prompt, weights_fingerprint
from msifr_integrations.generation.text import Pieces
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import pieces
from msifr_policy.evidence.schedule import Schedule, Unit
from msifr_policy.evidence.watch import Watch
from msifr_policy.filters import Prompt
from msifr_policy.records.traces import Trace
from msifr_policy.validators import Hidden
from msifr_policy.validators.hidden import probe_of

DEPTHS = (0.6, 0.7, 0.8)
"""Where the layers are that may be read, as shares of the model's depth."""

_AT_ONCE = 256  # attempts whose states are in memory


class AttemptTokens(NamedTuple):
    """The tokens of an attempt: of its prompt and sampled; `ends` as in a trace."""

    prompt: tuple[int, ...]
    sampled: tuple[int, ...]
    ends: Sequence[int]


def candidate_layers(depth: int) -> tuple[int, ...]:
    """Return the numbers of the layers whose output may be read, near 0.7 of `depth`, from 0."""
    return tuple(sorted({min(max(round(share * depth) - 1, 0), depth - 1) for share in DEPTHS}))


def tokens_of(trace: Trace, tokenizer: Any, *, chat: bool, template: str = "") -> AttemptTokens | None:
    """Return the tokens of a recorded attempt, None if they cannot be told from its text.

    Raises `InputError` if the prompt has another number of tokens than were recorded.
    """
    prompt = encode_prompt(tokenizer, Prompt(prompt_id=trace.prompt_id, prompt=trace.prompt), chat, template)
    if trace.prompt_tokens is not None and len(prompt) != trace.prompt_tokens:
        what = f"the prompt has {len(prompt)} tokens here, {trace.prompt_tokens} when it was recorded"
        remedy = (
            "use the model that made the attempts, with its chat template or without (--chat, --no-chat); traces keep "
            "of a prompt of several messages the last alone, and its states cannot be read again"
        )
        raise InputError(what, where=f"trace {trace.id!r}", remedy=remedy)
    if trace.token_ends is None:
        return None
    ends = trace.token_ends
    whole = tuple(tokenizer.encode(trace.text, add_special_tokens=False))
    if len(ends) > 1 and ends[-1] == ends[-2] == len(trace.text):
        over: tuple[int, ...] = (tokenizer.eos_token_id or 0,)
    else:
        over = ()
    shown = ends[: len(ends) - len(over)]
    if _ends(whole, tokenizer) == shown:
        return AttemptTokens(prompt, whole + over, ends)
    one_by_one = [tokenizer.encode(trace.text[a:b], add_special_tokens=False) for a, b in pairwise([0, *shown])]
    sampled = tuple(each[0] for each in one_by_one if len(each) == 1)
    return AttemptTokens(prompt, sampled + over, ends) if _ends(sampled, tokenizer) == shown else None


def _ends(tokens: Sequence[int], tokenizer: Any) -> list[int]:
    """Return how many characters are complete after each token, as a run would have it."""
    read = Pieces(tokenizer)
    new = [len(read.push(token, last=number == len(tokens))) for number, token in enumerate(tokens, 1)]
    return list(accumulate(new))


class StatePass:
    """A pass of `model` over recorded attempts; `lost` counts those whose tokens cannot be told."""

    def __init__(self, model: Any, tokenizer: Any, *, chat: bool | None = None, template: str = "") -> None:
        self.lost = 0
        self._model = model
        self._tokenizer = tokenizer
        self._chat = bool(tokenizer.chat_template) and not template if chat is None else chat
        self._template = template

    def features(
        self, traces: Sequence[Trace], schedule: Schedule, *, progress: Callable[[int], None] = lambda _: None
    ) -> StateFeatures:
        """Return the states of `traces` at the checkpoints of `schedule`, of the layers that may be read."""
        layers = candidate_layers(self._model.config.get_text_config().num_hidden_layers)
        width = self._model.config.get_text_config().hidden_size
        half = self._model.dtype.itemsize < 4
        kind = np.float16 if half else np.float32
        most = float(np.finfo(kind).max)
        places = [_places(trace, schedule) for trace in traces]
        start = np.cumsum([0, *(len(each) for each in places)], dtype=np.int64)
        made = {
            layer: tuple(np.full((n, width), np.nan, kind) for n in (start[-1], start[-1], len(traces)))
            for layer in layers
        }
        for i, ends, states in self._states(traces, layers, progress):
            text, rows = traces[i].text, range(start[i], start[i + 1])
            begins = _steps(text, ends)
            for layer, of_token in states.items():
                last, step, first = made[layer]
                h = np.clip(of_token, -most, most)
                first[i] = h[0]
                for row, place in zip(rows, places[i], strict=True):
                    n = max(1, min(place.tokens, len(h)))
                    last[row], step[row] = h[n - 1], h[begins[n - 1] : n].mean(axis=0)
        return StateFeatures(
            Origin(schedule, weights_fingerprint(self._model), str(self._model.dtype).removeprefix("torch.")),
            {layer: (last, step, first) for layer, (last, step, first) in made.items()},
            tuple(trace.id for trace in traces),
            start,
            np.asarray([place.position for each in places for place in each], dtype=np.int64),
        )

    def with_states(self, traces: Sequence[Trace], hidden: Hidden) -> list[Trace]:
        """Return `traces` with what a probe makes of the state of each token, as a run that reads them keeps it.

        Raises `InputError` if the probe is of another model.
        """
        check_model(hidden, weights_fingerprint(self._model))
        arrays = probe_of(hidden.weights or "")
        done = list(traces)
        for i, ends, states in self._states(traces, (hidden.layer,), lambda _: None):
            numbers = states[hidden.layer] @ arrays["hidden.weights"] + arrays["hidden.bias"]
            told = [tuple(row) for row in numbers.tolist()]
            done[i] = msgspec.structs.replace(traces[i], states=told, token_ends=list(ends))
        return done

    def _states(
        self, traces: Sequence[Trace], layers: Sequence[int], progress: Callable[[int], None]
    ) -> Iterator[tuple[int, Sequence[int], dict[int, NDArray[np.float32]]]]:
        from msifr_integrations.engine.states import forced  # importing torch takes seconds

        for begin in range(0, len(traces), _AT_ONCE):
            progress(begin)
            some = traces[begin : begin + _AT_ONCE]
            tokens = [tokens_of(trace, self._tokenizer, chat=self._chat, template=self._template) for trace in some]
            self.lost += sum(each is None for each in tokens)
            read = [(((), ()) if each is None else (each.prompt, each.sampled)) for each in tokens]
            for i, states in forced(self._model, read, layers):
                found = tokens[i]
                assert found is not None  # noqa: S101 - one that is None has no tokens, and is left out
                yield begin + i, found.ends, {n: h.float().cpu().numpy() for n, h in states.items()}


class _Place(NamedTuple):
    tokens: int
    position: int


def _places(trace: Trace, schedule: Schedule) -> list[_Place]:
    """Return the checkpoints of an attempt from 1 on and its end: tokens and characters so far."""
    watch = Watch(schedule, ())
    unit: Unit = getattr(schedule, "unit", "characters")
    reached = [c for piece in pieces(trace, unit, trace.token_ends) for c in watch.feed(*piece)]
    return [_Place(c.tokens, c.position) for c in [*reached, watch.finish()]]


def _steps(text: str, ends: Sequence[int]) -> list[int]:
    """Return for each token the number of the first token of its step (`validators.hidden`)."""
    begins, begin = [], 0
    for number, (a, b) in enumerate(pairwise([0, *ends])):
        begins.append(begin)
        if "\n" in text[a:b]:
            begin = number + 1
    return begins


def check_model(hidden: Hidden, fingerprint: str) -> None:
    """Raise `InputError` if a probe was fitted to the states of another model than that of the fingerprint."""
    if hidden.model != fingerprint:
        raise InputError(
            f"its probe reads the states of model {hidden.model or '(unnamed)'}, this one is {fingerprint}",
            where="policy",
            remedy="run it on the model it was fitted to, with the same dtype, or fit anew: msifr score --states MODEL",
        )


def read_states(engine: Engine, policy: object, weights: str) -> None:
    """Have an engine read the model's states if `policy` has a probe of them; weights: the model's fingerprint.

    Raises `InputError` if the probe is of another model, or the engine knows no states.
    """
    validators = getattr(policy, "validators", ())
    probes = [each for each in validators if isinstance(each, Hidden) and each.weights is not None]
    if not probes:
        return
    if not isinstance(engine, ModelEngine):
        what = "its probe reads hidden states, and only engines of transformers models in this process know these"
        raise InputError(what, where="policy", remedy="use --engine auto, or a policy without a probe of states")
    check_model(probes[0], weights)
    engine.read_states(probes[0])
