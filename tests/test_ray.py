"""A run on a cluster: the same files as in one process, whoever dies on the way.

What starts Ray runs in processes of its own, which can be killed, and is skipped where Ray is not installed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

import tiny
from fake_server import FakeServer
from msifr_integrations.cli import main
from msifr_integrations.cluster.on_ray import generate_on_ray
from msifr_integrations.cluster.options import RayOptions
from msifr_integrations.cluster.worker import EngineWorker, Hello, WorkOrder
from msifr_integrations.embedded import embedded_model_path, problems
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.journal import AttemptRecord, ledger_path
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.paired import read_attempts
from msifr_integrations.generation.turns import Portion
from msifr_integrations.servers.options import ServerOptions
from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import NewlineSteps
from msifr_policy.filters import Prompt, final_filter
from msifr_policy.policy import NEVER_DISCARD, Action, Decision
from msifr_policy.records.ledger import Entry, read_ledger, total
from msifr_policy.validators import History

HERE = Path(__file__).parent
ON_RAY = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")
OPTIONS = GenerateOptions(attempts=2, slots=8, max_new_tokens=120, device="cpu", dtype="float32")
TWO = RayOptions(workers=2, cpus_per_worker=0.5)
PATIENCE = 240
"""Seconds in which anything must happen, on the busiest machine."""


def tasks(count: int = 40) -> list[Prompt]:
    return [Prompt(prompt_id=t.prompt_id, prompt=t.prompt, gold=t.gold, group=t.group) for t in problems(3, count)]


def policy() -> Any:
    return tiny.TextPolicy(tiny.unwanted, NewlineSteps())


def account(path: Path) -> dict[str, Any]:
    """What the ledger says of each attempt, without times."""
    entries = read_ledger(ledger_path(path)).entries
    assert len({entry.id for entry in entries}) == len(entries)
    return {entry.id: msgspec.structs.replace(entry, seconds=0, cpu_seconds=0) for entry in entries}


def assert_same(out: Path, other: Path) -> None:
    assert read_attempts(out) == read_attempts(other)
    assert account(out) == account(other)
    assert read_ledger(ledger_path(out)).settings == read_ledger(ledger_path(other)).settings
    assert len(out.read_bytes().splitlines()) == len(read_attempts(out))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run in one process."""
    out = tmp_path_factory.mktemp("one") / "one.jsonl"
    result = generate(embedded_model_path(), tasks(), policy(), out, OPTIONS, tell=lambda _: None)
    assert 0 < result.discarded < 80
    return out


# One worker, in this process.


def order(**changes: Any) -> WorkOrder:
    usual: dict[str, Any] = {
        "model": str(embedded_model_path()),
        "urls": (),
        "prompts": tasks(),
        "policy": policy(),
        "accept": final_filter("numeric"),
        "options": msgspec.structs.replace(OPTIONS, model_name=str(embedded_model_path())),
        "must": {},
    }
    return WorkOrder(**usual | changes)


def test_a_worker_gives_to_many_threads_what_one_process_makes(one: Path) -> None:
    worker = EngineWorker(order())
    attempts = [(place, number) for place in range(40) for number in range(2)]
    portions = [Portion(place, (number,)) for place, number in attempts]
    blocks = [portions[start : start + 3] for start in range(0, 80, 3)]
    with ThreadPoolExecutor(6) as threads:
        finished = list(chain.from_iterable(threads.map(worker.finish, blocks)))
    assert not any(each.error for each in finished)
    records = [msgspec.json.decode(each.record, type=AttemptRecord) for each in finished]
    whole = read_attempts(one)
    assert {record.id: record for record in records} == whole
    assert [record.id for record in records] == [f"{tasks()[place].prompt_id}/0/{number}" for place, number in attempts]
    entries = [msgspec.json.decode(each.entry, type=Entry) for each in finished]
    assert total(entries).tokens == sum(record.tokens for record in whole.values())
    hello = msgspec.json.decode(finished[0].hello, type=Hello)
    assert hello.settings["engine"] == "slots"
    assert hello.logprobs
    # It is asked again when it has long been idle; the last attempt waits to tell what the session has spent.
    [again] = worker.finish([Portion(0, (0,))])
    assert msgspec.json.decode(again.record, type=AttemptRecord) == records[0]
    assert again.session


