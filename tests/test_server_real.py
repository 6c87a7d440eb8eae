"""The client of servers on a real llama.cpp server: what it reads, what it stops, what it costs, and what it survives.

`make test-server` installs the server and its model; without them these tests are skipped.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

import llama_server
from fake_server import FakeServer
from llama_server import LlamaServer
from msifr_integrations.engine.base import Attempt, PromptInput, Sampling, stream_key
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.servers.openai_stream import ServerEngine, connect
from msifr_integrations.servers.options import ServerOptions
from msifr_policy.beliefs import Beliefs
from msifr_policy.beliefs.linear import CheckpointGroup, LinearModel
from msifr_policy.errors import InputError, MsifrError
from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.evidence.table import Costing
from msifr_policy.evidence.watch import column_names
from msifr_policy.filters import Message, Prompt
from msifr_policy.policy_file import Certificate, Fingerprint, LengthCap, PolicyFile
from msifr_policy.records.ledger import read_ledger, total
from msifr_policy.records.provenance import Provenance
from msifr_policy.validators import Length, describe
from streams import drain

if reason := llama_server.missing():
    pytest.skip(reason, allow_module_level=True)

SLOTS = 8
STORY = "Tell a long story about {}."
SUBJECTS = [
    "a dog",
    "a ship",
    "two sisters",
    "the moon",
    "an old clock",
    "a baker",
    "a dragon 🐉 (龍)",
    "a lost letter",
]
OVERSHOOT = 2
"""Tokens that a stream may have made beyond those that were read when it was closed."""


@pytest.fixture(scope="module")
def server() -> Iterator[LlamaServer]:
    """A server for all tests that leave it running."""
    with LlamaServer(SLOTS) as running:
        yield running


def engine(server: LlamaServer, api: str = "chat", *, retries: int = 6, **changes: Any) -> ServerEngine:
    """A client of the server."""
    asked = {"sampling": Sampling(), "slots": SLOTS, "probe": prompt("nothing", api), "max_new_tokens": 40} | changes
    return connect(ServerOptions(url=server.url, api=api, retries=retries), **asked)


def prompt(subject: str, api: str = "chat") -> PromptInput:
    """A prompt as the endpoint takes it; the model seldom ends such a story by itself within 100 tokens."""
    text = STORY.format(subject)
    return (Message("user", text),) if api == "chat" else f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def attempts(count: int, api: str = "chat", *, seed: int = 0, tokens: int = 24) -> list[Attempt]:
    """Attempts a0, a1, … at different stories."""
    return [
        Attempt(f"a{i}", prompt(SUBJECTS[i % len(SUBJECTS)], api), stream_key(seed, f"p{i}", 0), tokens)
        for i in range(count)
    ]


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_streams_have_logprobs_and_seeds_and_every_token_is_counted(server: LlamaServer, api: str) -> None:
    client = engine(server, api)
    assert (client.logprobs, client.asynchronous) == (True, True)
    before = server.tokens()
    reads = drain(client, attempts(SLOTS, api))
    assert sum(read.tokens for read in reads.values()) == server.tokens() - before == client.arrived
    for read in reads.values():
        assert not read.why
        assert not read.failed
        assert len(read.text) > 20
        assert read.finish == "length"
        known = [event.logprob for event in read.events if event.tokens and not math.isnan(event.logprob)]
        assert len(known) > read.tokens // 2  # the server tells one for a character of several tokens
        assert all(-40 < logprob <= 0 for logprob in known)
    (once,) = drain(client, attempts(1, api)).values()
    (again,) = drain(client, attempts(1, api)).values()
    (other,) = drain(client, attempts(1, api, seed=1)).values()
    assert once.text == again.text != other.text
    client.close()


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_discarding_closes_the_stream_and_the_others_go_on(server: LlamaServer, api: str) -> None:
    client = engine(server, api)
    before = server.tokens()
    kept, most = ("a0", "a5"), 8
    reads = drain(client, attempts(SLOTS, api, tokens=40), lambda name, read: name not in kept and read.tokens >= most)
    assert server.wait_until_idle() < 5
    made, read = server.tokens() - before, sum(read.tokens for read in reads.values())
    assert read <= made <= read + OVERSHOOT * (SLOTS - len(kept))
    for name, one in reads.items():
        assert (one.tokens, one.finish) == ((40, "length") if name in kept else (most, ""))
    client.close()


def test_characters_of_several_tokens_come_out_whole(server: LlamaServer) -> None:
    """Emoji and Chinese characters are two to four tokens each to this model; the server merges their bytes."""
    client = engine(server, "completions", sampling=Sampling(temperature=0), max_new_tokens=24)
    texts = {"emoji": "🎉🎊🎉🎊🎉🎊🎉🎊🎉🎊", "chinese": "日月日月日月日月日月日月", "accents": "éàéàéàéàéàéàéàéà"}
    asked = [Attempt(name, text, stream_key(0, name, 0), 24) for name, text in texts.items()]
    before = server.tokens()
    reads = drain(client, asked)
    assert sum(read.tokens for read in reads.values()) == server.tokens() - before
    for name, read in reads.items():
        assert read.tokens == 24
        assert set(read.text) & set(texts[name]), read.text  # it goes on with what it was given
        assert "\ufffd" not in read.text[:-1]
    client.close()


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_stop_strings_end_a_stream_and_are_not_part_of_it(server: LlamaServer, api: str) -> None:
    client = engine(server, api, stop=(",", "."))
    before = server.tokens()
    reads = drain(client, attempts(4, api, tokens=40))
    assert sum(read.tokens for read in reads.values()) == server.tokens() - before
    # This server does not tell a stop string from the end of the sequence.
    assert sum(read.finish == "end" for read in reads.values()) >= 2
    assert not any("." in read.text or "," in read.text for read in reads.values())
    client.close()


def test_a_prompt_longer_than_the_context_fails_alone(server: LlamaServer) -> None:
    client = engine(server)
    long = Attempt("long", (Message("user", "word " * 600),), stream_key(0, "long", 0), 24)
    reads = drain(client, [*attempts(3), long])
    assert [read.tokens for read in reads.values()] == [24, 24, 24, 0]
    assert not reads["long"].why
    assert "context" in reads["long"].failed
    assert "\n" not in reads["long"].failed
    client.close()


def test_a_server_that_is_not_there_or_dies_is_one_line() -> None:
    with LlamaServer(2, 256) as mortal:
        client = engine(mortal, slots=2, retries=1)
        url = mortal.url

        def die(*_: Any) -> bool:
            mortal.kill()
            return False

        with pytest.raises(MsifrError, match="does not answer") as found:
            drain(client, attempts(2), die)
        client.close()
    assert "\n" not in str(found.value)
    with pytest.raises(InputError, match=url):
        engine(mortal, retries=1)


# From here on: the command line, in a process of its own.

ATTEMPTS = 2
PROMPTS = [Prompt(prompt_id=f"p{i}", prompt=STORY.format(subject), group="story") for i, subject in enumerate(SUBJECTS)]
TOKENS = 24


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prompts and a policy that discards the attempts whose first eight tokens are short words."""
    folder = tmp_path_factory.mktemp("files")
    lines = [msgspec.json.encode(one) + b"\n" for one in PROMPTS]
    (folder / "prompts.jsonl").write_bytes(b"".join(lines))
    short_words(8, 33.0).save(folder / "policy.json")
    short_words(8, 1e6).save(folder / "discards-all.json")
    return folder


