"""Prompts of a run are checked in one pass, and later read as they were then."""

import gzip
from pathlib import Path

import msgspec
import pytest

from msifr_integrations.generation import prompts as kept
from msifr_integrations.generation.autopilot import in_drawn_order
from msifr_integrations.generation.inputs import drawn, fingerprint, read_prompts
from msifr_integrations.generation.prompts import check_prompts
from msifr_policy.errors import InputError
from msifr_policy.filters import FinalFilter, final_filter
from msifr_policy.validators import Phrases

LINES = b"""\xef\xbb\xbf{"prompt_id": 7, "prompt": "What is 2 + 3?", "gold": 5, "group": null}

{"prompt_id": "b", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}],\
 "gold": "4", "schema": {"minimum": 1e400}}\r
{"prompt_id": "c", "prompt": "half of a pair \\ud83d", "gold": "0", "parameters": {"other": {"x": NaN}}}
{"prompt_id": "d", "prompt": "no end of line", "gold": "1", "more": [1, 2]}"""


@pytest.fixture
def accept() -> FinalFilter:
    return final_filter("numeric", "last")


@pytest.mark.parametrize("in_memory", [1, 2**22])
@pytest.mark.parametrize("name", ["asked.jsonl", "asked.jsonl.gz"])
def test_prompts_of_a_file_are_read_again_as_they_were(
    tmp_path: Path, accept: FinalFilter, monkeypatch: pytest.MonkeyPatch, name: str, in_memory: int
) -> None:
    monkeypatch.setattr(kept, "_IN_MEMORY", in_memory)
    path = tmp_path / name
    path.write_bytes(gzip.compress(LINES) if name.endswith(".gz") else LINES)
    plain = list(read_prompts(path))
    prompts, told = check_prompts(path, accept)
    path.unlink()
    assert [prompt.prompt_id for prompt in prompts] == ["7", "b", "c", "d"]
    same = [msgspec.json.encode(prompt) for prompt in plain]  # NaN is not itself
    assert [msgspec.json.encode(prompt) for prompt in prompts] == same
    assert msgspec.json.encode(prompts[2]) == same[2]  # in any order
    assert msgspec.json.encode(prompts[0]) == same[0]
    assert [prompt.prompt_id for prompt in prompts[1::2]] == ["b", "d"]
    assert [prompt.prompt_id for prompt in prompts[1:][1:]] == ["c", "d"]
    assert prompts[-1].prompt_id == "d"
    with pytest.raises(IndexError):
        prompts[4]
    assert told == fingerprint(same)
    assert check_prompts(plain, accept).fingerprint == told
    order = drawn([prompt.prompt_id for prompt in plain], 4, 3, "order")
    assert [prompt.prompt_id for prompt in in_drawn_order(prompts, 3)] == [plain[i].prompt_id for i in order]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"prompt_id": "b", "prompt": "again", "gold": "1"}', r"line 5: prompt_id 'b' occurs twice"),
        (b'{"prompt_id": "e", "prompt": "no answer"}', "gold"),
        (b'{"prompt_id": "e", "prompt": "?", "gold": "1", "parameters": {"phrases": {"phrases": 3}}}', "phrases"),
        (b"nonsense", "line 5"),
    ],
)
def test_a_bad_prompt_is_named_before_any_work(tmp_path: Path, accept: FinalFilter, line: bytes, message: str) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_bytes(LINES.rpartition(b"\n")[0] + b"\n" + line)
    with pytest.raises(InputError, match=message):
        check_prompts(path, accept, (Phrases(),))


def test_no_prompts_and_no_room_for_them_are_said(
    tmp_path: Path, accept: FinalFilter, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_bytes(b"\n")
    for nothing in (path, []):
        with pytest.raises(InputError, match="there are no prompts"):
            check_prompts(nothing, accept)
    path.write_bytes(LINES)
    monkeypatch.setattr(kept, "_IN_MEMORY", 1)
    full = open("/dev/full", "w+b", buffering=0)  # noqa: SIM115
    monkeypatch.setattr(kept, "SpooledTemporaryFile", lambda _: full)
    with pytest.raises(InputError, match="prompts cannot be kept: No space left"):
        check_prompts(path, accept)
