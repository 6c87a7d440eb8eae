"""What does the client of servers cost, and what does it lose? `python -m benchmarks.servers [--only PARTS] [--save]`.

On a real llama.cpp server with SmolLM2-135M (`make test-server` installs both), but for the parts that say otherwise:

* **load**: 64 streams at once, three ways in turn: read by a loop of sockets that throws all away (bare), by
  `generate` without a policy, and by `generate` under a policy that never discards, with all validators that need no
  parameter. Medians over the repeats. What client and policy cost is told as a share of the processor seconds of the
  server, which is on the same machine and makes a small model's tokens: next to a large one the share is smaller. The
  server computes in one thread here, since threads that wait for each other burn processor time.
* **overshoot**: tokens that the server makes for a stream that is closed, beyond those that were read.
* **kills**: `msifr generate` is killed (SIGKILL) at random moments and started again, until it is through. Killed
  tokens are those that the server had made for attempts that were not finished.
* **requests**: 100,000 requests to a server that only pretends: memory of the client on the way, and whether its ledger
  counts what the server counts.
* **client**: processor time of the client per token, from such a server in a process of its own. Tokens that come one
  by one cost it a read each; a client that falls behind reads many at a time.

Wall times are also of whatever else the machine did: where that was much, no verdict is passed on them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import msgspec

from benchmarks._records import Record, environment, print_records, save_records
from msifr_integrations.engine.base import Attempt, Event, Notice, PromptInput, Sampling, stream_key
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.servers.openai_stream import connect
from msifr_integrations.servers.options import ServerOptions
from msifr_policy.beliefs import Beliefs
from msifr_policy.beliefs.linear import CheckpointGroup, LinearModel
from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.evidence.watch import column_names
from msifr_policy.filters import Message, Prompt
from msifr_policy.fitted_policy import FittedPolicy
from msifr_policy.policy import Decision
from msifr_policy.records.ledger import Entry, read_ledger, scan_ledger
from msifr_policy.validators import built_in_validators
from tests.llama_server import LlamaServer, even_length, resident

STREAMS = 64
SUBJECTS = "a dog, a ship, two sisters, the moon, an old clock, a baker, snow, a lost letter".split(", ")  # noqa: SIM905


def stories(count: int) -> list[Prompt]:
    """Prompts that a small model seldom has an end for."""
    return [
        Prompt(prompt_id=f"p{i}", prompt=f"Tell a long story about {SUBJECTS[i % len(SUBJECTS)]}, part {i}.")
        for i in range(count)
    ]


def never_discarding() -> FittedPolicy:
    """A fitted policy with every rule that needs no parameter, asked every 8 tokens, that lets everything pass."""
    rules = built_in_validators()
    columns = column_names(rules)
    width = len(columns)
    flat = CheckpointGroup(intercept=0.0, centre=[0.0] * width, scale=[1.0] * width, coefficients=[0.01] * width)
    model = LinearModel([0], [flat])
    beliefs = Beliefs(
        method="logistic", columns=columns, cost_per_accepted=50.0, posterior_model=model, cost_model=model
    )
    import numpy as np

    return FittedPolicy(EveryUnits(8, "tokens"), rules, beliefs, np.zeros(1), fingerprint="never discards")


class Spent(NamedTuple):
    """One run of the load: wall seconds, processor seconds of client and server, tokens."""

    seconds: float
    client: float
    server: float
    tokens: int


def spend(server: LlamaServer, work: Callable[[], object]) -> Spent:
    """Do the work, and return what it took."""
    server.wait_until_idle(60)
    tokens, cpu = server.tokens(), server.cpu_seconds()
    started, worked = time.perf_counter(), time.process_time()
    work()
    seconds, client = time.perf_counter() - started, time.process_time() - worked
    server.wait_until_idle(60)
    return Spent(seconds, client, server.cpu_seconds() - cpu, server.tokens() - tokens)


async def read_bare(url: str, bodies: Sequence[dict[str, Any]]) -> None:
    """Ask all at once, and throw away what comes."""
    host, port = url.removeprefix("http://").split(":")

    async def one(body: dict[str, Any]) -> None:
        data = msgspec.json.encode(body)
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)
        while await reader.read(1 << 16):
            pass
        writer.close()

    await asyncio.gather(*map(one, bodies))


def load(repeats: int, tokens: int) -> list[Record]:
    """Return the records of the part `load`."""
    prompts = stories(STREAMS)
    options = GenerateOptions(
        attempts=1, slots=STREAMS, max_new_tokens=tokens, final_filter=even_length, model_name="smollm2"
    )
    with LlamaServer(STREAMS, threads=1) as server, tempfile.TemporaryDirectory() as folder:
        options = msgspec.structs.replace(options, server=ServerOptions(url=server.url))
        number = iter(range(1_000_000))

        def run(policy: FittedPolicy | None, some: list[Prompt]) -> None:
            generate(None, some, policy, Path(folder) / f"{next(number)}.jsonl", options, tell=lambda _: None)

        client = connect(options.server, sampling=Sampling(), slots=1, probe=(Message("user", "Hi"),), max_new_tokens=4)
        plan = client.plan
        client.close()
        bodies = [
            plan.body(Attempt(p.prompt_id, (Message("user", p.prompt),), stream_key(0, p.prompt_id, 0), tokens), "")
            for p in prompts
        ]
        policy = never_discarding()
        run(policy, prompts)  # imports, and prompts that the server keeps
        ways: dict[str, Callable[[], object]] = {
            "bare": lambda: asyncio.run(read_bare(server.url, bodies)),
            "no policy": lambda: run(None, prompts),
            "policy": lambda: run(policy, prompts),
        }
        spent: dict[str, list[Spent]] = {way: [] for way in ways}
        for turn in range(repeats):
            order = list(ways)[turn % 3 :] + list(ways)[: turn % 3]
            for way in order:
                spent[way].append(spend(server, ways[way]))

    def middle(way: str, of: Callable[[Spent], float]) -> float:
        return median(map(of, spent[way]))

    def per_token(one: Spent) -> float:
        return (one.client + one.server) / one.tokens

    share = {way: middle(way, lambda one: one.client / one.server) for way in ways}
    by_wall = middle("policy", lambda one: one.tokens / one.seconds) / middle(
        "no policy", lambda one: one.tokens / one.seconds
    )
    by_processor = middle("no policy", per_token) / middle("policy", per_token)
    bare_processor = middle("bare", per_token) / middle("policy", per_token)
    stretched = {way: middle(way, lambda one: one.seconds / one.server) for way in ways}
    quiet = max(stretched.values()) < 1.15  # the server computes in one thread
    records = [
        Record("load: streams", STREAMS),
        Record("load: tokens per stream, at most", tokens, "tokens"),
        Record("load: repeats", repeats),
        Record("load: rules in the policy", len(policy.validators)),
    ]
    for way in ways:
        records += [
            Record(f"load: {way}, tokens", middle(way, lambda one: one.tokens), "tokens"),
            Record(f"load: {way}, wall", middle(way, lambda one: one.seconds), "s"),
            Record(f"load: {way}, processor time of the server", middle(way, lambda one: one.server), "s"),
            Record(f"load: {way}, processor time of the client", middle(way, lambda one: one.client), "s"),
            Record(f"load: {way}, client per token", middle(way, lambda one: 1e6 * one.client / one.tokens), "µs"),
            Record(f"load: {way}, wall over processor time of the server", stretched[way], "ratio"),
        ]
    return [
        *records,
        Record(
            "load: client and policy over server, processor time", share["policy"], "share", "<= 0.05",
            ok=share["policy"] <= 0.05,
        ),
        Record("load: client without a policy over server", share["no policy"], "share"),
        Record("load: bare loop over server", share["bare"], "share"),
        Record(
            "load: throughput with a policy, processor time", by_processor, "ratio", ">= 0.95", "no policy",
            by_processor >= 0.95,
        ),
        Record("load: throughput with a policy, bare loop = 1", bare_processor, "ratio", "", "bare"),
        Record(
            "load: throughput with a policy, by the wall", by_wall, "ratio", ">= 0.95", "no policy",
            by_wall >= 0.95 if quiet else None,
        ),
    ]  # fmt: skip


def overshoot(alone: int) -> list[Record]:
    """Return the records of the part `overshoot`."""
    records = []
    with LlamaServer(STREAMS) as server:
        for streams, rounds in ((1, alone), (8, 3), (STREAMS, 1)):
            late: list[float] = []
            for turn in range(rounds):
                client = connect(
                    ServerOptions(url=server.url), sampling=Sampling(), slots=streams,
                    probe=(Message("user", "Hi"),), max_new_tokens=4,
                )  # fmt: skip
                attempts = [
                    Attempt(p.prompt_id, (Message("user", p.prompt),), stream_key(turn, p.prompt_id, 0), 40)
                    for p in stories(streams)
                ]
                before, read = server.tokens(), dict.fromkeys((a.id for a in attempts), 0)

                def take(notices: Sequence[Notice], read: dict[str, int] = read, client: Any = client) -> None:
                    for notice in notices:
                        assert isinstance(notice, Event), notice
                        read[notice.id] += notice.tokens
                        if read[notice.id] >= 8:
                            client.cancel(notice.id)

                for attempt in attempts:
                    client.submit(attempt)
                client.drain(take)
                client.close()
                server.wait_until_idle(60)
                late.append((server.tokens() - before - sum(read.values())) / streams)
            of = f"overshoot: of {streams} streams, all closed after 8 tokens"
            records += [
                Record(f"{of}, rounds", rounds),
                Record(f"{of}, per stream", sum(late) / rounds, "tokens", "<= 2", ok=sum(late) / rounds <= 2),
                Record(f"{of}, worst round", max(late), "tokens"),
            ]
    return records


def msifr(url: str, prompts: Path, out: Path, *more: str) -> list[str]:
    """Return the command line of a run."""
    words = ["--server", url, "--prompts", str(prompts), "--out", str(out), "--json", "--policy", "none", *more]
    return [sys.executable, "-m", "msifr_integrations.cli.main", "generate", *words]


def write_prompts(path: Path, prompts: Sequence[Prompt]) -> Path:
    """Write a file of prompts."""
    path.write_bytes(b"".join(msgspec.json.encode(prompt) + b"\n" for prompt in prompts))
    return path


def texts(out: Path) -> dict[str, str]:
    """Return the text of every whole record by id; none is there twice."""
    lines = [json.loads(line) for line in out.read_bytes().split(b"\n")[:-1]] if out.exists() else []
    found = {line["id"]: line["text"] for line in lines}
    assert len(found) == len(lines)
    return found


def kills(count: int, seed: int) -> list[Record]:
    """Return the records of the part `kills`."""
    slots, tokens, attempts = 8, 16, 64
    moments = random.Random(seed)  # noqa: S311 (not for secrets)
    with LlamaServer(slots) as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prompts = write_prompts(folder / "prompts.jsonl", stories(attempts))
        more = ("--attempts", "1", "--slots", str(slots), "--max-new-tokens", str(tokens))
        more = (*more, "--filter", "function:tests.llama_server:even_length")
        whole, out = folder / "whole.jsonl", folder / "out.jsonl"
        before = server.tokens()
        subprocess.run(msifr(server.url, prompts, whole, *more), check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        one_pass = server.tokens() - before
        begun, flown, lost, killed, kept = server.tokens(), 0, 0, 0, dict[str, str]()
        while True:
            # Anywhere from the start of the program on; so that there is something left to do for `count` kills.
            most = moments.randrange(one_pass // count + slots * tokens)
            before, done = server.tokens(), account(out)
            flying = 0
            with subprocess.Popen(msifr(server.url, prompts, out, *more), stdout=subprocess.DEVNULL) as process:  # noqa: S603
                while process.poll() is None and killed < count:
                    flying = server.in_flight()
                    if server.tokens() - before + flying >= most:
                        process.kill()
                        break
                    time.sleep(0.005)
            server.wait_until_idle(60)
            now = texts(out)
            assert kept.items() <= now.items(), "what was written has changed"
            kept = now
            if process.returncode == 0:
                break
            assert process.returncode == -9, process.returncode
            killed += 1
            flown += flying
            lost += server.tokens() - before - (account(out) - done)
        entries = read_ledger(ledger_path(out)).entries
        spent, made = sum(entry.tokens for entry in entries), server.tokens() - begun
        whole_texts = texts(whole)
        same = sum(kept[name] == text for name, text in whole_texts.items())
        sums = {entry.id for entry in entries} == kept.keys() == whole_texts.keys()
    most_made = spent + flown + killed * slots * 3 + (killed + 1) * 4
    return [
        Record("kills: seed", seed),
        Record("kills: killed and resumed", killed, "times", f">= {count}", ok=killed >= count),
        Record("kills: attempts", len(kept)),
        Record("kills: attempts in output, ledger and uninterrupted run the same", str(sums), "", "True", ok=sums),
        Record("kills: texts that equal those of the uninterrupted run", same / len(kept), "share"),
        Record("kills: tokens of one pass, uninterrupted", one_pass, "tokens"),
        Record("kills: tokens in the ledger", spent, "tokens"),
        Record("kills: tokens made, by the server", made, "tokens"),
        Record("kills: in flight just before the kills, by the server", flown, "tokens"),
        Record("kills: lost by the kills, probes of the killed included", lost, "tokens"),
        Record(
            "kills: made beyond one pass and what was in flight", made - spent - flown, "tokens",
            f"<= {most_made - spent - flown}", ok=made <= most_made,
        ),
    ]  # fmt: skip


def account(out: Path) -> int:
    """Return the tokens of the attempts in the ledger of a run."""
    if not (out.exists() and ledger_path(out).exists() and ledger_path(out).stat().st_size):
        return 0
    return sum(record.tokens for record, _ in scan_ledger(ledger_path(out)) if isinstance(record, Entry))


@contextmanager
def pretended(**behaviour: Any) -> Iterator[str]:
    """Run the server that pretends in a process of its own; give its address."""
    script = Path(__file__).parents[1] / "tests" / "fake_server.py"
    command = [sys.executable, str(script), json.dumps(behaviour)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def made_by(url: str) -> int:
    """Return the tokens that a pretending server has made."""
    with urllib.request.urlopen(f"{url}/requests") as page:  # noqa: S310 - a local address
        return int(json.load(page)["made"])


def requests(count: int) -> list[Record]:
    """Return the records of the part `requests`."""
    marks, memory = [0.1, 0.5, 1.0], dict[float, float]()
    with pretended(kind="llama.cpp", usage="end") as url, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prompts = write_prompts(folder / "prompts.jsonl", stories(count // 10))
        out = folder / "out.jsonl"
        more = ("--attempts", "10", "--slots", str(STREAMS), "--max-new-tokens", "6")
        started = time.perf_counter()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = msifr(url, prompts, out, *more, "--filter", "function:tests.llama_server:even_length")
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:  # noqa: S603
            lines = position = 0
            while process.poll() is None:
                if ledger_path(out).exists():
                    with open(ledger_path(out), "rb") as ledger:
                        ledger.seek(position)
                        new = ledger.read()
                    lines, position = lines + new.count(b"\n"), position + len(new)
                for mark in marks:
                    # The last is taken a little early: afterwards the process is gone.
                    if mark not in memory and lines >= min(mark, 0.995) * count:
                        memory[mark] = resident(process.pid)
                time.sleep(0.02)
        assert process.returncode == 0
        seconds = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        ledger = read_ledger(ledger_path(out))
        tokens, made = sum(entry.tokens for entry in ledger.entries), made_by(url)
        probe = sum(session.probe for session in ledger.sessions)
    growth = memory[1.0] / memory[0.1]
    exact = tokens + probe == made and len(ledger.entries) == count
    return [
        Record("requests: to a server that pretends", count),
        Record("requests: streams", STREAMS),
        *(Record(f"requests: memory of the client at {mark:.0%}", memory[mark], "MiB") for mark in marks),
        Record("requests: memory at the end over that at 10 %", growth, "ratio", "<= 1.1", ok=growth <= 1.1),
        Record("requests: tokens in the ledger", tokens, "tokens"),
        Record("requests: tokens of the probe", probe, "tokens"),
        Record("requests: tokens made, by the server", made, "tokens"),
        Record("requests: ledger and probe are what the server made", str(exact), "", "True", ok=exact),
        Record("requests: wall", seconds, "s"),
        Record(
            "requests: processor time of the client",
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "s",
        ),
    ]


def client(tokens: int) -> list[Record]:
    """Return the records of the part `client`."""
    records = []
    asked: list[tuple[str, Literal["chat", "completions"], float]] = [
        ("llama.cpp", "chat", 0.0),
        ("vllm", "chat", 0.0),
        ("vllm", "completions", 0.0),
        ("sglang", "chat", 0.0),
        ("llama.cpp", "chat", 0.03),
    ]
    for kind, api, pause in asked:
        costs = []
        with pretended(kind=kind, pause=pause) as url:
            prompt: PromptInput = "Hi" if api == "completions" else (Message("user", "Hi"),)
            for turn in range(3):
                streams = connect(
                    ServerOptions(url=url, api=api), sampling=Sampling(), slots=STREAMS,
                    probe=prompt, max_new_tokens=tokens,
                )  # fmt: skip
                for i in range(STREAMS):
                    streams.submit(Attempt(f"a{i}", prompt, stream_key(turn, str(i), 0), tokens))
                read = 0

                def take(notices: Sequence[Notice]) -> None:
                    nonlocal read
                    read += sum(notice.tokens for notice in notices if isinstance(notice, Event))

                worked = time.process_time()
                streams.drain(take)
                costs.append((time.process_time() - worked) / read)
                assert read == STREAMS * tokens
                streams.close()
        pace = f"a token every {pause} s each" if pause else "as fast as they come"
        name = f"client: {kind}, {api}, {STREAMS} streams, {pace}"
        records.append(Record(name, 1e6 * median(costs), "µs/token"))
    policy, text = never_discarding(), "Once there was a dog, and 3 + 4 = 7 times it barked at the moon. "
    worked, fed = time.process_time(), 0
    for _ in range(20):
        run = policy.start("Tell a story.")
        for i in range(256):
            decision: Decision | None = run.feed(text[4 * i % 60 :][:4], 1, (-1.0,))
            assert decision is None or decision.action == "continue"
            fed += 1
    rules = len(policy.validators)
    records.append(
        Record(
            f"client: policy of {rules} rules, every 8 tokens", 1e6 * (time.process_time() - worked) / fed, "µs/token"
        )
    )
    return records


PARTS: dict[str, Callable[[bool], list[Record]]] = {
    "load": lambda quick: load(1, 8) if quick else load(5, 32),
    "overshoot": lambda quick: overshoot(2 if quick else 20),
    "kills": lambda quick: kills(2 if quick else 20, seed=2026),
    "requests": lambda quick: requests(2_000 if quick else 100_000),
    "client": lambda quick: client(16 if quick else 256),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the records as JSON, last")
    parser.add_argument("--quick", action="store_true", help="small numbers of everything")
    parser.add_argument("--only", default=",".join(PARTS), metavar="PARTS", help="some of: %(default)s")
    parser.add_argument("--save", action="store_true", help="put these parts into results/servers.json")
    parser.add_argument("--traces", metavar="FOLDER", help="accepted by every benchmark; this one reads no traces")
    options = parser.parse_args(arguments)
    records = environment("aiohttp", "xllamacpp")
    parts = options.only.split(",")
    for part in parts:
        busy = os.getloadavg()[0]
        records += [Record(f"{part}: load average of the machine before", busy), *PARTS[part](options.quick)]
    if options.save:
        path = Path(__file__).with_name("results") / "servers.json"
        before = msgspec.json.decode(path.read_bytes(), type=list[Record]) if path.exists() else []
        others = [record for record in before if record.metric.partition(":")[0] in PARTS.keys() - parts]
        order = ["environment", *PARTS]
        kept = sorted([*records, *others], key=lambda record: order.index(record.metric.split(":")[0].split()[0]))
        save_records(kept, "servers")
    print_records(records, options.json)


if __name__ == "__main__":
    main()