def short_words(tokens: int, characters: float) -> PolicyFile:
    """The policy that discards at the first checkpoint, after `tokens`, whoever has fewer `characters`."""
    weight = CheckpointGroup(
        intercept=0.0, centre=[math.log1p(characters), 0.0, 0.0], scale=[1.0] * 3, coefficients=[10.0, 0.0, 0.0]
    )
    cost = CheckpointGroup(intercept=math.log(50), centre=[0.0] * 3, scale=[1.0] * 3, coefficients=[0.0] * 3)
    rule, nothing = Length(), Fingerprint(sha256="", n_attempts=0, n_prompts=0, n_accepted=0, prompts=b"")
    return PolicyFile(
        costing=Costing("tokens", "recorded"),
        schedule=EveryUnits(tokens, "tokens"),
        validators=[describe(rule)],
        beliefs=Beliefs(
            method="logistic",
            columns=column_names([rule]),
            cost_per_accepted=50.0,
            posterior_model=LinearModel([0], [weight]),
            cost_model=LinearModel([0], [cost]),
        ),
        thresholds=[0.0, 1 / 3, 0.0],  # ω = M/(M + 1) with M = 1/2 where the text has as many characters
        price=None,
        certificate=Certificate(
            certified=False, max_false_reject=0.1, confidence=0.9, method="none", unit_of_independence="prompt",
            n_prompts=0, n_accepted=0, false_rejects=0, accepted_needed=22, p_value=1.0, bias_bound=1.0, tested=0,
            message="made by hand",
        ),
        length_cap=LengthCap(cap=None, net_cost_factor=1.0, false_reject_rate=0.0),
        frontier=[],
        fitted_on=nothing,
        certified_on=nothing,
        provenance=Provenance(),
        seed=0,
        created_by="a test",
    )  # fmt: skip


