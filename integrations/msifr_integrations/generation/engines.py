"""What makes the tokens of a run: opened by its options, with how it takes prompts and what its settings say of it."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgspec

from msifr_integrations.engine.base import (
    Engine,
    EngineKind,
    PromptInput,
    Sampling,
    check_length,
    check_room,
    end_tokens,
    longest_in_slots,
    longest_sequence,
)
from msifr_integrations.generation.inputs import (
    encode_prompt,
    in_one_line,
    load_model,
    messages_of,
    plain_text,
    weights_fingerprint,
)
from msifr_integrations.generation.options import DRAWN, GenerateOptions
from msifr_policy.filters import Prompt

if TYPE_CHECKING:
    from msifr_integrations.servers.openai_stream import ServerEngine
    from msifr_integrations.servers.vllm_engine import VllmEngine


@dataclass(frozen=True)
class Opened:
    """An engine that runs.

    encode: returns a prompt as the engine takes it; raises `InputError` for one that it is known not to run.
    settings: what a run's settings say of it. tokenizer: decodes its events, None if they carry text.
    """

    engine: Engine
    encode: Callable[[Prompt], PromptInput]
    settings: dict[str, Any]
    tokenizer: Any = None


Opening = Callable[[Any, Any, Prompt, GenerateOptions, Callable[[str], None]], AbstractContextManager[Opened]]
"""Gives an engine, as `open_engine` does."""


@contextmanager
def open_engine(
    model: Any, tokenizer: Any, first: Prompt, options: GenerateOptions, say: Callable[[str], None]
) -> Iterator[Opened]:
    """Give the engine that the options ask for; what a user should know of it is said before a token is spent.

    model: a folder or name, or a loaded model with its `tokenizer`; of a server it is not read. `first` is a prompt
    that a server is tried with. Raises `InputError` if there is no such model or server, or a library is missing.
    """
    opener = _on_server if options.server.url else _in_vllm if options.engine == "vllm" else _in_transformers
    opened = opener(model, tokenizer, first, options, say)
    with closing(opened.engine):
        yield opened


def _in_transformers(
    model: Any, tokenizer: Any, _: Prompt, options: GenerateOptions, say: Callable[[str], None]
) -> Opened:
    with in_one_line("cannot be imported", "engine"):
        # Only now: importing torch takes seconds.
        from msifr_integrations.engine.probe import make_engine
        from msifr_integrations.engine.processors import generation_settings
    if isinstance(model, str | os.PathLike):
        model, tokenizer = load_model(model, device=options.device, dtype=options.dtype)
    chat = _chat(bool(tokenizer.chat_template), options, say)
    own, refused = generation_settings(model) if options.follows_model else ({}, ())
    _say_followed(own, refused, options, say)
    sampling = options.sampling_of(own)
    engine, why_static = make_engine(
        model,
        kind=cast(EngineKind, options.engine),
        slots=options.slots,
        sampling=sampling,
        end=end_tokens(model, tokenizer),
        kv_tokens=options.kv_tokens,
    )
    with ExitStack() as on_error:
        on_error.callback(engine.close)  # it leaves the model as it was
        in_slots = engine.name == "slots"
        if why_static and options.engine == "auto":
            say(f"the model cannot run in slots ({why_static}): generate() saves tokens, but hardly time")
        if options.kv_tokens is not None and not in_slots:
            say("kv_tokens is for slots, and has no say here")
        stop = dict.fromkeys([*options.stop, *own.get("stop_strings", ())])
        settings = model_settings(model) | {"engine": engine.name, "chat": chat} | drawing(sampling)
        settings["stop"] = list(stop)
        if sampling.more:
            settings["generation_config"] = dict(sampling.more)
        context = longest = longest_sequence(model)
        if in_slots and (context := longest_in_slots(model)) < longest:
            say(
                f"in slots sequences end at {context} of {longest} tokens, prompt included: beyond, the rotary "
                "positions of this model hang on who shares the batch (--engine static goes on)"
            )
        room = options.kv_tokens if in_slots else None
        asked = options.record_exits  # a forced answer stands behind the whole attempt, at most
        behind = 0 if asked is None else len(tokenizer.encode(asked.prompt)) + asked.tokens
        on_error.pop_all()

    def encode(prompt: Prompt) -> PromptInput:
        tokens = encode_prompt(tokenizer, prompt, chat, options.template)
        where = f"prompt {prompt.prompt_id!r}"
        check_length(tokens, context, where)
        check_room(tokens, options.max_new_tokens + behind, context, room, where)
        return tokens

    return Opened(engine, encode, settings, tokenizer)


def _say_followed(
    own: Mapping[str, Any], refused: Sequence[str], options: GenerateOptions, say: Callable[[str], None]
) -> None:
    """Say which of a model's generation settings have a say here, and which of them cannot be followed."""
    followed = [f"{name} {value}" for name, value in own.items() if getattr(options, name, None) is None]
    if followed:
        say(f"the model's generation settings: {', '.join(followed)} (--no-generation-config leaves them out)")
    if refused:
        say(f"generation settings of the model that are not followed: {', '.join(refused)}")