def test_all_that_wait_for_a_broken_worker_are_told() -> None:
    def broken(prompt: Prompt, text: str) -> bool:
        raise ZeroDivisionError(f"{len(prompt.prompt) + len(text)} is odd")

    worker = EngineWorker(order(accept=final_filter(broken), policy=NEVER_DISCARD))
    with ThreadPoolExecutor(4) as threads:
        blocks = [[Portion(place, (0,)), Portion(place, (1,))] for place in range(8)]
        finished = list(chain.from_iterable(threads.map(worker.finish, blocks)))
    assert len(finished) == 16
    assert all("the final filter" in each.error and "ZeroDivisionError" in each.error for each in finished)
    assert not finished[0].bad_input
    assert worker.finish([Portion(0, (0,))])[0].error == finished[0].error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"must": {"engine": "static", "seed": 1}}, "an engine has engine = 'slots', the run 'static'"),
        ({"model": "/nowhere"}, "model '/nowhere': cannot be loaded"),
        ({"options": msgspec.structs.replace(OPTIONS, chat=True)}, "no chat template"),
    ],
)
def test_a_worker_that_cannot_begin_says_why_and_makes_nothing(changes: dict[str, Any], message: str) -> None:
    [finished] = EngineWorker(order(**changes)).finish([Portion(0, (0,))])
    assert message in finished.error
    assert finished.bad_input
    assert not finished.record


# Without Ray.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": 0}, "workers = 0 must be at least 1"),
        ({"cpus_per_worker": 0.0}, "cpus_per_worker = 0"),
        ({"cpus_per_worker": 1.5}, "no share and no whole number"),
        ({"gpus_per_worker": -1.0}, "gpus_per_worker = -1"),
        ({"gpus_per_worker": float("nan")}, "gpus_per_worker = nan"),
    ],
)
def test_what_no_cluster_can_reserve_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RayOptions(**given)


def test_a_loaded_model_is_not_sent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a loaded model cannot be sent"):
        generate_on_ray(tiny.llama(), tiny.prompts(), None, tmp_path / "out.jsonl")


def test_a_finished_run_needs_no_cluster(one: Path) -> None:
    before = one.read_bytes(), ledger_path(one).read_bytes()
    said: list[str] = []
    result = generate_on_ray(embedded_model_path(), tasks(), policy(), one, OPTIONS, tell=said.append)
    assert result.attempts == 80
    assert "already finished" in said[0]
    assert (one.read_bytes(), ledger_path(one).read_bytes()) == before