def command(
    server: LlamaServer | FakeServer, files: Path, out: Path, *more: str, policy: str = "policy.json"
) -> list[str]:
    """The command line of a run; `more` comes last and therefore holds."""
    words = {
        "--server": server.url,
        "--prompts": str(files / "prompts.jsonl"),
        "--policy": policy if policy == "none" else str(files / policy),
        "--attempts": str(ATTEMPTS),
        "--slots": str(SLOTS),
        "--max-new-tokens": str(TOKENS),
        "--filter": "function:llama_server:even_length",
        "--out": str(out),
    }
    given = [word for pair in words.items() for word in pair]
    return [sys.executable, "-m", "msifr_integrations.cli.main", "generate", *given, "--json", *more]


PATHS = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(PATHS)}


def run(words: Sequence[str], status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=200)  # noqa: S603
    assert done.returncode == status, done.stderr
    return done


def interrupted(words: Sequence[str], when: Callable[[], bool], with_signal: int) -> tuple[int, str]:
    """Start a command and send it a signal as soon as `when()`; return its status, and what it said."""
    process = subprocess.Popen(words, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)  # noqa: S603
    with process:
        deadline = time.monotonic() + 100
        try:
            while process.poll() is None and not when():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(with_signal)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, said


def records(out: Path) -> dict[str, dict[str, Any]]:
    """The whole lines of an output by id; none is there twice."""
    lines = [json.loads(line) for line in out.read_bytes().split(b"\n")[:-1]] if out.exists() else []
    found = {line["id"]: line for line in lines}
    assert len(found) == len(lines)
    return found


def spent(out: Path) -> int:
    """Tokens in the ledger of a run."""
    return sum(entry.tokens for entry in read_ledger(ledger_path(out)).entries) if out.exists() else 0


IDS = {f"{one.prompt_id}/0/{number}" for one in PROMPTS for number in range(ATTEMPTS)}
PROBE = 4
"""Most tokens that the client's question about the server costs."""


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_a_run_accounts_for_what_the_server_made_and_is_compared(
    server: LlamaServer, files: Path, tmp_path: Path, api: str
) -> None:
    full, some = tmp_path / "full.jsonl", tmp_path / "some.jsonl"
    before = server.tokens()
    run(command(server, files, full, "--api", api, policy="none"))
    middle = server.tokens()
    done = run(command(server, files, some, "--api", api, "--compare", str(full)))
    assert server.wait_until_idle() < 5
    after = server.tokens()
    kept, whole = records(some), records(full)
    assert kept.keys() == whole.keys() == IDS
    assert spent(full) <= middle - before <= spent(full) + PROBE
    ledger = read_ledger(ledger_path(some))
    sums = total([*ledger.entries, *ledger.sessions])
    assert 2 <= sums.discarded <= len(IDS) - 2
    assert spent(some) <= after - middle <= spent(some) + PROBE + OVERSHOOT * sums.discarded
    # With nobody else on the server, the account is exact: what came late is in it, and the probe.
    assert sums.tokens + sums.tokens_beside == after - middle
    assert sums.tokens == sum(record["tokens"] for record in kept.values())
    assert spent(some) < spent(full)
    for record in kept.values():
        if record["status"] == "discarded":
            assert (record["k"], record["reason"]) == (1, "length")
            assert record["position"] < 33
            assert 8 <= record["tokens"] <= 8 + OVERSHOOT
        else:
            assert record["tokens"] <= TOKENS
            assert record["correct"] == (len(record["text"]) % 2 == 0)
    compared = json.loads(done.stdout)
    assert compared["survivors"] == len(IDS) - sums.discarded
    changed = [name for name, record in kept.items() if "correct" in record and record["text"] != whole[name]["text"]]
    assert compared["survivors_changed"] == len(changed)
    assert compared["conversion_efficiency_cpu"] is not None


