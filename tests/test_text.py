"""From token ids to text: pieces join to the decoding of all tokens; that tokens are remembered changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import tiny
from msifr_integrations.embedded import embedded_model_path
from msifr_integrations.generation.text import Pieces
from msifr_integrations.generation.token_texts import remembered


@cache
def falls_back(*more: Any) -> Any:
    """A tokenizer that falls back to bytes; its decoder has `more` parts."""
    words = ["▁", "a", "b", "c", "▁a", "▁▁", "é", "\ufffd"]
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)} | {word: 256 + i for i, word in enumerate(words)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[("▁", "a")], byte_fallback=True))
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *more])
    end = "<eos>"
    made.add_special_tokens([end])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=end)


def with_decoder(decoder: Any, tokens: Sequence[str] = ("a", "##b", "▁c", "d</w>")) -> Any:
    """A tokenizer of whole words with such a decoder."""
    made = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=tokens[0]))
    made.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=made)


@cache
def embedded() -> Any:
    return AutoTokenizer.from_pretrained(embedded_model_path())


STRIP = decoders.Strip(" ", 1, 0)
JOINING = {
    "bytes": tiny.tokenizer,
    "the embedded model's": embedded,
    "falls back to bytes": falls_back,
    "falls back, without the first space": lambda: falls_back(STRIP),
}


def push_all(tokenizer: Any, tokens: Sequence[int]) -> list[str]:
    pieces = Pieces(tokenizer)
    return [pieces.push(token, last=i == len(tokens) - 1) for i, token in enumerate(tokens)]


@pytest.mark.parametrize("name", JOINING)
@given(data=st.data())
def test_pieces_are_the_same_as_if_nothing_were_remembered(name: str, data: Any) -> None:
    tokenizer = JOINING[name]()
    few = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), min_size=1, max_size=4))
    tokens = data.draw(st.lists(st.sampled_from(few) | st.integers(0, len(tokenizer) - 1), min_size=1, max_size=40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("msifr_integrations.generation.text.remembered", lambda _: None)
        plain = push_all(tokenizer, tokens)
    assert push_all(tokenizer, tokens) == plain


@pytest.mark.parametrize("name", JOINING)
def test_a_token_is_decoded_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = JOINING[name]()
    tokens = tokenizer.encode("a b c abba " * 50, add_special_tokens=False)
    push_all(tokenizer, tokens)
    monkeypatch.setattr(tokenizer, "decode", lambda tokens, **_: decoded.append(len(tokens)) or "a")
    decoded: list[int] = []
    push_all(tokenizer, tokens)
    assert decoded == [1]  # the first, which might look otherwise


@pytest.mark.parametrize(
    "decoder",
    [
        None,
        decoders.WordPiece(),
        decoders.Metaspace(),
        decoders.BPEDecoder(),
        decoders.Sequence([decoders.Fuse(), decoders.Replace("bc", "")]),
        decoders.Sequence([decoders.Replace("ab", ""), decoders.Fuse()]),
        decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 0, 1)]),
        decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 2, 0)]),
    ],
)
def test_of_tokenizers_that_look_at_neighbours_nothing_is_remembered(decoder: Any) -> None:
    tokenizer = with_decoder(decoder)
    assert remembered(tokenizer) is None
    assert "".join(push_all(tokenizer, [0, 1, 2, 3, 0])) == tokenizer.decode([0, 1, 2, 3, 0])


def test_a_tokenizer_that_decodes_in_a_way_of_its_own_is_found_out() -> None:
    class Capitals(PreTrainedTokenizerFast):
        def decode(self, tokens: Sequence[int], **options: Any) -> str:
            return str(super().decode(tokens, **options)).title()

    made = Tokenizer.from_str(tiny.tokenizer().backend_tokenizer.to_str())
    assert remembered(PreTrainedTokenizerFast(tokenizer_object=made)) is not None
    assert remembered(Capitals(tokenizer_object=made)) is None


@given(st.lists(st.integers(0, 256), max_size=40))
def test_pieces_join_to_the_decoding_of_any_tokens(tokens: list[int]) -> None:
    tokenizer = tiny.tokenizer()
    assert "".join(push_all(tokenizer, tokens)) == tokenizer.decode(tokens, skip_special_tokens=True)


@given(st.text(max_size=30))
def test_no_piece_ends_inside_a_character(text: str) -> None:
    tokenizer = tiny.tokenizer()
    tokens = tokenizer.encode(text, add_special_tokens=False)
    pieces = push_all(tokenizer, [*tokens, tiny.END])
    assert "".join(pieces) == text
    sofar = ""
    for count, piece in enumerate(pieces[:-1], 1):
        sofar += piece
        complete = bytes(text, "utf-8")[:count].decode("utf-8", "ignore")
        assert sofar == complete or "\ufffd" in text  # each character comes with its last byte


@given(st.text(alphabet=st.sampled_from("ab c😀é"), max_size=20))
def test_pieces_of_a_tokenizer_that_falls_back_to_bytes(text: str) -> None:
    tokenizer = falls_back(STRIP)
    tokens = tokenizer.encode("▁" + text.replace(" ", "▁"), add_special_tokens=False)
    assert "".join(push_all(tokenizer, tokens)) == tokenizer.decode(tokens) == text


@pytest.mark.parametrize("kind", ["text", "broken bytes", "special tokens"])
def test_a_long_attempt_does_not_get_slower(kind: str) -> None:
    tokenizer = tiny.tokenizer()
    decoded = 0

    class Counting:
        def decode(self, tokens: list[int], **options: Any) -> str:
            nonlocal decoded
            decoded += len(tokens)
            return str(tokenizer.decode(tokens, **options))

    continuation = tokenizer.encode("é")[-1]
    tokens = {
        "text": tokenizer.encode("naïve " * 2000),
        "broken bytes": [continuation] * 4000 + tokenizer.encode("and on"),
        "special tokens": [tiny.END] * 4000 + tokenizer.encode("and on"),
    }[kind]
    pieces = push_all(Counting(), tokens)
    assert decoded < (6 if kind == "text" else 8) * len(tokens)
    assert "".join(pieces) == tokenizer.decode(tokens, skip_special_tokens=True)