def test_workers_are_asked_for_with_ray_alone(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt_id": "a", "prompt": "b", "gold": "1"}\n')
    words = ["generate", "--model", "embedded", "--prompts", str(tmp_path / "p.jsonl"), "--policy", "none"]
    refused = CliRunner().invoke(main, [*words, "-o", str(tmp_path / "out.jsonl"), "--workers", "2"])
    assert refused.exit_code == 2
    assert "add --engine ray" in refused.stderr


# On Ray.

SCRIPT = """
import test_ray
test_ray.on_ray(*map(test_ray.Path, __import__("sys").argv[1:]))
"""


def on_ray(out: Path) -> None:
    """The run of `one`, by two workers of a cluster that is started for it: in a process of its own."""
    generate_on_ray(embedded_model_path(), tasks(), policy(), out, OPTIONS, TWO, tell=print)


def start(*words: str | Path, code: str = SCRIPT) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(HERE), "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # noqa: S603


def descendants(pid: int) -> dict[int, str]:
    """The processes below one, and what they call themselves."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue  # it has ended meanwhile
    found: dict[int, str] = {}
    level = {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level} - found.keys()
        found |= {child: names[child] for child in level}
    return found


def workers(pid: int) -> set[int]:
    return {child for child, name in descendants(pid).items() if name.startswith("ray::MapWorker")}


def wait_until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that a test starts: with all below them they end with the test, however it ends."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        for pid in [*descendants(process.pid), process.pid] if process.poll() is None else []:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@ON_RAY
@pytest.mark.timeout(2 * PATIENCE)
def test_a_killed_worker_costs_nothing_that_was_finished(one: Path, tmp_path: Path, started: list[Any]) -> None:
    out = tmp_path / "out.jsonl"
    process = start(out)
    started.append(process)
    wait_until(lambda: lines(out) >= 5)
    first = workers(process.pid)
    assert len(first) == 2
    kept = out.read_bytes()
    victim = min(first)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: process.poll() is not None or workers(process.pid) - first)
    again = process.poll() is None
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert again, "the run was over before the worker was started again: nothing is shown"
    assert out.read_bytes().startswith(kept)
    assert_same(out, one)


@ON_RAY
@pytest.mark.timeout(2 * PATIENCE)
def test_a_killed_run_is_resumed_in_one_process(one: Path, tmp_path: Path, started: list[Any]) -> None:
    out = tmp_path / "out.jsonl"
    process = start(out)
    started.append(process)
    wait_until(lambda: lines(out) >= 5)
    below = descendants(process.pid)
    process.kill()
    process.communicate()
    # Nothing is left of the cluster that it had started.
    try:
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))
    finally:
        for pid in below:
            if "ray" in descendants(os.getppid()).get(pid, ""):
                os.kill(pid, signal.SIGKILL)
    assert 5 <= lines(out) < 80
    generate(embedded_model_path(), tasks(), policy(), out, OPTIONS, tell=lambda _: None)
    assert_same(out, one)


IN_A_CLUSTER = """
import json, sys, test_ray
print(json.dumps(test_ray.in_a_cluster(test_ray.Path(sys.argv[1]), sys.argv[2])))
"""

SERVED = GenerateOptions(attempts=2, slots=4, max_new_tokens=30)


def served(urls: str) -> GenerateOptions:
    return msgspec.structs.replace(SERVED, server=ServerOptions(url=urls, api_model="fake"))


def in_a_cluster(folder: Path, urls: str) -> dict[str, Any]:
    """What happens on a cluster of two processors that is there already."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    model, options = embedded_model_path(), OPTIONS
    errors = {}

    def refused(name: str, model: Any, cluster: RayOptions, options: GenerateOptions = options) -> None:
        try:
            generate_on_ray(model, tasks(), policy(), folder / f"{name}.jsonl", options, cluster, tell=lambda _: None)
        except Exception as error:
            errors[name] = f"{type(error).__name__}: {error}"

    refused("room", model, RayOptions(workers=3))
    refused("gpus", model, RayOptions(workers=1, gpus_per_worker=1))
    refused("absent", "/nowhere", TWO)
    refused("unpicklable", model, TWO, msgspec.structs.replace(options, final_filter=Unpicklable()))
    refused("filter", model, TWO, msgspec.structs.replace(options, final_filter=always_broken))
    # Two workers that take every processor: nothing else may need one.
    result = generate_on_ray(
        model, tasks(), policy(), folder / "out.jsonl", options, RayOptions(workers=2), tell=lambda _: None
    )
    generate_on_ray(None, tasks(), None, folder / "served.jsonl", served(urls), TWO, tell=lambda _: None)
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU", 0) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    free = ray.available_resources().get("CPU")
    ray.shutdown()
    return {"errors": errors, "attempts": result.attempts, "cpu_seconds": result.cpu_seconds, "free": free}


class Unpicklable:
    """A filter that cannot leave its process."""

    name = "unpicklable"

    def check(self, prompt: Prompt) -> None:
        """Every prompt will do."""

    def __call__(self, prompt: Prompt, text: str) -> bool:
        return bool(prompt.prompt and text)

    def __reduce__(self) -> Any:
        raise TypeError("it stays here")


def always_broken(prompt: Prompt, text: str) -> bool:
    raise ZeroDivisionError(f"{prompt.prompt_id}: {len(text)}")


@ON_RAY
@pytest.mark.timeout(2 * PATIENCE)
def test_on_a_cluster_that_is_there(one: Path, tmp_path: Path, started: list[Any]) -> None:
    with FakeServer(length=12, pause=0.02) as first, FakeServer(length=12, pause=0.02) as second:
        process = start(tmp_path, f"{first.url}, {second.url}", code=IN_A_CLUSTER)
        started.append(process)
        most = [0, 0]
        while process.poll() is None:
            most = [max(seen, server.running) for seen, server in zip(most, (first, second), strict=True)]
            time.sleep(0.01)
        said, _ = process.communicate(timeout=2 * PATIENCE)
        assert process.returncode == 0, said
        # Every slot is filled, by a server for each worker, and every token of both in the ledger.
        assert most == [SERVED.slots, SERVED.slots]
        assert min(first.made, second.made) > 200
        spent = read_ledger(ledger_path(tmp_path / "served.jsonl"))
        totals = total([*spent.entries, *spent.sessions])
        assert totals.tokens + totals.tokens_beside == first.made + second.made
        generate(None, tasks(), None, tmp_path / "alone.jsonl", served(first.url), tell=lambda _: None)
        assert_same(tmp_path / "served.jsonl", tmp_path / "alone.jsonl")
    record = json.loads(said.splitlines()[-1])
    errors = record["errors"]
    assert "InputError: ray: the cluster (2 CPUs, 0 GPUs) has room for 2 workers" in errors["room"]
    assert "has room for 0 workers of 1 CPUs and 1 GPUs" in errors["gpus"]
    assert errors["absent"].startswith("InputError: model '/nowhere': cannot be loaded")
    assert errors["unpicklable"].startswith("InputError: ray: cannot be sent to workers: TypeError: it stays here")
    assert errors["filter"].startswith("MsifrError: the final filter")
    assert record["free"] == 2  # its actors are gone, and the cluster is still there
    assert_same(tmp_path / "out.jsonl", one)
    entries = read_ledger(ledger_path(tmp_path / "out.jsonl")).entries
    for name in ("seconds", "cpu_seconds"):
        times = [getattr(entry, name) for entry in entries]
        assert times == sorted(times)
        assert times[0] > 0
    assert record["cpu_seconds"] == max(entry.cpu_seconds for entry in entries)


class Patience:
    """Gives a prompt up after two attempts that were not accepted, and none that was."""

    fingerprint = "patience"
    validators = (History(),)
    failures: Mapping[str, int] = {}

    def __init__(self, gone: bool = False) -> None:
        self.gone = gone

    def start(self, prompt: str, parameters: Mapping[str, Any]) -> Patience:
        del prompt
        accepted, rejected = (parameters["history"][name] for name in ("accepted", "rejected"))
        return Patience(accepted == 0 and rejected == 2)

    def begin(self) -> Decision | None:
        return Decision(Action.DISCARD, 0, 0, 0, 0.1, 0.5, "history", 0.1) if self.gone else None

    def feed(self, *_: Any) -> None:
        """Let it run."""


QUOTA = msgspec.structs.replace(OPTIONS, attempts=4, accepted_per_prompt=2)


def with_quota(out: Path) -> None:
    generate_on_ray(embedded_model_path(), tasks(), Patience(), out, QUOTA, TWO, tell=print)


@ON_RAY
@pytest.mark.timeout(2 * PATIENCE)
def test_a_quota_is_met_prompt_by_prompt_and_what_was_killed_goes_on(tmp_path: Path, started: list[Any]) -> None:
    alone, out = tmp_path / "alone.jsonl", tmp_path / "out.jsonl"
    result = generate(embedded_model_path(), tasks(), Patience(), alone, QUOTA, tell=lambda _: None)
    assert min(result.prompts_filled, result.prompts_given_up, result.prompts_exhausted) > 0  # type: ignore[type-var]
    code = SCRIPT.replace("on_ray(", "with_quota(")
    started.append(start(out, code=code))
    wait_until(lambda: lines(out) > 10 or started[0].poll() is not None)
    os.kill(started[0].pid, signal.SIGINT)
    said, _ = started[0].communicate(timeout=PATIENCE)
    assert 10 < lines(out) < result.attempts, said
    started.append(start(out, code=code))
    said, _ = started[1].communicate(timeout=PATIENCE)
    assert started[1].returncode == 0, said
    assert_same(out, alone)


COMMAND = "from msifr_integrations.cli.entry import run; run()"


@ON_RAY
@pytest.mark.timeout(3 * PATIENCE)
def test_the_command_goes_on_after_an_interrupt_with_what_one_process_began(tmp_path: Path, started: list[Any]) -> None:
    prompts, whole, out = tmp_path / "prompts.jsonl", tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    prompts.write_bytes(b"".join(msgspec.json.encode(task) + b"\n" for task in tasks()))
    words = ["generate", "--model", "embedded", "--prompts", str(prompts), "--policy", "none", "--slots", "8"]
    words += ["--attempts", "2", "--max-new-tokens", "120", "--device", "cpu"]
    done = CliRunner().invoke(main, [*words, "-o", str(whole)])
    assert done.exit_code == 0, done.output
    # The first ten attempts of one process.
    out.write_bytes(b"".join(whole.read_bytes().splitlines(True)[:10]))
    ledger_path(out).write_bytes(b"".join(ledger_path(whole).read_bytes().splitlines(True)[:11]))
    words += ["--engine", "ray", "--workers", "2", "--cpus-per-worker", "0.5", "-o", str(out), "--json"]
    process = start(*words, code=COMMAND)
    started.append(process)
    wait_until(lambda: lines(out) >= 15)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert "attempts are done and kept" in said
    assert "Traceback" not in said
    assert 15 <= lines(out) < 80
    process = start(*words, code=COMMAND)
    started.append(process)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert json.loads(said[said.index("\n{") :])["attempts"] == 80
    assert len(said[: said.index("\n{")].splitlines()) <= 4, said  # Ray keeps its words to itself
    assert_same(out, whole)
