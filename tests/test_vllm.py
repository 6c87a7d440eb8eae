"""vLLM in this process and behind its server: the same tests of both, and what only one of them has.

They need vLLM and the folder of a small instruct model, which the environment variable MSIFR_REAL_MODEL names:
`make test-vllm`. What they measure is printed, and written to the file that MSIFR_VLLM_RESULTS names.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tiny
from msifr_integrations.engine.base import Attempt, Event, Failed, Notice, Sampling, stream_key
from msifr_integrations.generation.generate import GenerateOptions, generate
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.servers.dialects import read_counter
from msifr_policy.errors import InputError, MsifrError
from msifr_policy.filters import Message, Prompt
from msifr_policy.records.ledger import read_ledger

MODEL = os.environ.get("MSIFR_REAL_MODEL", "")
LACKING = "" if importlib.util.find_spec("vllm") else "vLLM is not installed: make test-vllm"
LACKING = LACKING or ("" if MODEL else "MSIFR_REAL_MODEL names no model")
pytestmark = [
    pytest.mark.skipif(bool(LACKING), reason=LACKING),
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own, of which each release has others
]

SAMPLING = Sampling(temperature=0.7)
STOP = "###"
SLOTS = 8
CONTEXT = 512  # tokens of prompt and answer
# Single precision, so that hardly a token depends on who shares the batch; eager, since compiling takes too long.
ENGINE_ARGS = {"enforce_eager": True, "max_model_len": CONTEXT, "max_num_batched_tokens": 2 * CONTEXT}
LINES: list[dict[str, Any]] = []


def story(number: int) -> str:
    return f"<|im_start|>user\nTell a long story about {number + 2} dogs.<|im_end|>\n<|im_start|>assistant\n"


def attempts(count: int, *, seed: int = 0, limit: int = 24, name: str = "a") -> list[Attempt]:
    return [
        Attempt(f"{name}{seed}/{i}", story(i), stream_key(seed, f"p{i}", 0), max_new_tokens=limit) for i in range(count)
    ]


class Streams:
    """Runs attempts and keeps what comes; those named in `stop_at` are cancelled after so many tokens."""

    def __init__(self, engine: Any, queued: Sequence[Attempt], stop_at: Mapping[str, int] | None = None) -> None:
        self.events: dict[str, list[Event]] = {attempt.id: [] for attempt in queued}
        self.failed: dict[str, str] = {}
        self.late = 0  # tokens that came after the decision
        self.notices = 0
        stop_at = stop_at or {}
        cancelled = set()

        def take(notices: Sequence[Notice]) -> None:
            for notice in notices:
                self.notices += 1
                if isinstance(notice, Failed):
                    self.failed[notice.id] = notice.why
                    continue
                assert isinstance(notice, Event)
                self.late += notice.tokens if notice.id in cancelled else 0
                self.events[notice.id].append(notice)
                if self.tokens(notice.id) == stop_at.get(notice.id) and not notice.finish:
                    cancelled.add(notice.id)
                    engine.cancel(notice.id)

        for attempt in queued:
            engine.submit(attempt)
        engine.drain(take)
        self.cancelled = cancelled

    def text(self, attempt_id: str) -> str:
        return "".join(event.text or "" for event in self.events[attempt_id])

    def tokens(self, attempt_id: str) -> int:
        return sum(event.tokens for event in self.events[attempt_id])

    def finish(self, attempt_id: str) -> str:
        return self.events[attempt_id][-1].finish

    @property
    def all_tokens(self) -> int:
        return sum(self.tokens(attempt_id) for attempt_id in self.events)


class InProcess:
    """vLLM in this process, and what its own counters say."""

    where = "in process"

    def __init__(self, folder: Path) -> None:
        del folder
        from msifr_integrations.servers.vllm_engine import start_vllm

        self.engine: Any = start_vllm(
            MODEL,
            sampling=SAMPLING,
            slots=SLOTS,
            stop=[STOP],
            dtype="float32",
            engine_args=ENGINE_ARGS,
        )
        # What vLLM's worker hands over, before vLLM's front end drops what nobody waits for.
        self.handed_over = 0
        core = self.engine._llm.engine_core
        get_output = core.get_output_async

        async def counted() -> Any:
            outputs = await get_output()
            self.handed_over += sum(len(output.new_token_ids) for output in outputs.outputs)
            return outputs

        core.get_output_async = counted

    def made(self) -> int:
        return int(self._metric("vllm:generation_tokens"))

    def running(self) -> float:
        self.engine._run_loop(asyncio.sleep(0.05))  # else nobody listens to what vLLM tells
        return self._metric("vllm:num_requests_running")

    def blocks_used(self) -> float:
        return self._metric("vllm:kv_cache_usage_perc")

    def cpu_seconds(self) -> float:
        import psutil

        us = psutil.Process()
        times = [process.cpu_times() for process in [us, *us.children(recursive=True)]]
        return float(sum(time.user + time.system for time in times))

    def close(self) -> None:
        self.engine.close()

    def _metric(self, name: str) -> float:
        from vllm.v1.metrics.reader import get_metrics_snapshot

        return float(sum(metric.value for metric in get_metrics_snapshot() if metric.name == name))


WATCHER = """
import os, signal, subprocess, sys, threading
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=lambda: os._exit(server.wait()), daemon=True).start()
sys.stdin.read()
os.killpg(0, signal.SIGKILL)
"""  # the server and its processes end when this one closes the pipe, or dies


class OverHttp:
    """vLLM's server in a process of its own, asked by the client for servers."""

    where = "over HTTP"

    def __init__(self, folder: Path) -> None:
        from msifr_integrations.servers.openai_stream import connect
        from msifr_integrations.servers.options import ServerOptions

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", MODEL]
        command += ["--served-model-name", "real", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
        command += ["--max-model-len", str(CONTEXT), "--max-num-seqs", str(SLOTS), "--enforce-eager"]
        command += ["--max-num-batched-tokens", str(2 * CONTEXT)]
        command += ["--gpu-memory-utilization", "0.5", "--no-enable-chunked-prefill"]  # as start_vllm does on a CPU
        self._log = folder.joinpath("server.log").open("wb")
        self._process = subprocess.Popen(  # noqa: S603 - vLLM
            [sys.executable, "-c", WATCHER, *command],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        begun = time.monotonic()
        while True:
            try:
                self.get("/health")
                break
            except (urllib.error.URLError, ConnectionError):
                assert self._process.poll() is None, "the server ended"
                assert time.monotonic() - begun < 300, "the server does not start"
                time.sleep(0.5)
        self.engine: Any = connect(
            ServerOptions(url=self.url, api="completions"),
            sampling=SAMPLING,
            slots=SLOTS,
            stop=[STOP],
            probe=story(0),
            max_new_tokens=24,
        )

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:  # noqa: S310 - a local address
            return str(answer.read().decode())

    def made(self) -> int:
        made = read_counter(self.get("/metrics"), "vllm:generation_tokens_total")
        assert made is not None
        return made

    def running(self) -> float:
        return self._metric("vllm:num_requests_running")

    def blocks_used(self) -> float:
        return self._metric("vllm:kv_cache_usage_perc")

    def cpu_seconds(self) -> float:
        import psutil

        server = psutil.Process(self._process.pid)
        times = [process.cpu_times() for process in [psutil.Process(), server, *server.children(recursive=True)]]
        return float(sum(time.user + time.system for time in times))

    def close(self) -> None:
        self.engine.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._log.close()

    def _metric(self, name: str) -> float:
        lines = [line for line in self.get("/metrics").splitlines() if line.startswith(name + "{")]
        return sum(float(line.rpartition("}")[2]) for line in lines)


@pytest.fixture(scope="module", params=[InProcess, OverHttp], ids=["in-process", "over-http"])
def vllm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    begun = time.monotonic()
    running = request.param(tmp_path_factory.mktemp("vllm"))
    note(running.where, "seconds until it is ready", time.monotonic() - begun, "s")
    try:
        yield running
    finally:
        running.close()


@pytest.fixture(scope="module", autouse=True)
def results() -> Iterator[None]:
    for package in ("vllm", "torch", "transformers"):
        note("environment", package, importlib.import_module(package).__version__)
    note("environment", "processors", len(os.sched_getaffinity(0)))
    note("environment", "load average at the start", os.getloadavg()[0])
    yield
    if LINES and (file := os.environ.get("MSIFR_VLLM_RESULTS")):
        Path(file).write_text(json.dumps(LINES, indent=1) + "\n")


def note(where: str, metric: str, value: float | str, unit: str = "", target: str = "", ok: bool | None = None) -> None:
    """Print a number that was measured, and keep it in the form of the files in benchmarks/results."""
    line = {"metric": f"{where}: {metric}", "value": value, "unit": unit, "target": target, "peer": "", "ok": ok}
    LINES.append(line)
    shown = value if isinstance(value, str) else f"{value:.4g}"
    sys.stdout.write(f"\n{line['metric']:60s} {shown:>10s} {unit} {target and 'target ' + target}")


def wait_until(true: Any, within: float = 10.0) -> float:
    """Return the seconds until `true()` holds; fails if they are more than `within`."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < within
        time.sleep(0.02)
    return time.monotonic() - begun


def test_text_tokens_and_log_probabilities_are_those_of_the_model(vllm: Any) -> None:
    queued = attempts(SLOTS)
    streams = Streams(vllm.engine, queued)
    assert not streams.failed
    for attempt in queued:
        events = streams.events[attempt.id]
        assert all(event.tokens == 1 for event in events)
        assert {event.finish for event in events[:-1]} <= {""}
        assert streams.finish(attempt.id) in {"end", "length", "stop"}
        assert streams.finish(attempt.id) != "length" or len(events) == attempt.max_new_tokens
        assert all(math.isfinite(event.logprob) and event.logprob <= 0 for event in events)
        assert all(math.isnan(event.sampled_logprob) for event in events)  # temperature 0.7: not known
    assert vllm.engine.logprobs
    apart = differences(streams, queued)
    note(vllm.where, "largest difference of a log-probability from transformers in float32", max(apart), "", "< 0.01")
    assert len(apart) > 100
    assert max(apart) < 0.01  # of the whole vocabulary at temperature 1, whatever was drawn from


def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODEL)


def differences(streams: Streams, queued: Sequence[Attempt]) -> list[float]:
    """Differences of the log-probabilities from those that transformers gives, over attempts whose tokens are known.

    A server tells no ids: there the text is encoded again, and counts where that gives as many tokens.
    """
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = _tokenizer()
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    apart = []
    for attempt in queued:
        events = streams.events[attempt.id]
        prompt = tokenizer.encode(attempt.prompt, add_special_tokens=False)
        tokens = [event.token for event in events]
        if tokens[0] < 0:
            tokens = tokenizer.encode(streams.text(attempt.id), add_special_tokens=False)
            tokens += [tokenizer.eos_token_id] * (streams.finish(attempt.id) == "end")
        elif streams.finish(attempt.id) != "stop":
            assert tokenizer.decode(tokens, skip_special_tokens=True) == streams.text(attempt.id)
        if len(tokens) != len(events):
            continue
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + tokens[:-1]])).logits[0, len(prompt) - 1 :].float()
        expected = logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])[:, 0].tolist()
        apart += [abs(event.logprob - value) for event, value in zip(events, expected, strict=True)]
    return apart


def test_a_seed_fixes_the_attempt(vllm: Any) -> None:
    first, again = (Streams(vllm.engine, attempts(SLOTS, name=name)) for name in "xy")
    texts = [[streams.text(name) for name in streams.events] for streams in (first, again)]
    assert texts[0] == texts[1]
    other = Streams(vllm.engine, attempts(SLOTS, seed=1))
    assert sum(text == other.text(name) for text, name in zip(texts[0], other.events, strict=True)) == 0


def test_a_discarded_stream_makes_no_further_token_and_disturbs_nobody(vllm: Any) -> None:
    whole = Streams(vllm.engine, attempts(SLOTS, name="w", limit=48))
    queued = attempts(SLOTS, name="d", limit=48)
    stop_at = {attempt.id: 10 for attempt in queued[:5]}
    before, arrived = vllm.made(), vllm.engine.spent().arrived
    handed_over = vllm.handed_over if isinstance(vllm, InProcess) else 0
    streams = Streams(vllm.engine, queued, stop_at)
    assert streams.cancelled == set(stop_at)
    assert streams.late == 0
    for attempt in queued:
        assert attempt.id not in stop_at or streams.tokens(attempt.id) == 10
    wait_until(lambda: vllm.made() - before >= streams.all_tokens)
    idle = wait_until(lambda: vllm.running() == 0)
    made = vllm.made() - before
    assert vllm.engine.spent().arrived - arrived == streams.all_tokens
    note(vllm.where, "streams closed after 10 of 48 tokens", len(stop_at), "")
    note(vllm.where, "tokens read", streams.all_tokens)
    note(vllm.where, "tokens made, by vLLM's counter", made)
    note(
        vllm.where,
        "overshoot per closed stream",
        (made - streams.all_tokens) / len(stop_at),
        "tokens",
        "0",
        made == streams.all_tokens,
    )
    note(vllm.where, "seconds until no request runs", idle, "s")
    assert made == streams.all_tokens
    if isinstance(vllm, InProcess):
        dropped = vllm.handed_over - handed_over - streams.all_tokens
        note(
            vllm.where,
            "tokens handed over after the abort, and dropped, per closed stream",
            dropped / len(stop_at),
            "tokens",
            "<= 1",
        )
        assert 0 <= dropped <= len(stop_at)
        assert vllm.engine._llm.get_num_unfinished_requests() == 0
    kept = [f"{i}" for i in range(5, SLOTS)]
    same = sum(streams.text(f"d0/{i}") == whole.text(f"w0/{i}") for i in kept)
    note(vllm.where, "streams beside them with the text they have without", same, f"of {len(kept)}")
    assert same == len(kept)
    Streams(vllm.engine, attempts(1, name="z", limit=2))
    wait_until(lambda: vllm.running() == 0)
    assert vllm.blocks_used() < 0.01  # a share of the cache


def test_a_stop_string_ends_the_attempt_and_is_not_in_its_text(vllm: Any) -> None:
    prompt = "apple ###\nbanana ###\ncherry ###\nlemon ###\nplum ###\nmelon"
    queued = [Attempt(f"s/{i}", prompt, stream_key(i, "stop", 0), 16) for i in range(4)]
    streams = Streams(vllm.engine, queued)
    stopped = [attempt.id for attempt in queued if streams.finish(attempt.id) == "stop"]
    assert stopped
    assert all(STOP not in streams.text(name) for name in streams.events)
    assert all(streams.tokens(name) < 16 for name in stopped)


def test_a_prompt_that_does_not_fit_fails_alone(vllm: Any) -> None:
    long = Attempt("long", "dog " * (2 * CONTEXT), stream_key(0, "long", 0), 8)
    streams = Streams(vllm.engine, [long, *attempts(2, name="f", limit=8)])
    assert list(streams.failed) == ["long"]
    assert str(CONTEXT) in streams.failed["long"]
    assert "\n" not in streams.failed["long"]
    assert [streams.tokens(f"f0/{i}") for i in range(2)] == [8, 8]


def test_long_prompts_at_once_with_seeds(vllm: Any) -> None:
    """On a CPU vLLM dies of them where it may cut a prompt in pieces."""
    words = " ".join(f"{number} dogs," for number in range(2, 90))
    queued = [Attempt(f"l/{i}", f"{i}: {words}", stream_key(i, "l", 0), 4) for i in range(SLOTS)]
    count = len(_tokenizer().encode(queued[0].prompt))
    assert 2 * CONTEXT / SLOTS < count < CONTEXT - 4  # more in all than vLLM takes at a time
    streams = Streams(vllm.engine, queued)
    assert [streams.tokens(name) for name in streams.events] == [4] * SLOTS


def test_token_ids_make_the_same_attempt_as_their_text(vllm: Any) -> None:
    ids = tuple(_tokenizer().encode(story(0), add_special_tokens=False))
    (text,) = attempts(1, name="t", limit=12)
    streams = Streams(vllm.engine, [text, Attempt("i", ids, text.key, 12)])
    assert streams.text("i") == streams.text("t0/0") != ""


def test_many_streams(vllm: Any) -> None:
    queued = attempts(2 * SLOTS, seed=3, limit=48)
    begun, cpu, ours = time.perf_counter(), vllm.cpu_seconds(), time.process_time()
    streams = Streams(vllm.engine, queued)
    seconds, cpu, ours = time.perf_counter() - begun, vllm.cpu_seconds() - cpu, time.process_time() - ours
    tokens = streams.all_tokens
    note(vllm.where, f"{len(queued)} attempts of up to 48 tokens, {SLOTS} at a time: tokens", tokens)
    note(vllm.where, "tokens per second", tokens / seconds, "1/s")
    note(vllm.where, "tokens per CPU second", tokens / cpu, "1/s")
    note(vllm.where, "CPU seconds", cpu, "s")
    note(vllm.where, "of them in this process", ours, "s")
    assert tokens > 8 * len(queued)
    assert not streams.failed


def test_what_it_says_of_itself(vllm: Any) -> None:
    settings = json.dumps(vllm.engine.settings)
    assert "0.7" in settings
    assert "http" not in settings
    assert vllm.engine.remarks
    assert all("\n" not in remark for remark in vllm.engine.remarks)


def test_repetition_is_a_word_of_its_own(vllm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM ends what repeats itself if asked to; our client does not ask, but knows the word."""
    detection = {"max_pattern_size": 20, "min_pattern_size": 1, "min_count": 4}
    (attempt,) = attempts(1, name="r", limit=40)
    always = {_tokenizer().encode(" dog")[0]: 100.0}
    if isinstance(vllm, InProcess):
        from vllm.sampling_params import RepetitionDetectionParams

        parameters = vllm.engine._parameters

        def repeating(attempt: Attempt) -> Any:
            params = parameters(attempt)
            params.logit_bias = always
            params.repetition_detection = RepetitionDetectionParams(**detection)
            return params

        monkeypatch.setattr(vllm.engine, "_parameters", repeating)
    else:
        plan = vllm.engine.plan
        more = {"repetition_detection": detection, "logit_bias": always}
        monkeypatch.setattr(vllm.engine, "plan", replace(plan, fields={**plan.fields, **more}))
    events = Streams(vllm.engine, [attempt]).events[attempt.id]
    assert " dog dog dog" in "".join(event.text or "" for event in events)
    assert events[-1].finish == "repetition"
    assert sum(event.tokens for event in events) < 40


@pytest.fixture
def in_process(vllm: Any) -> Any:
    if not isinstance(vllm, InProcess):
        pytest.skip("of vLLM in this process")
    return vllm


def test_messages_go_through_the_models_template(in_process: Any) -> None:
    told = [{"role": "system", "content": "You like dogs."}, {"role": "user", "content": "Tell a story."}]
    text = _tokenizer().apply_chat_template(told, tokenize=False, add_generation_prompt=True)
    assert "You like dogs." in text
    messages = tuple(Message(**message) for message in told)
    key = stream_key(0, "m", 0)
    assert in_process.engine.has_chat_template
    streams = Streams(in_process.engine, [Attempt("m", messages, key, 12), Attempt("t", text, key, 12)])
    assert streams.text("m") == streams.text("t") != ""


def test_attempts_of_a_prompt_share_its_prefill(in_process: Any) -> None:
    prompt = story(0) + "Once there was a dog. " * 20
    queued = [Attempt(f"p/{i}", prompt, stream_key(i, "p", 0), 4) for i in range(SLOTS)]
    hits = in_process._metric("vllm:prefix_cache_hits")
    Streams(in_process.engine, queued)
    assert in_process._metric("vllm:prefix_cache_hits") - hits > 50 * (SLOTS - 1)


def test_a_character_of_several_tokens_comes_whole(in_process: Any) -> None:
    prompt = "😀 😃 😄 😁 😀 😃 😄 😁 😀 😃 😄 😁 😀 😃 😄"
    streams = Streams(in_process.engine, [Attempt(f"u/{i}", prompt, stream_key(i, "u", 0), 24) for i in range(4)])
    texts = [event.text or "" for name in streams.events for event in streams.events[name][:-1]]
    assert any(character >= "\U0001f600" for text in texts for character in text)
    assert "" in texts  # tokens that complete no character
    assert all("\ufffd" not in text for text in texts)


def test_prompts_that_are_none_fail_alone(in_process: Any) -> None:
    wrong = [Attempt("none", (), bytes(16), 8), Attempt("unknown", (1, 10**7), bytes(16), 8)]
    streams = Streams(in_process.engine, [*wrong, *attempts(1, name="o", limit=8)])
    assert set(streams.failed) == {"none", "unknown"}
    assert streams.tokens("o0/0") == 8


def test_a_run_of_which_nothing_works_ends_with_a_message(in_process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_process.engine, "_answered", False)
    monkeypatch.setattr(in_process.engine, "_failed", 0)
    wrong = [Attempt(f"e/{i}", (), bytes(16), 8) for i in range(20)]
    with pytest.raises(MsifrError, match="took none of the first 8 attempts"):
        Streams(in_process.engine, wrong)
    in_process.engine._queue.clear()
    assert in_process.engine.waiting == 0


def test_a_drain_while_a_loop_runs(in_process: Any) -> None:
    """A notebook has an event loop already."""

    async def cell() -> Streams:
        return Streams(in_process.engine, attempts(2, name="n", limit=8))

    streams = asyncio.run(cell())
    assert [streams.tokens(name) for name in streams.events] == [8, 8]


def test_what_cannot_run_is_refused(in_process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="max_new_tokens"):
        in_process.engine.submit(Attempt("0", "dog", bytes(16), 0))
    monkeypatch.setattr(in_process.engine._tokenizer, "chat_template", None)
    with pytest.raises(InputError, match="chat template"):
        in_process.engine.submit(Attempt("0", (Message("user", "Hi"),), bytes(16), 8))


def test_nothing_is_started_for_arguments_that_are_none(tmp_path: Path) -> None:
    from msifr_integrations.servers.vllm_engine import start_vllm

    for wrong, what in (
        ({"model": str(tmp_path)}, "cannot run"),
        ({"engine_args": {"no_such": 1}}, "no_such"),
        ({"engine_args": {"max_num_seqs": 1}}, "max_num_seqs"),
        ({"slots": 0}, "slots"),
        ({"engine_args": {"max_model_len": 10**9}}, "max_model_len"),
    ):
        with pytest.raises(InputError, match=what) as caught:
            start_vllm(**{"model": MODEL, "sampling": SAMPLING, "slots": 2, **wrong})
        assert "\n" not in str(caught.value)


def test_when_vllm_dies_the_run_ends_with_a_message(in_process: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The last test of the engine in this process."""
    import psutil

    queued = attempts(4, name="k", limit=48)
    stream = in_process.engine._stream
    killed = False

    async def dying(attempt: Attempt) -> Any:
        nonlocal killed
        async for events in stream(attempt):
            yield events
            if not killed:
                killed = True
                for process in psutil.Process().children(recursive=True):
                    process.kill()

    in_process.engine._stream = dying
    with pytest.raises(MsifrError, match=r"vLLM has died.*start again") as caught:
        Streams(in_process.engine, queued)
    assert "\n" not in str(caught.value)
    del caught
    gc.collect()
    assert "never retrieved" not in caplog.text


PROMPTS = [Prompt(prompt_id=f"p{i}", prompt=f"Tell a long story about {i + 2} dogs.") for i in range(4)]


def test_a_run_in_vllm_discards_and_accounts_for_every_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from msifr_integrations.servers import vllm_engine

    start = vllm_engine.start_vllm
    monkeypatch.setattr(
        vllm_engine, "start_vllm", lambda *model, **told: start(*model, **told, engine_args=ENGINE_ARGS)
    )
    out = tmp_path / "out.jsonl"
    said: list[str] = []
    options = GenerateOptions(
        engine="vllm", slots=4, attempts=2, max_new_tokens=24, temperature=0.7, final_filter=tiny.even_length
    )
    result = generate(MODEL, PROMPTS, tiny.TextPolicy(tiny.unwanted), out, options, tell=said.append)
    assert (result.attempts, result.failed, result.tokens_beside) == (8, 0, 2)  # two of the warm-up
    assert 0 < result.discarded < 8
    ledger = read_ledger(ledger_path(out))
    (session,) = ledger.sessions
    assert session.made == session.arrived + session.probe == result.tokens + 2
    assert (ledger.settings["engine"], ledger.settings["chat"], ledger.settings["model"]) == ("vllm", True, MODEL)
    # Where others keep the processor busy, several tokens may come at once, and the decision is on the first of them.
    late = result.tokens_wasted_after_decision
    assert late <= result.discarded
    discarded = [line for line in map(json.loads, out.read_text().splitlines()) if line["status"] == "discarded"]
    assert late or all(line["tokens"] % 6 == 0 for line in discarded)  # at a checkpoint, and no token later
    assert any("chat template" in remark for remark in said)
    assert any("rounding" in remark for remark in said)
    where = "a run under a policy"
    note(where, "attempts", result.attempts)
    note(where, "discarded", result.discarded)
    note(where, "tokens", result.tokens)
    note(where, "tokens made, by vLLM's counter, without the warm-up", session.made - session.probe)
    note(where, "tokens that came after the decision", late, "tokens", "0", late == 0)


SMALL = f"""
from msifr_integrations.cli.entry import run
from msifr_integrations.servers import vllm_engine

if __name__ == "__main__":
    start = vllm_engine.start_vllm
    vllm_engine.start_vllm = lambda *model, **told: start(*model, **told, engine_args={ENGINE_ARGS})
    run()
"""  # the command line, with a vLLM that does not compile


def test_the_command_line_prints_its_result_alone(tmp_path: Path) -> None:
    """vLLM would print its reports there."""
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "out.jsonl"
    prompts.write_bytes(b"".join(msgspec.json.encode(prompt) + b"\n" for prompt in PROMPTS))
    script = tmp_path / "small.py"
    script.write_text(SMALL)
    words = [sys.executable, str(script), "generate", "--engine", "vllm", "--model", MODEL]
    words += ["--prompts", str(prompts), "--policy", "none", "--out", str(out), "--attempts", "1", "--slots", "4"]
    words += ["--max-new-tokens", "8", "--filter", "function:tiny:even_length", "--json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_LOGGING")}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=400)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tokens"] == 32