def drawing(sampling: Sampling) -> dict[str, Any]:
    """Return what the settings of a run say of how tokens are drawn."""
    return {name: getattr(sampling, name) for name in DRAWN}


def as_opened(options: GenerateOptions, opened: Opened) -> GenerateOptions:
    """Return the options of a run with what its engine says of the model: its name, and stop strings of its own."""
    said = opened.settings
    return msgspec.structs.replace(
        options, model_name=said.get("model", options.model_name), stop=tuple(said.get("stop", options.stop))
    )


def model_settings(model: Any) -> dict[str, Any]:
    """Return what the settings of a run say of a loaded model."""
    return {
        "weights": weights_fingerprint(model),
        "device": model.device.type,
        "dtype": str(model.dtype).removeprefix("torch."),
    }


def _on_server(_: Any, __: Any, first: Prompt, options: GenerateOptions, say: Callable[[str], None]) -> Opened:
    from msifr_integrations.servers.openai_stream import connect

    chat = options.server.api == "chat"
    encode = _text_or_chat(chat, options.template)
    engine = connect(
        options.server,
        sampling=options.sampling,
        slots=options.slots,
        stop=options.stop,
        probe=encode(first),
        max_new_tokens=options.max_new_tokens,
    )
    return _opened(engine, encode, chat, say)


def _in_vllm(model: Any, _: Any, __: Prompt, options: GenerateOptions, say: Callable[[str], None]) -> Opened:
    from msifr_integrations.servers.vllm_engine import start_vllm

    engine = start_vllm(
        os.fspath(model),
        sampling=options.sampling,
        slots=options.slots,
        stop=options.stop,
        dtype=options.dtype,
        engine_args=options.engine_args,
    )
    chat = _chat(engine.has_chat_template, options, say)
    return _opened(engine, _text_or_chat(chat, options.template), chat, say)


def _chat(has_template: bool, options: GenerateOptions, say: Callable[[str], None]) -> bool:
    """Return whether prompts go through the model's chat template; that it is used unasked is said."""
    if options.chat is not None:
        return options.chat
    chat = has_template and not options.template
    if chat:
        say("prompts go through the model's chat template (--no-chat gives it the bare text)")
    return chat


def _text_or_chat(chat: bool, template: str) -> Callable[[Prompt], PromptInput]:
    return messages_of if chat else lambda prompt: plain_text(prompt, template)


def _opened(
    engine: "ServerEngine | VllmEngine", encode: Callable[[Prompt], PromptInput], chat: bool, say: Callable[[str], None]
) -> Opened:
    """Return an engine that takes text and gives text, after what it has to say."""
    for remark in engine.remarks:
        say(remark)
    return Opened(engine, encode, engine.settings | {"engine": engine.name, "chat": chat})