def test_what_a_server_makes_after_the_last_streams_were_closed_is_in_the_ledger(
    server: LlamaServer, files: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    before = server.tokens()
    run(command(server, files, out, "--attempts", "1", policy="discards-all.json"))
    ledger = read_ledger(ledger_path(out))
    sums = total([*ledger.entries, *ledger.sessions])
    assert (sums.discarded, sums.tokens) == (SLOTS, 8 * SLOTS)
    server.wait_until_idle()
    assert sums.tokens + sums.tokens_beside == server.tokens() - before


def killed(server: LlamaServer, words: Sequence[str], when: Callable[[int], bool]) -> tuple[int, int]:
    """Kill a run as soon as `when(tokens it has made)`; return tokens made, and how many of them were in flight."""
    flying, before = 0, server.tokens()

    def now() -> bool:
        nonlocal flying
        flying = server.in_flight()
        return when(server.tokens() - before + flying)

    assert interrupted(words, now, signal.SIGKILL)[0] == -signal.SIGKILL
    server.wait_until_idle()
    return server.tokens() - before, flying


def test_a_client_killed_half_way_pays_twice_only_for_what_was_in_flight(
    server: LlamaServer, files: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    words = command(server, files, out, policy="none")
    made, flying = killed(server, words, lambda _: len(records(out)) >= len(IDS) // 2)
    first, middle = spent(out), server.tokens()
    assert 0 < len(records(out)) < len(IDS)
    assert made <= first + flying + PROBE + SLOTS * (1 + OVERSHOOT)
    run(words)
    assert records(out).keys() == IDS
    # The second session makes what the first had not finished, and nothing else.
    assert spent(out) - first <= server.tokens() - middle <= spent(out) - first + PROBE


def test_kills_at_random_moments_lose_nothing_and_double_nothing(
    server: LlamaServer, files: Path, tmp_path: Path
) -> None:
    slots, kills, moments = 3, 5, random.Random(20)  # noqa: S311 (not for secrets)
    out = tmp_path / "out.jsonl"
    words = command(server, files, out, "--slots", str(slots), "--max-new-tokens", "16")
    kept: dict[str, dict[str, Any]] = {}
    begun, flown = server.tokens(), 0
    for _ in range(kills):
        most = moments.randrange(90)
        flown += killed(server, words, lambda tokens: tokens >= most)[1]  # noqa: B023 - called within the round
        assert kept.items() <= records(out).items()
        kept = records(out)
    run(words)
    assert kept.items() <= records(out).items()
    assert records(out).keys() == IDS
    entries = read_ledger(ledger_path(out)).entries
    assert {entry.id: entry.tokens for entry in entries} == {n: record["tokens"] for n, record in records(out).items()}
    late = OVERSHOOT * total(entries).discarded
    server.wait_until_idle()
    again = flown + kills * slots * (1 + OVERSHOOT) + (kills + 1) * PROBE
    assert spent(out) <= server.tokens() - begun <= spent(out) + late + again


def test_ctrl_c_closes_the_streams_and_the_run_goes_on_later(server: LlamaServer, files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    words = command(server, files, out, policy="none")
    status, said = interrupted(words, lambda: len(records(out)) > 2, signal.SIGINT)
    assert status == 130
    assert "Traceback" not in said
    assert f"{len(records(out))} of {len(IDS)} attempts are done" in said
    assert server.wait_until_idle() < 5
    kept = records(out)
    run(words)
    assert kept.items() <= records(out).items()
    assert records(out).keys() == IDS


def test_attempts_that_wait_for_the_final_filter_are_kept_at_an_interrupt(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.jsonl"
    monkeypatch.setitem(ENVIRONMENT, "FILTER_SECONDS", "0.2")
    with FakeServer(kind="llama.cpp", pause=0.02) as fake:
        words = command(fake, files, out, policy="none")
        # The streams run in step: when the first attempt is written, others of its round are over, and wait.
        status, _ = interrupted(words, lambda: bool(records(out)), signal.SIGINT)
    assert status == 130
    assert len(records(out)) >= SLOTS


def test_a_server_that_dies_ends_the_run_in_a_line_and_it_goes_on_with_another(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with LlamaServer(SLOTS) as mortal:
        words = command(mortal, files, out, "--retries", "2", policy="none")

        def half() -> bool:
            if len(records(out)) < len(IDS) // 2:
                return False
            mortal.kill()
            return True

        status, said = interrupted(words, half, 0)
        assert status == 2
        assert said.count("\n") <= 3
        assert "does not answer" in said
        assert "Traceback" not in said
        kept = records(out)
        assert len(IDS) // 2 <= len(kept) < len(IDS)
        mortal.start()
        run(words)
        assert spent(out) - sum(record["tokens"] for record in kept.values()) == mortal.tokens() - PROBE
    assert kept.items() <= records(out).items()
    assert records(out).keys() == IDS


def test_a_prompt_that_the_server_refuses_is_a_row_and_the_run_goes_on(
    server: LlamaServer, files: Path, tmp_path: Path
) -> None:
    out, prompts = tmp_path / "out.jsonl", tmp_path / "prompts.jsonl"
    long = msgspec.json.encode(Prompt(prompt_id="long", prompt="word " * 600))
    prompts.write_bytes(b"\n".join([long, *(files / "prompts.jsonl").read_bytes().splitlines()[:2]]))
    run(command(server, files, out, "--prompts", str(prompts), policy="none"))
    statuses = {name: record["status"] for name, record in records(out).items()}
    assert {status for name, status in statuses.items() if name.startswith("long/")} == {"failed"}
    assert len(statuses) == 3 * ATTEMPTS
    assert set(statuses.values()) == {"failed", "finished"}


def test_thousands_of_requests_take_no_more_memory_and_are_all_accounted_for(tmp_path: Path) -> None:
    count, prompts, out = 2_000, tmp_path / "prompts.jsonl", tmp_path / "out.jsonl"
    prompts.write_bytes(
        b"".join(msgspec.json.encode(Prompt(prompt_id=f"p{i}", prompt="Hi")) + b"\n" for i in range(20))
    )
    memory: list[tuple[int, float]] = []

    with FakeServer(keeps=False, kind="llama.cpp", usage="end") as fake:
        words = command(fake, tmp_path, out, "--attempts", str(count // 20), "--slots", "64", policy="none")
        process = subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        with process:
            while process.poll() is None:
                lines = out.read_bytes().count(b"\n") if out.exists() else 0
                if count // 10 <= lines < count:
                    memory.append((lines, llama_server.resident(process.pid)))
                time.sleep(0.02)
        assert process.returncode == 0
        ledger = read_ledger(ledger_path(out))
        assert sum(entry.tokens for entry in ledger.entries) + ledger.sessions[0].probe == fake.made
    assert len(ledger.entries) == count
    assert [entry.tokens for entry in ledger.entries] == [TOKENS] * count
    (first, early), (last, late) = memory[0], memory[-1]
    assert last - first > count // 2
    assert late - early < 3  # an attempt that is kept takes about 5 KiB
