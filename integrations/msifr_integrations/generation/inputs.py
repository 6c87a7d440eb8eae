"""What a run is given: prompts from a file, a model from a folder, and fingerprints of both."""

import os
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np

from msifr_integrations.generation.options import DTYPES, PLACE
from msifr_policy.errors import InputError
from msifr_policy.extras import install
from msifr_policy.files import read_lines
from msifr_policy.filters import Message, Prompt
from msifr_policy.records.compact import IdSet
from msifr_policy.records.lines import as_objects, as_texts, object_of, with_values
from msifr_policy.records.others import known_as

T = TypeVar("T", bound=msgspec.Struct)


def read_records(path: str | os.PathLike[str], kind: type[T], remedy: str, *, growing: bool = False) -> Iterator[T]:
    """Yield the records of a JSON-lines file, packed or not; empty lines and unknown keys are ignored.

    growing: half a line at the end is none, as of a run that goes on or was killed.

    Raises `InputError` with file, line, field and the remedy for a line that is no such record.
    """
    decoder = msgspec.json.Decoder(kind)
    for where, line in read_lines(path):
        try:
            yield decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if growing and not line.endswith(b"\n"):
                return
            raise InputError(str(error), where=where, remedy=remedy) from None


PROMPT_EXAMPLE = '{"prompt_id": "p1", "prompt": "What is 2 + 3?", "gold": "5"}'

PROMPT_HELP = f"""\
A prompt is a line of JSON (.jsonl, also .gz or .zst), such as
{PROMPT_EXAMPLE}
required: prompt_id (unique in the file), and prompt (a text) or messages (a
list of role and content, the question last)
for the final filter: gold (the reference answer), tests (Python code that a
program must pass), schema (the JSON schema of a document)
optional: group (topic or difficulty), parameters (of validators, for this
prompt: by validator, then by parameter)
Other keys are ignored."""

_REMEDY = f"a prompt is a line such as {PROMPT_EXAMPLE}; see msifr generate --help"


def read_prompts(path: str | os.PathLike[str]) -> Iterator[Prompt]:
    """Yield the prompts of a file of JSON lines, packed or not.

    Numbers are read as ids and answers, null and NaN as a field without a value. Raises `InputError` with file, line,
    field and the remedy for a line that is no prompt, or has the `prompt_id` of another.
    """
    yield from distinct((where, prompt_of(line, where)) for where, line in read_lines(path))


def distinct(prompts: Iterable[tuple[str, Prompt]]) -> Iterator[Prompt]:
    """Yield prompts, each given with where it stands; raises `InputError` for one with the `prompt_id` of another."""
    seen = IdSet()
    for where, prompt in prompts:
        if not seen.add(prompt.prompt_id):
            what = f"prompt_id {prompt.prompt_id!r} occurs twice"
            raise InputError(what, where=where, remedy="give every prompt its own id")
        yield prompt


def prompt_of(line: bytes, where: str) -> Prompt:
    """Return the prompt that a line of a file usually means; raises `InputError` as `read_prompts`."""
    given = object_of(line, where, _REMEDY)
    record = as_texts(with_values(given, Prompt.__struct_encode_fields__), ("prompt_id", "gold", "group"))
    record = as_objects(record, ("schema",))  # what is no JSON is no object either, and is refused below
    try:
        return msgspec.convert(record, Prompt)
    except msgspec.ValidationError as error:
        what, other = str(error), known_as(given)
        if "prompt_id" not in record and other is not None:
            what += f": this is {other.what}"
        raise InputError(what, where=where, remedy=_REMEDY) from None


def messages_of(prompt: Prompt) -> tuple[Message, ...]:
    """Return the prompt as the messages of a chat: its own, or what a user says."""
    return prompt.messages or (Message("user", prompt.prompt),)


def plain_text(prompt: Prompt, template: str) -> str:
    """Return the prompt as the text that a model goes on with, put into `template` if there is one.

    Raises `InputError` for a prompt of messages, which only a chat can show.
    """
    if prompt.messages is not None:
        remedy = "use the chat, or give a text as `prompt`"
        raise InputError(
            "the prompt has messages, this run takes text", where=f"prompt {prompt.prompt_id!r}", remedy=remedy
        )
    return template.replace(PLACE, prompt.prompt) if template else prompt.prompt


def encode_prompt(tokenizer: Any, prompt: Prompt, chat: bool, template: str = "") -> tuple[int, ...]:
    """Return the token ids of a prompt, as it is, in `template`, or in the tokenizer's chat template.

    Raises `InputError` if the tokenizer has no chat template, or its template does not take the messages.
    """
    if not chat:
        return tuple(tokenizer.encode(plain_text(prompt, template)))
    if not tokenizer.chat_template:
        raise InputError("the tokenizer has no chat template", remedy="leave chat off")
    messages = [{"role": message.role, "content": message.content} for message in messages_of(prompt)]
    with in_one_line("the chat template refuses it", f"prompt {prompt.prompt_id!r}"):
        encoded = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    return tuple(encoded["input_ids"])


@contextmanager
def in_one_line(what: str, where: str, remedy: str = "") -> Iterator[None]:
    """Turn whatever another library raises in the block, or its absence, into an `InputError` of one line."""
    try:
        yield
    except Exception as error:
        line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        what = f"{what}: {line}"
        if isinstance(error, ImportError):
            what, remedy = f"needs {error.name or line}", install("transformers")
        raise InputError(what, where=where, remedy=remedy) from error


def load_model(name: str | os.PathLike[str], *, device: str = "auto", dtype: str = "auto") -> tuple[Any, Any]:
    """Load a model in eval mode and its tokenizer, from a folder or by name; safetensors only, no code.

    Device "auto" is the GPU if there is one; dtype "auto" is float32 on a CPU and bfloat16 on a GPU.
    Raises `InputError` if there is no such model, device or dtype, or if a library is missing.
    """
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}", remedy=f"known: {', '.join(DTYPES)}")
    where = f"model {os.fspath(name)!r}"
    with in_one_line("cannot be loaded", where):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else "bfloat16"
    with in_one_line("cannot be used", f"device {device!r}", "use cpu"):
        torch.empty(0, device=device)
    with in_one_line("cannot be loaded", where):
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModelForCausalLM.from_pretrained(name, dtype=getattr(torch, dtype), use_safetensors=True)
        return model.eval().to(device), tokenizer


def fingerprint(parts: Iterable[bytes]) -> str:
    """Return 16 hexadecimal digits that tell these byte strings, in this order, from others."""
    digest = blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def weights_fingerprint(model: Any) -> str:
    """Return a fingerprint of name, shape and first numbers of every weight: another training run shows."""
    return fingerprint(
        f"{name} {tuple(weight.shape)} {weight.detach().flatten()[:8].float().tolist()}".encode()
        for name, weight in model.named_parameters()
    )


def drawn(prompt_ids: Iterable[str], count: int, seed: int, use: Literal["preview", "order"]) -> "array[int]":
    """Return the places of `count` prompts drawn by chance, in the order in which they were drawn.

    All of them if there are no more. Drawn by a hash of seed and id, so that the order of a file is without effect;
    that each subset is as likely is the hash's doing. Draws of another use have nothing to do with these.
    """

    def key(prompt_id: str) -> bytes:
        return blake2b(f"{seed}\n{prompt_id}".encode(), digest_size=16, person=f"msifr-{use}".encode()).digest()

    order = np.argsort(np.fromiter(map(key, prompt_ids), dtype="S16"), kind="stable")[:count]
    return array("q", order.astype("=i8").tobytes())
