"""The client of servers, on a fake one that has every dialect and every fault."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_server import FakeServer, text_of, tokens_of
from msifr_integrations.engine.base import Attempt, Event, PromptInput, Sampling, stream_key
from msifr_integrations.servers import openai_stream
from msifr_integrations.servers.chunks import MOST_CHARACTERS, SPARE_TOKENS, ChunkReader, token_texts
from msifr_integrations.servers.connection import parse_url
from msifr_integrations.servers.dialects import leave_out, plan_request, prompt_fields, read_counter, seed
from msifr_integrations.servers.faults import (
    LONGEST_MESSAGE,
    BrokenStream,
    RefusedClient,
    RefusedRequest,
    error_message,
    fault,
    one_line,
    seconds_asked,
    seconds_to_wait,
)
from msifr_integrations.servers.openai_stream import ServerEngine, connect
from msifr_integrations.servers.options import ServerOptions
from msifr_integrations.servers.sse import LONGEST_EVENT, EventLines
from msifr_policy.errors import InputError, MsifrError
from msifr_policy.filters import Message
from msifr_policy.records.ledger import Session
from streams import Read, drain

SLOTS = 4
KEY = "MSIFR_TEST_KEY"
SECRET = "sk-very-secret-0123"  # noqa: S105


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """No pause between tries: what would have been waited for, as tries and seconds that the server asked for."""
    asked: list[tuple[int, float]] = []

    def no_time(tried: int, after: float, draw: float) -> float:
        assert 0 <= draw < 1
        asked.append((tried, after))
        return 0.0

    monkeypatch.setattr(openai_stream, "seconds_to_wait", no_time)
    return asked


def chat(text: str) -> PromptInput:
    return (Message("system", "Be brief."), Message("user", text))


def engine(server: FakeServer, api: str = "completions", **changes: Any) -> ServerEngine:
    options = {name: changes.pop(name) for name in list(changes) if name in ServerOptions.__struct_fields__}
    asked = {"sampling": Sampling(), "slots": SLOTS, "max_new_tokens": 40} | changes
    asked.setdefault("probe", "Hi" if api == "completions" else chat("Hi"))
    return connect(ServerOptions(**({"url": server.url, "api": api, "key_env": KEY} | options)), **asked)


def attempt(text: str, name: str = "a", tokens: int = 20, api: str = "completions") -> Attempt:
    return Attempt(name, text if api == "completions" else chat(text), stream_key(0, name, 0), tokens)


def one(client: ServerEngine, text: str, tokens: int = 20) -> Read:
    return drain(client, [attempt(text, tokens=tokens, api=client.plan.api)])["a"]


def expected(of: Attempt, count: int) -> str:
    text = of.prompt if isinstance(of.prompt, str) else of.prompt[-1].content
    return text_of(text, seed(of.key), count)


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- events from bytes


DATA = st.lists(st.lists(st.text("abc🦊é :\u2028\x0b{}", max_size=5), min_size=1, max_size=3), max_size=5)
NOISE = st.sampled_from([b"", b": alive\n", b"event: x\n", b"id: 7\nretry: 5\n", b"dat: no\n", b"\n"])


@given(events=DATA, noise=NOISE, end=st.sampled_from(["\n", "\r\n", "\r"]), cuts=st.lists(st.integers(0, 200)))
def test_events_are_the_same_however_the_bytes_are_cut(events, noise, end, cuts):
    stream = "".join("".join(f"data:{' ' if i else ''}{x}\n" for i, x in enumerate(data)) + "\n" for data in events)
    if events and events[0][0].startswith(" "):
        return  # a blank after the colon is not part of the data
    data = (noise + stream.encode() + b"data: half").replace(b"\n", end.encode())
    wanted = ["\n".join(x.removeprefix(" ") if not i else x for i, x in enumerate(event)).encode() for event in events]
    places = sorted({min(cut, len(data)) for cut in cuts})
    lines = EventLines()
    got = []
    for start, stop in zip([0, *places], [*places, len(data)], strict=True):
        got += lines.feed(data[start:stop])
    assert got == wanted


def test_a_byte_order_mark_and_a_field_without_a_value_are_read():
    assert EventLines().feed(b"\xef\xbb\xbfdata: a\n\ndata\ndata\n\n") == [b"a", b"\n"]


@pytest.mark.parametrize("piece", [b"x" * 1000, b"x" * 16, b"\ndata: " + b"y" * 1000])
def test_an_event_that_does_not_end_is_not_kept_and_takes_linear_time(piece):
    lines = EventLines()
    assert lines.feed(b"data: ") == []
    started = time.process_time()
    with pytest.raises(BrokenStream, match="bytes"):
        list(map(lines.feed, itertools.repeat(piece, LONGEST_EVENT)))
    assert time.process_time() - started < 2
    small = EventLines()
    for _ in range(3):  # long events one after the other are no long event
        assert small.feed(b"data: " + b"x" * (LONGEST_EVENT // 2)) == []
        assert small.feed(b"x\n") == []
        assert len(small.feed(b"\n")) == 1


# --- tokens from chunks


@given(st.text("ab é🦊中", max_size=12), st.lists(st.integers(0, 60)), st.booleans(), st.booleans())
def test_texts_of_tokens_make_up_the_text_of_their_chunk(text, cuts, with_bytes, wrong):
    data = text.encode()
    places = sorted({min(cut, len(data)) for cut in cuts})
    parts = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    tokens = [(part.decode(errors="replace"), list(part) if with_bytes else None) for part in parts]
    told = text + "!" if wrong else text
    texts = token_texts(tokens, told)
    assert len(texts) == len(parts)
    assert "".join(texts) == told
    if with_bytes and not wrong:  # each token has the characters that it completes
        ends = [len(data[:stop].decode(errors="ignore")) for stop in [*places, len(data)]]
        assert [len("".join(texts[: i + 1])) for i in range(len(texts))] == ends


@pytest.mark.parametrize("told", [[300, 1], [-1], [0x80, 0x80]])
def test_bytes_that_are_none_give_the_text_to_the_last_token(told):
    assert token_texts([("a", told), ("b", [98])], "ab") == ["", "ab"]


def reader(limit: int = 100) -> ChunkReader:
    return ChunkReader("a", limit)


def read_all(read: ChunkReader, payloads: Iterable[bytes]) -> list[Event]:
    return [event for payload in payloads for event in read.read(payload)]


def test_usage_counts_what_chunks_hold_and_what_they_do_not():
    read = reader()
    events = read_all(
        read,
        [
            b'{"choices": [{"text": "", "index": 0}]}',
            b'{"choices": [{"text": "ab"}], "usage": {"completion_tokens": 3}}',
            b'{"choices": [{"text": "c"}], "usage": null}',
            b'{"choices": [{"text": "other", "index": 1}]}',
            b'{"choices": [{"text": "d", "finish_reason": "stop", "stop_reason": null}]}',
            b'{"choices": [], "usage": {"completion_tokens": 7}}',
            b"[DONE]",
            b'{"choices": [{"text": "after"}]}',
        ],
    )
    assert [event.text for event in events] == ["", "", "ab", "c"]
    last = read.end()
    assert [(event.text, event.finish, event.tokens) for event in last] == [("d", "", 1), ("", "", 1), ("", "end", 1)]
    assert (read.counted, read.overcounted, read.done) == (7, 0, True)
    assert all(math.isnan(event.logprob) and event.token == -1 for event in [*events, *last])


def test_usage_below_what_came_takes_nothing_back_and_is_noted():
    read = reader()
    read_all(read, [b'{"choices": [{"text": "a"}]}'] * 3)
    read_all(read, [b'{"choices": [{"text": "", "finish_reason": "length"}], "usage": {"completion_tokens": 2}}'])
    assert [(event.tokens, event.finish, event.text) for event in read.end()] == [(0, "length", "")]
    assert (read.counted, read.overcounted) == (3, 1)


def test_text_without_a_token_waits_for_the_next_one_or_comes_with_the_end():
    chunk = b'{"choices": [{"text": "%b"%b}], "timings": {"predicted_n": %d}}'
    read = reader()
    events = read_all(read, [chunk % (b"a", b"", 1), chunk % (b"b", b"", 1), chunk % (b"c", b"", 2)])
    assert [event.text for event in events] == ["a", "bc"]
    read_all(read, [chunk % (b"d", b"", 2), chunk % (b"e", b', "finish_reason": "length"', 2)])
    assert [(event.text, event.tokens, event.finish) for event in read.end()] == [("de", 0, "length")]


def test_reasoning_is_part_of_the_text():
    read = reader()
    delta = b'{"choices": [{"delta": %b}]}'
    parts = [
        b'{"role": "assistant", "content": ""}',
        b'{"reasoning_content": "I ", "content": null}',
        b'{"reasoning": "think"}',
        b'{"content": "So"}',
        b'{"content": " be it", "tool_calls": []}',
    ]
    events = read_all(read, [delta % part for part in parts])
    assert [event.text for event in events] == ["<think>I ", "think", "</think>\nSo", " be it"]


@pytest.mark.parametrize(
    ("ends", "finish"),
    [
        (b'"stop"', "end"),
        (b'"stop", "stop_reason": 2', "end"),
        (b'"stop", "stop_reason": "END"', "stop"),
        (b'"stop", "matched_stop": 2', "end"),
        (b'"stop", "matched_stop": "END"', "stop"),
        (b'"length"', "length"),
        (b'"repetition", "stop_reason": "repetition_detected"', "repetition"),
        (b'"abort"', "abort"),
        (b'"content_filter"', "content_filter"),
    ],
)
def test_words_for_the_end(ends, finish):
    read = reader()
    read_all(read, [b'{"choices": [{"text": "a", "finish_reason": %b}]}' % ends])
    assert [event.finish for event in read.end()] == [finish]


@pytest.mark.parametrize(
    ("chunk", "error", "match"),
    [
        (b"{", BrokenStream, "no chunk"),
        (b'{"choices": [{"text": "\xff"}]}', BrokenStream, "no chunk"),
        (b'{"choices": [{"text": 1}]}', BrokenStream, "no chunk"),
        (b'{"x": ' + b"[" * 100_000, BrokenStream, "no chunk"),
        (b'{"error": {"message": "boo"}}', BrokenStream, "boo"),
        (b'{"error": "boo"}', BrokenStream, "boo"),
        (b'{"error": {"message": "boo", "code": 503}}', BrokenStream, "HTTP 503: boo"),
        (b'{"error": {"message": "boo", "code": "bad_prompt"}}', BrokenStream, "boo"),
        (b'{"error": {"message": "boo", "code": 400}}', RefusedRequest, "HTTP 400: boo"),
        (b'{"object": "error", "message": "boo", "code": 401}', RefusedClient, "boo"),
        (b'{"choices": [{"finish_reason": "error"}]}', BrokenStream, "error"),
        (b'{"choices": [{"finish_reason": "tool_calls"}]}', RefusedRequest, "tool"),
        (b'{"choices": [{"delta": {"tool_calls": [{"id": "1"}]}}]}', RefusedRequest, "tool"),
        (b'{"choices": [], "usage": {"completion_tokens": 999999999999999}}', RefusedRequest, "max_tokens"),
    ],
)
def test_chunks_that_are_none(chunk, error, match):
    with pytest.raises(error, match=match):
        reader().read(chunk)


def test_a_null_error_is_none_and_a_stream_that_never_ends_is_refused():
    read = reader(limit=5)
    assert len(read_all(read, [b'{"choices": [{"text": "a"}], "error": null}'])) == 1
    with pytest.raises(RefusedRequest, match="beyond max_tokens"):
        read_all(read, [b'{"choices": [{"text": "a"}]}'] * (5 + SPARE_TOKENS))
    read = reader(limit=5)
    chunk = b'{"choices": [{"text": "%b"}], "usage": {"completion_tokens": 1}}' % (b"x" * 999)
    with pytest.raises(RefusedRequest, match="more text"):
        read_all(read, [chunk] * MOST_CHARACTERS)
    with pytest.raises(BrokenStream, match="before the answer did"):
        reader().end()


# --- what is asked


@pytest.mark.parametrize(
    ("kind", "api", "sent", "never"),
    [
        ("vllm", "completions", {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "logprobs": 1}, {"rid"}),
        ("vllm", "chat", {"logprobs": True, "max_tokens": 20}, {"rid", "top_logprobs"}),
        ("sglang", "chat", {"top_k": -1, "rid": "name", "repetition_penalty": 1.0}, set()),
        (
            "llama.cpp",
            "chat",
            {"top_k": 0, "min_p": 0.0, "typical_p": 1.0, "top_logprobs": 1, "timings_per_token": True},
            {"rid"},
        ),
        ("openai", "chat", {"max_completion_tokens": 20}, {"top_k", "min_p", "max_tokens"}),
        ("transformers", "chat", {"top_k": 0, "min_p": 0.0}, {"repetition_penalty"}),
        ("other", "completions", {"top_k": 0, "min_p": 0.0, "max_tokens": 20}, {"repetition_penalty"}),
    ],
)
def test_all_that_shapes_the_distribution_is_sent(kind, api, sent, never):
    plan = plan_request(kind, api, "m", Sampling(0.7), ["a", "b", "c", "d", "e"])
    body = plan.body(attempt("Hi", api=api), "name")
    assert body.items() >= {**sent, "temperature": 0.7, "top_p": 1.0, "model": "m", "stream": True}.items()
    assert body["stop"] == ["a", "b", "c", "d"]
    assert 0 <= body["seed"] < 2**31
    assert body["stream_options"]["include_usage"]
    assert not never & body.keys()


def test_what_a_refusal_names_is_left_out_unless_it_was_asked_for():
    plan = plan_request("other", "chat", "m", Sampling(), ["x"])
    assert leave_out(plan, "the prompt is too long; stop it", Sampling()) is None
    smaller = leave_out(plan, "Unexpected keys in the request: {'top_k', 'min_p'}", Sampling())
    assert smaller is not None
    assert smaller.left_out == ("top_k", "min_p")
    assert not {"top_k", "min_p"} & smaller.fields.keys()
    assert "stop" in leave_out(plan, "unknown parameter: 'stop'", Sampling()).left_out
    assert leave_out(plan, "Unrecognized request argument supplied: seed", Sampling()).seeded is False
    use = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    swapped = leave_out(plan, use, Sampling())
    assert (swapped.limit, swapped.left_out) == ("max_completion_tokens", ())
    long = "'max_tokens' or 'max_completion_tokens' is too large: 4. This model's context is 3"
    assert leave_out(plan, long, Sampling()) is None
    with pytest.raises(InputError, match=r"no temperature = 0.5.*ask for 1"):
        leave_out(plan, "Unsupported value: 'temperature' does not support 0.5", Sampling(0.5))


def test_continuous_usage_goes_before_usage():
    plan = plan_request("vllm", "chat", "m", Sampling(), [])
    once = leave_out(plan, "unknown field: continuous_usage_stats", Sampling())
    assert once.fields["stream_options"] == {"include_usage": True}
    assert "stream_options" not in leave_out(once, "unknown field: stream_options", Sampling()).fields


@pytest.mark.parametrize(
    ("api", "prompt", "match"),
    [
        ("chat", "text", "takes messages"),
        ("chat", (1, 2), "takes messages"),
        ("completions", chat("Hi"), "takes a text"),
        ("completions", "", "empty"),
        ("chat", (), "empty"),
    ],
)
def test_prompts_that_an_endpoint_does_not_take(server, api, prompt, match):
    wrong = Attempt("x", prompt, bytes(16), 5)
    with pytest.raises(InputError, match=match):
        prompt_fields(wrong, api)
    client = engine(server, api)
    with pytest.raises(InputError, match=match):
        client.submit(wrong)
    with pytest.raises(InputError, match="at least 1"):
        client.submit(attempt("Hi", tokens=0, api=api))


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://h:80", "http://h:80"),
        (" http://h:80/v1/ ", "http://h:80"),
        ("https://api.h.com/openai/v1", "https://api.h.com/openai"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_addresses(url, root):
    assert parse_url(url).root == root


@pytest.mark.parametrize(
    "url", ["", "h:80", "ftp://h", "http://", "http://h:x", "http://h:99999", "http://a b", "http://h\n.x/é"]
)
def test_what_is_no_address(url):
    with pytest.raises(InputError, match="http://HOST:PORT"):
        parse_url(url)


@pytest.mark.parametrize("url", [f"http://user:{SECRET}@h", f"http://h/v1?key={SECRET}"])
def test_an_address_with_a_secret_is_refused_and_not_shown(url):
    with pytest.raises(InputError, match="environment") as refused:
        parse_url(url)
    assert SECRET not in str(refused.value)


def test_the_proxy_of_the_environment_is_used_but_not_to_this_machine(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "near.example")
    proxies = [parse_url(f"http://{host}:8000").proxy for host in ("far.example", "near.example", "127.0.0.1", "[::1]")]
    assert proxies == ["http://proxy:3128", None, None, None]
    assert parse_url("http://localhost").proxy is None


# --- waiting, and messages


@given(st.integers(1, 2000), st.floats(0, 300), st.floats(0, 1, exclude_max=True))
def test_pauses_grow_and_are_bounded_and_honour_the_server(tried, after, draw):
    pause = seconds_to_wait(tried, after, draw)
    assert after <= pause <= after + min(2.0 ** min(tried - 1, 99), 60)
    assert seconds_to_wait(tried + 1, after, draw) >= pause
    assert seconds_to_wait(4, 0, 0.5) == 4.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("Thu, 26 Nov 2026 12:00:10 GMT", 10),
        ("Thu, 26 Nov 2026 11:00:00 GMT", 0),
        ("Thu, 26 Nov 2026 14:00:00 GMT", 300),
        ("1e9", 300),
        ("-5", 0),
        ("nan", 0),
        ("inf", 0),
        ("soon", 0),
        ("", 0),
        (None, 0),
    ],
)
def test_what_retry_after_asks_for(header, seconds):
    assert seconds_asked(header, datetime(2026, 11, 26, 12, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "a\\nb", "code": 400}}', ("a b", 400)),
        (b'{"object": "error", "message": "flat", "code": 404}', ("flat", 404)),
        (b'{"error": "words"}', ("words", 0)),
        (b'{"detail": "Not Found"}', ("Not Found", 0)),
        (b'{"detail": [{"loc": ["body", "top_k"]}]}', ('[{"loc": ["body", "top_k"]}]', 0)),
        (b"<html>\r\n<b>502</b>\x1b[31m\xff", ("<html> <b>502</b> [31m\ufffd", 0)),
        (b'{"error": {"message": "x", "code": "bad"}}', ("x", 0)),
        (b"", ("", 0)),
        (b'{"error": ' * 3 + b"1" + b"}" * 3, ('{"error": 1}', 0)),
    ],
)
def test_messages_of_servers(body, message):
    assert error_message(body) == message


def test_long_messages_are_cut_and_statuses_mean_something():
    assert len(one_line("x" * 10**6)) == LONGEST_MESSAGE
    assert one_line("a\u202eb\u2028c") == "a b c"
    kinds = {408: BrokenStream, 429: BrokenStream, 500: BrokenStream, 503: BrokenStream, 400: RefusedRequest}
    kinds |= {413: RefusedRequest, 422: RefusedRequest, 401: RefusedClient, 403: RefusedClient, 404: RefusedClient}
    for status, kind in kinds.items():
        assert type(fault(status, "m", 3.0)) is kind
    assert fault(429, "m", 3.0).after == 3.0


def test_counters_are_summed_over_labels():
    page = '# HELP x_total x\nx_total{a="1 } x"} 3.0\nx_total{a="2"} 4.0 1700000000\nx_total_more 9\n'
    assert read_counter(page, "x_total") == 7
    assert read_counter("x_total 5\n", "x_total") == 5
    assert read_counter("x_total five\n", "x_total") is None
    assert read_counter("", "x_total") is None


# --- a server


@pytest.mark.parametrize("slices", [0, 7])
@pytest.mark.parametrize("per_chunk", [1, 5])
@pytest.mark.parametrize("usage", ["often", "end"])
@pytest.mark.parametrize("api", ["completions", "chat"])
@pytest.mark.parametrize("kind", ["vllm", "sglang", "llama.cpp", "openai"])
def test_every_dialect_gives_the_text_and_every_token(server, kind, api, usage, per_chunk, slices):
    with server.being(kind=kind, usage=usage, per_chunk=per_chunk, slice=slices, length=37):
        client = engine(server, api)
        asked = [attempt(f"prompt {i}", f"a{i}", 100 if i % 2 else 30, api) for i in range(6)]
        reads = drain(client, asked)
        assert client.logprobs
        assert client.arrived == server.made - client.probe_tokens == sum(read.tokens for read in reads.values())
        for one, read in zip(asked, reads.values(), strict=True):
            ends = one.max_new_tokens > 37
            count = 37 if ends else 30
            assert read.text == expected(one, count - ends)
            assert read.tokens == count
            assert read.finish == ("end" if ends else "length")
            assert all(event.finish == "" for event in read.events[:-1])
            tokens = tokens_of(f"prompt {asked.index(one)}", seed(one.key), count)
            known = [event for event in read.events if not math.isnan(event.logprob)]
            if kind != "llama.cpp":
                assert [event.logprob for event in known] == [-0.25 * (token % 16 + 1) for token in tokens]
                if api == "chat" or per_chunk == 1:  # each token has the characters that it completes
                    starts = [expected(one, n) for n in range(1, count - ends)]
                    assert ["".join(e.text for e in read.events[: n + 1]) for n in range(len(starts))] == starts
            else:
                assert len(known) >= count / per_chunk / 4
                assert all(event.token >= 0 for event in known)
        assert client.overcounted == 0


def test_without_usage_and_logprobs_a_chunk_is_a_token_and_this_is_said(server):
    with server.being(kind="other", usage="never", logprobs=False, done=False, per_chunk=3):
        client = engine(server)
        read = one(client, "prompt", 30)
    assert (read.tokens, read.finish) == (10, "length")
    assert read.text == expected(attempt("prompt"), 30)
    assert not client.logprobs
    assert any("no log-probabilities" in remark for remark in client.remarks)


def test_reasoning_comes_with_the_answer(server):
    with server.being(reasoning=5):
        client = engine(server, "chat")
        read = one(client, "prompt")
    whole = expected(attempt("prompt"), 20)
    assert read.text.startswith("<think>")
    assert read.text.replace("<think>", "").replace("</think>\n", "") == whole
    assert read.tokens == 20


@pytest.mark.parametrize(
    ("kind", "version", "made"),
    [
        ("vllm", "0.99.0", True),
        ("sglang", "0.9.9", False),
        ("llama.cpp", "b99", True),
        ("transformers", "", False),
        ("other", "", False),
    ],
)
def test_a_server_says_who_it_is(server, kind, version, made):
    with server.being(kind=kind, models=["first", "second"]):
        client = engine(server, url=server.url + "/v1/")
        assert client.settings["server"] == kind
        assert [client.settings[name] for name in ("version", "model", "api")] == [version, "first", "completions"]
        assert client.settings["sent"]["top_p"] == 1.0
        assert any("'first', the first of 2" in remark for remark in client.remarks)
        one(client, "prompt", 9)
        assert client.spent() == Session(probe=4, arrived=9, made=13 if made else None)
        assert any("cannot be told" in remark for remark in client.remarks) == (kind == "other")
    assert server.url not in str(client.settings)


def test_more_slots_than_the_server_has_and_a_model_it_does_not_list_are_said(server):
    with server.being(kind="llama.cpp"):
        client = engine(server, slots=10)
        assert "the server makes 4 streams at a time: 6 of 10 will wait there" in client.remarks
    with server.being(kind="sglang"):
        client = engine(server, sampling=Sampling(0.5))
        assert any("after the temperature" in remark for remark in client.remarks)
        client = engine(server, stop=list("abcdef"), sampling=Sampling(1.0))
        assert [remark for remark in client.remarks if "temperature" in remark] == []
        assert any("first 4 of 6 stop strings" in remark for remark in client.remarks)


def test_fields_that_a_server_refuses_are_left_out_and_said(server):
    refuses = ["top_k", "min_p", "continuous_usage_stats", "stream_options", "logprobs", "seed"]
    with server.being(refuses=refuses):
        client = engine(server)
        read = one(client, "prompt", 10)
        assert read.tokens == 10
        assert not {"top_k", "min_p", "logprobs", "seed"} & server.requests[-1].body.keys()
        said = "the server takes no top_k, min_p: its own defaults hold, and may cut the distribution"
        assert said in client.remarks
        assert any("no seed" in remark for remark in client.remarks)
        assert set(client.settings["left_out"]) == {"top_k", "min_p", "logprobs", "seed", "stream_options"}
        assert "seed" not in client.settings["sent"]
        assert client.probe_tokens == 4
        with pytest.raises(InputError, match="takes no top_k = 40"):
            engine(server, sampling=Sampling(top_k=40))


def test_seeds_and_names_are_the_attempts_own_and_a_try_has_its_own_name(server):
    with server.being(kind="sglang"):
        client = engine(server)
        asked = [attempt("prompt <500 1 0>" if i == 0 else "prompt", f"a{i}") for i in range(20)]
        drain(client, asked)
    names = [request.name for request in server.requests]
    assert len(set(names)) == len(names) == 22
    assert len({len(name) for name in names}) == 1
    assert {request.body["seed"] for request in server.requests[1:]} == {seed(one.key) for one in asked}
    assert len({seed(one.key) for one in asked}) == 20
    assert 0 <= min(seed(bytes([255] * 16)), seed(bytes(16))) <= max(seed(bytes([255] * 16)), 0) < 2**31


# --- discarding


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_a_discarded_stream_is_closed_and_the_others_go_on(server, kind):
    kept = ("a1", "a6")
    with server.being(kind=kind, pause=0.002, late=30 if kind == "vllm" else 10**6):
        client = engine(server)
        asked = [attempt("prompt", f"a{i}", 60 if f"a{i}" in kept else 10**4) for i in range(8)]
        reads = drain(client, asked, lambda name, read: name not in kept and read.tokens >= 5)
        until(lambda: all(request.over for request in server.requests))
    for name, read in reads.items():  # more than five may have come at once
        assert (read.tokens, read.finish) == (60, "length") if name in kept else 5 <= read.tokens < 1000
    names = {seed(one.key): one.id for one in asked}
    ours = {names[request.body["seed"]]: request for request in server.requests[1:]}
    assert {name: not request.closed for name, request in ours.items()} == {name: name in kept for name in reads}
    assert server.paths["/abort_request"] == (6 if kind == "sglang" else 0)
    assert client.abort_errors == 0
    if kind == "sglang":  # a call stops what closing does not
        assert all(request.aborted == request.closed for request in ours.values())
        assert all(request.made < 10**4 for request in ours.values())
    else:
        assert all(ours[name].made - read.tokens >= 30 for name, read in reads.items() if name not in kept)
        assert client.made() == server.made == sum(request.made for request in server.requests)


def test_a_drain_does_not_end_before_its_calls_to_abort(server):
    with server.being(kind="sglang", pause=0.002):
        client = engine(server)
        drain(client, [attempt("prompt", tokens=10**4)], lambda _, read: read.tokens >= 3)
        assert server.requests[-1].aborted
    assert client.abort_errors == 0


def test_what_is_made_after_a_stream_is_closed_is_waited_for_and_counted(server):
    with server.being(pause=0.002, late=30):
        client = engine(server)
        drain(client, [attempt("prompt", tokens=100)], lambda _, read: read.tokens >= 3)
        spent = client.spent()
    assert spent.made == server.made == spent.probe + spent.arrived + spent.late
    assert (spent.probe, spent.arrived >= 3, spent.late >= 30) == (4, True, True)


def test_streams_that_end_leave_their_connections_to_the_next(server):
    with server.being(pause=0.002):
        client = engine(server, slots=2)
        before = server.connections
        drain(client, [attempt("prompt", f"a{i}", 3) for i in range(20)])
    assert server.connections - before <= 3


def test_what_is_discarded_before_it_begins_is_never_asked_for(server):
    client = engine(server, slots=1)
    asked = [attempt("prompt", f"a{i}", 5) for i in range(3)]

    def first(name: str, read: Read) -> bool:
        if name == "a0" and read.tokens == 1:
            client.cancel("a1")
            client.cancel("nobody")
        return False

    reads = drain(client, asked, first)
    assert [read.tokens for read in reads.values()] == [5, 0, 5]
    assert len(server.requests) == 3


def test_an_abort_that_fails_is_counted(server):
    with server.being(kind="sglang", pause=0.002):
        client = engine(server)

        def enough(_: str, read: Read) -> bool:
            server.behaviour.down = 500
            return read.tokens >= 3

        assert 3 <= drain(client, [attempt("prompt", tokens=10**4)], enough)["a"].tokens < 1000
    assert client.abort_errors == 1


# --- what breaks


@pytest.mark.parametrize("kind", ["half", "short", "garbage", "error", "big"])
def test_a_broken_stream_is_tried_again_from_its_beginning(server, waits, kind):
    client = engine(server)
    reads = drain(client, [attempt(f"x <{kind} 2 6>"), attempt("fine", "b")])
    read = reads["a"]
    assert [sum(event.tokens for event in lost) for lost in read.lost] == [6, 6]
    assert (read.tokens, read.finish) == (20, "length")
    assert read.text == expected(attempt(f"x <{kind} 2 6>"), 20)
    assert waits == [(1, 0.0), (2, 0.0)]
    assert client.arrived == 20 + 20 + 12
    assert (reads["b"].tokens, reads["b"].lost) == (20, [])
    server.down()


def test_an_answer_that_is_whole_needs_no_end_of_its_stream(server):
    read = one(engine(server), "x <cut 9 0>")
    assert (read.tokens, read.finish, read.lost) == (20, "length", [])


def test_silence_counts_as_broken(server):
    client = engine(server, patience=1.5)  # longer than a busy machine makes anyone wait
    read = one(client, "x <silence 1 3>")
    assert [len(lost) for lost in read.lost] == [3]
    assert read.tokens == 20
    until(lambda: server.requests[1].closed)


def test_what_breaks_before_the_first_token_is_tried_again_without_a_word(server, waits):
    client = engine(server)
    with server.being(retry_after="7"):
        read = one(client, "x <429 2 0> <503 1 0> <half 1 0>")
    assert (read.tokens, read.lost) == (20, [])
    assert waits == [(1, 7.0), (2, 7.0), (3, 7.0), (4, 0.0)]


def test_an_attempt_that_waits_counts_as_waiting_and_keeps_its_place(server, monkeypatch):
    client = engine(server, slots=2)
    monkeypatch.setattr(openai_stream, "seconds_to_wait", lambda *_: 0.2)
    waits = False
    beside = []

    def look(name: str, read: Read) -> bool:
        nonlocal waits
        if name == "a":
            waits = bool(read.lost and not read.events)
        if waits:
            assert 1 <= client.waiting <= 2
            assert server.running <= 1
            beside.append(name)
        return False

    with server.being(pause=0.01):
        drain(client, [attempt("x <half 1 3>"), *(attempt("fine", f"b{i}", 10) for i in range(3))], look)
    assert len(beside) > 1


def test_one_bad_prompt_is_an_error_of_its_own(server, waits):
    client = engine(server, retries=2)
    with server.being(longest=50):
        reads = drain(
            client,
            [
                attempt("x" * 51, "long"),
                attempt("x <500 9 0>", "always"),
                attempt("x <wrong 9 3>", "wrong"),
                attempt("x <tool 9 3>", "tool"),
                attempt("x <long 9 40>", "beyond"),
                *(attempt("fine", f"b{i}") for i in range(10)),
            ],
        )
    assert reads["long"].failed == "HTTP 400: This model's maximum context length is 50 characters."
    assert reads["always"].failed == "HTTP 500: a fault (tried 3 times)"
    assert reads["wrong"].failed == "HTTP 400: bad bad prompt"
    assert "tool" in reads["tool"].failed
    assert "max_tokens" in reads["beyond"].failed
    assert all(reads[f"b{i}"].tokens == 20 for i in range(10))
    assert len(waits) == 2


def test_a_first_prompt_that_is_too_long_is_no_reason_not_to_begin(server):
    with server.being(longest=20):
        client = engine(server, probe="x" * 21)
        assert client.logprobs
        client = engine(server, "chat", probe=chat("x" * 21))
        assert one(client, "fine").tokens == 20


def test_a_run_in_which_everything_fails_ends(server):
    client = engine(server, retries=0)
    asked = [attempt(f"{i} <500 9 0>", f"a{i}") for i in range(100)]
    with pytest.raises(MsifrError, match=r"failed at \d+ prompts, and succeeded at none meanwhile: HTTP 500"):
        drain(client, asked)
    client = engine(server)
    with server.being(longest=3), pytest.raises(MsifrError, match=r"failed at \d+ prompts.*context length"):
        drain(client, [attempt(f"xxx{i}", f"a{i}") for i in range(100)])
    # One prompt that many attempts fail at is one prompt, and after a success each may fail by itself.
    client = engine(server)
    with server.being(longest=10):
        reads = drain(client, [attempt("x" * 11, f"a{i}") for i in range(30)])
        assert all(read.failed for read in reads.values())
        assert drain(client, [attempt("fine", "b")])["b"].tokens == 20
        reads = drain(client, [attempt("x" * (11 + i), f"a{i}") for i in range(30)])
    assert sum(bool(read.failed) for read in reads.values()) == 30


def test_a_dead_server_ends_the_run_and_says_how_to_go_on(server):
    client = engine(server, retries=2)
    with server.being(pause=0.002):

        def dies(_: str, read: Read) -> bool:
            if read.tokens == 5:
                server.behaviour.down = 503
            return False

        with pytest.raises(MsifrError, match=r"does not answer: .*start again with the same command"):
            drain(client, [attempt("x <half 1 6>"), attempt("prompt", "b", 10**4)], dies)
    assert client.waiting == 0
    server.down()
    with pytest.raises(MsifrError, match="does not answer"):
        one(client, "prompt")
    server.up()
    assert one(client, "prompt").tokens == 20


def test_a_server_that_comes_back_is_met_again(server, monkeypatch):
    client = engine(server)
    monkeypatch.setattr(openai_stream, "seconds_to_wait", lambda *_: 0.02)
    up = []

    def down(_: str, read: Read) -> bool:
        if read.tokens == 5 and not up:
            server.down()
            up.append(server.up())
        return False

    with server.being(pause=0.002):
        reads = drain(client, [attempt("prompt", f"a{i}", 30) for i in range(SLOTS)], down)
    assert all(read.tokens == 30 and len(read.lost) <= 1 for read in reads.values())
    assert any(read.lost for read in reads.values())


def test_a_key_that_is_no_longer_taken_ends_the_run(server, monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    client = engine(server)
    match = "refuses our requests: HTTP 401: wrong key Bearer …"
    with server.being(key="another"), pytest.raises(MsifrError, match=match) as refused:
        one(client, "prompt")
    assert SECRET not in str(refused.value)
    with server.being(models=["other"]), pytest.raises(MsifrError, match="does not exist"):
        one(client, "prompt")


# --- what cannot begin


def test_the_key_is_sent_and_never_shown(server, monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    with server.being(key=SECRET):
        client = engine(server)
        assert server.requests[-1].authorization == f"Bearer {SECRET}"
    assert SECRET not in f"{client.settings}{client.remarks}{client._connection!r}"
    with server.being(key="another"), pytest.raises(InputError, match=f"HTTP 401.*{KEY}") as refused:
        engine(server)
    assert SECRET not in str(refused.value)
    monkeypatch.setenv(KEY, "two\nlines")
    with pytest.raises(InputError, match="characters"):
        engine(server)


def test_a_key_in_plain_sight_is_said(server, monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    assert not any("plain http" in remark for remark in engine(server).remarks)
    facts = openai_stream.ServerFacts("vllm", "1", ("m",), 0)
    link = openai_stream.Connection(url=parse_url("http://far.example"), key="k", key_env=KEY, retries=1, patience=1.0)
    plan = plan_request("vllm", "chat", "m", Sampling(), [])
    far = ServerEngine(link, facts, plan, slots=1)
    (said,) = [r for r in openai_stream._remarks(far, facts, link, Sampling(), []) if "http" in r]
    assert said == "the key goes to far.example over plain http: everyone on the way can read it"


@pytest.mark.parametrize(
    ("behaviour", "options", "match"),
    [
        ({"down": 503}, {}, "not ready: HTTP 503"),
        ({"models": []}, {}, "does not list its models.*--api-model"),
        ({"models": ["a", "b"]}, {"api_model": "c"}, "The model `c` does not exist.*models there: a, b"),
        ({"longest": 1}, {}, "refuses a first request: HTTP 400"),
        ({"streams": False}, {}, "does not stream"),
        ({}, {"retries": -1}, "retries"),
        ({}, {"patience": 0.0}, "patience"),
        ({}, {"patience": math.nan}, "patience"),
        ({}, {"slots": 0}, "slots"),
        ({}, {"url": "nowhere"}, "no URL"),
        ({}, {"url": "http://127.0.0.1:9"}, "no server answers.*start it"),
        ({}, {"probe": chat("Hi")}, "takes a text"),
    ],
)
def test_what_cannot_begin_says_why_in_one_line(server, behaviour, options, match):
    with server.being(**behaviour), pytest.raises(InputError, match=match) as refused:
        engine(server, **options)
    assert "\n" not in str(refused.value)


def test_a_server_that_is_busy_at_first_is_waited_for(server, waits):
    with server.being(retry_after="3"):
        client = engine(server, probe="x <429 2 0>")
    assert waits == [(1, 3.0), (2, 3.0)]
    assert client.logprobs
    with pytest.raises(InputError, match="HTTP 500"):
        engine(server, probe="x <500 99 0>", retries=1)


def test_a_server_is_alive_if_it_says_so_or_lists_its_models(server):
    client = engine(server, retries=0)
    asked = [attempt("fine", "b"), attempt("x <500 9 0>")]
    for pages, dead in [({"/v1/models"}, False), ({"/health"}, True)]:
        server.broken_pages = pages
        if dead:
            with pytest.raises(MsifrError, match="does not answer"):
                drain(client, asked)
        else:
            assert drain(client, asked)["a"].failed == "HTTP 500: a fault (tried once)"
    with server.being(kind="no health"):
        server.broken_pages = set()
        assert drain(client, asked)["a"].failed
        server.broken_pages = {"/v1/models"}
        with pytest.raises(MsifrError, match="does not answer"):
            drain(client, asked)


def test_a_page_of_models_that_fails_is_no_obstacle_if_the_model_is_known(server):
    server.broken_pages = {"/v1/models"}
    with server.being(kind="transformers"):
        client = engine(server, api_model="fake")
        assert (client.settings["server"], one(client, "prompt").tokens) == ("transformers", 20)
        with pytest.raises(InputError, match="--api-model"):
            engine(server)


def test_a_probe_without_text_is_repeated_and_then_believed(server):
    with server.being(length=1, logprobs=False):
        assert engine(server).logprobs
        assert len(server.requests) == 3
    with server.being(length=1, logprobs=False, kind="other"):
        assert not engine(server).logprobs


def test_within_a_running_loop(server):
    import asyncio

    async def cell() -> int:
        return one(engine(server), "prompt").tokens

    assert asyncio.run(cell()) == 20


def test_a_drain_that_is_interrupted_closes_its_streams(server):
    client = engine(server)

    def interrupt(_: str, read: Read) -> bool:
        if read.tokens == 4:
            raise KeyboardInterrupt
        return False

    with server.being(pause=0.002), pytest.raises(KeyboardInterrupt):
        drain(client, [attempt("prompt", f"a{i}", 10**4) for i in range(SLOTS)], interrupt)
    until(lambda: all(request.over for request in server.requests))
    assert client.waiting == 0
    assert one(client, "prompt").tokens == 20


def test_a_thousand_attempts_over_few_connections_are_counted_exactly():
    process = subprocess.Popen(  # noqa: S603 our own server
        [sys.executable, str(Path(__file__).with_name("fake_server.py")), '{"kind": "llama.cpp", "length": 20}'],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = process.stdout.readline().strip()
        client = connect(
            ServerOptions(url=url, api="completions", key_env=KEY),
            sampling=Sampling(),
            slots=16,
            probe="Hi",
            max_new_tokens=20,
        )
        started = time.process_time()
        reads = drain(client, [attempt(f"prompt {i}", f"a{i}", 25) for i in range(1000)])
        seconds = time.process_time() - started
        with urllib.request.urlopen(url + "/requests") as page:  # noqa: S310 our own server
            connections = json.load(page)["connections"]
        assert connections < 2 * 16  # streams that end leave theirs to the next
        assert all((read.tokens, read.finish) == (20, "end") for read in reads.values())
        assert client.arrived == 20_000 == client.made() - client.probe_tokens
        assert seconds / 20_000 < 400e-6  # a few times what a busy machine takes
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
