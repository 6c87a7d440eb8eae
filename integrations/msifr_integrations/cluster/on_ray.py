"""A run on a cluster: Ray Data spreads attempts over actors, each of which has an engine of its own.

This process reads the prompts and writes the files, as if it made the attempts itself: settings, ids, seeds and texts
are those of a run in one process, which may go on with it, and the other way round. Rows are portions in small blocks:
an attempt each, or, where attempts at a prompt wait for each other, all those at one prompt, which one actor makes
then. An actor holds as many blocks as fill its slots, in threads that wait for its engine, and gives each back when its
attempts have left; nothing waits for anything else. If an actor dies, Ray starts it again and gives out its blocks once
more: what they had cost until then is lost, and is in no ledger. A block is an eighth of the slots, or more where that
would make too many.
"""

import logging
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import msgspec

from msifr_integrations.cluster.options import ONE_WORKER, RayOptions
from msifr_integrations.cluster.worker import EngineWorker, Finished, Hello, WorkOrder
from msifr_integrations.generation.generate import Job, generate
from msifr_integrations.generation.journal import AttemptRecord, ledger_path
from msifr_integrations.generation.options import DEFAULTS, GenerateOptions
from msifr_integrations.generation.progress import Progress, RunCount
from msifr_integrations.generation.result import Result
from msifr_integrations.generation.turns import Portion
from msifr_policy.errors import InputError, MsifrError
from msifr_policy.extras import install
from msifr_policy.filters import Prompt
from msifr_policy.policy import Policy
from msifr_policy.records.compact import IdSet
from msifr_policy.records.ledger import Entry, Header, Session, scan_ledger

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
"""Nothing is reported to Ray's makers, and its own words stay in its log files."""

_STARTS = 9
"""Times that one worker is started: Ray starts one that died again, and would not leave off."""

_MOST_BLOCKS = 2048
"""Blocks that a run is cut into."""


def generate_on_ray(
    model: str | os.PathLike[str] | None,
    prompts: str | os.PathLike[str] | Iterable[Prompt],
    policy: Policy | None,
    out: str | os.PathLike[str],
    options: GenerateOptions = DEFAULTS,
    cluster: RayOptions = ONE_WORKER,
    *,
    progress: Callable[[Progress], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Result:
    """Make attempts as `generate` does, with the same files and the same account, by workers of a Ray cluster.

    model: a folder or name that every worker can open; None where servers make the tokens.
    options: `slots` are those of each worker, and `server.url` may be several, separated by commas: worker i takes the
        i-th, over and over. Policy, filter and options are sent by pickle: functions are imported there by name.

    In the account, `seconds` run from when the first worker was ready, and `cpu_seconds` are those of the workers'
    processes and of this one together; `waiting` streams are not counted. Raises what `generate` raises; `InputError`
    also for a cluster that does not answer or has no room for the workers, `MsifrError` for workers that die again and
    again. After any error or interrupt the run can be resumed, here or in one process.
    """
    if model is not None and not isinstance(model, str | os.PathLike):
        raise InputError("a loaded model cannot be sent", where="ray", remedy="give its folder or name")
    if options.goals:
        what = "goals of a whole run are for one process: workers would go on until they are told"
        raise InputError(what, where="ray", remedy="ask for accepted samples per prompt, or run without a cluster")
    return generate(
        model, prompts, policy, out, options, progress=progress, tell=tell, make=lambda job: _make(job, cluster)
    )


def _make(job: Job, cluster: RayOptions) -> None:
    """Make the attempts of a run on a cluster."""
    order = _order(job)
    with _connected(cluster) as ray:
        try:
            pickled = ray.cloudpickle.dumps(order)
        except Exception as error:
            remedy = "use a policy and a filter that can be pickled"
            raise InputError(f"cannot be sent to workers: {_line(error)}", where="ray", remedy=remedy) from error
        _check_room(ray, cluster)
        collector = _Collector(job, shared=cluster.workers > len(order.urls))
        try:
            with closing(_spread(job, pickled, cluster)) as attempts:
                for finished in attempts:
                    collector.take(finished)
        except MsifrError:
            raise
        except Exception as error:
            kept = "what is done is kept: start again with the same command"
            raise MsifrError(f"the workers stopped: {_line(error)}; {kept}") from error
        finally:
            collector.end()
        if lost := job.expected - job.journal.count:
            raise MsifrError(f"{lost} attempts did not come back; start again with the same command to make them")


def _order(job: Job) -> WorkOrder:
    """Return what the workers are given."""
    options = job.options
    urls = tuple(url.strip() for url in options.server.url.split(",") if url.strip())
    must: dict[str, Any] = {}
    if options.compare is not None:
        header, _ = next(scan_ledger(ledger_path(options.compare)))
        must = header.settings if isinstance(header, Header) else {}
    model = job.model
    if model is not None and os.path.exists(model):
        model = os.path.abspath(model)  # a worker may live in another folder
    return WorkOrder(
        model=model,
        urls=urls,
        prompts=list(job.prompts),
        policy=job.policy,
        accept=job.accept,
        # The filter goes by itself.
        options=msgspec.structs.replace(options, final_filter="numeric", answer="", compare=None),
        must=must | (job.journal.settings or {}),
    )


def _line(error: BaseException) -> str:
    """Return the last words of an error in one line: in those of Ray, the cause comes after the traces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__


@contextmanager
def _connected(cluster: RayOptions) -> Iterator[Any]:
    """Give the module `ray`, connected; what was not connected before is disconnected in the end."""
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    try:
        import ray
    except ImportError as error:
        raise InputError(f"needs {error.name}", where="ray", remedy=install("ray")) from error
    if ray.is_initialized():
        yield ray
        return
    address = cluster.address or os.environ.get("RAY_ADDRESS") or "local"
    own: dict[str, Any] = {}
    if address == "local":
        # Logical processors: one more than the actors take, so that nothing else waits for one of theirs.
        own = {"num_cpus": math.ceil(cluster.workers * cluster.cpus_per_worker) + 1, "include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:
        raise InputError(f"cannot connect: {_line(error)}", where=f"ray {address}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_room(ray: Any, cluster: RayOptions) -> None:
    """Raise `InputError` if the nodes that are there can never hold the workers: Ray would wait forever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = {"CPU": cluster.cpus_per_worker, "GPU": cluster.gpus_per_worker}
    room = sum(
        min(math.floor(node.get(name, 0.0) / amount + 1e-9) for name, amount in wanted.items() if amount)
        for node in nodes
    )
    if room < cluster.workers:
        has = ", ".join(f"{sum(node.get(name, 0.0) for node in nodes):g} {name}s" for name in wanted)
        raise InputError(
            f"the cluster ({has}) has room for {room} workers of {wanted['CPU']:g} CPUs and {wanted['GPU']:g} GPUs",
            where="ray",
            remedy=f"{cluster.workers} were asked for: ask for fewer, give each less, or add nodes first",
        )


def _spread(job: Job, order: bytes, cluster: RayOptions) -> Generator[Finished, None, None]:
    """Yield the attempts of a run as they are finished, whichever worker makes them."""
    import pyarrow as pa
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    slots = job.options.slots
    types = pa.int64(), pa.list_(pa.int64()), pa.int64(), pa.int64()
    columns = zip(*_portions(job), strict=True)
    todo = pa.table([pa.array(list(c), t) for c, t in zip(columns, types, strict=True)], list(Portion._fields))
    # A block costs this process milliseconds and some 50 kB, and is back when its slowest attempt is.
    size = max(1, slots // 8, math.ceil(len(todo) / _MOST_BLOCKS))
    blocks = [todo.slice(start, size) for start in range(0, len(todo), size)]
    # Half as many again as there are slots, so that the next are there before a slot is free.
    held = math.ceil(1.5 * slots / size) + 1
    register = ray.remote(num_cpus=0)(_Register).remote()
    data = ray.data.from_arrow(blocks).map_batches(
        _Actor,
        fn_constructor_args=(order, register),
        batch_size=size,
        batch_format="pyarrow",
        num_cpus=cluster.cpus_per_worker,
        num_gpus=cluster.gpus_per_worker,
        compute=ray.data.ActorPoolStrategy(
            size=cluster.workers,
            max_tasks_in_flight_per_actor=held,
            max_concurrent_calls_per_actor=held,
            enable_true_multi_threading=True,
        ),
    )
    data.context.enable_progress_bars = False
    tables: Any = data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    for table in tables:
        yield from map(Finished._make, zip(*(table[name].to_pylist() for name in Finished._fields), strict=True))


def _portions(job: Job) -> Iterator[Portion]:
    """Yield what is to be done: whole prompts where attempts wait for each other, else every attempt by itself."""
    for portion in job.portions():
        if job.one_by_one or job.goal.accepted is not None:
            yield portion._replace(numbers=tuple(portion.numbers))
        else:
            yield from (Portion(portion.place, (number,)) for number in portion.numbers)


class _Register:
    """Numbers the actors, and counts their starts: one that died and is started again keeps its number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._starts: Counter[str] = Counter()

    def enter(self, actor: str) -> tuple[int, int]:
        """Return the number of an actor, 0, 1, …, and how often it was started, this time included."""
        self._starts[actor] += 1
        return self._numbers.setdefault(actor, len(self._numbers)), self._starts[actor]


class _Actor:
    """What Ray Data makes an actor of: a worker, asked in tables."""

    def __init__(self, order: bytes, register: Any) -> None:
        import ray

        actor = ray.get_runtime_context().get_actor_id()
        number, starts = ray.get(register.enter.remote(actor))
        self._order: WorkOrder = ray.cloudpickle.loads(order)
        # One that is not started at all costs no more time.
        self._worker = EngineWorker(self._order, number) if starts <= _STARTS else None

    def __call__(self, block: Any) -> Any:
        """Return the attempts of a block, in its order: should it be made again, Ray expects the same rows."""
        import pyarrow as pa

        rows = zip(*(block[name].to_pylist() for name in Portion._fields), strict=True)
        todo = [Portion(place, tuple(numbers), *before) for place, numbers, *before in rows]
        if self._worker is None:
            finished = [Finished(error=f"a worker died {_STARTS} times: its machine's log or memory may tell why")]
        else:
            finished = self._worker.finish(todo)
        return pa.table(dict(zip(Finished._fields, map(list, zip(*finished, strict=True)), strict=True)))


class _Collector:
    """Writes down what workers give back, and keeps the account of a run that many processes make.

    shared: whether some server serves several workers, so that its counter cannot be told apart by worker.
    """

    def __init__(self, job: Job, *, shared: bool) -> None:
        self._job = job
        self._shared = shared
        self._hellos: dict[bytes, Hello] = {}
        self._cpu: dict[str, float] = {}  # seconds of each worker until now
        self._sessions: dict[str, Session] = {}  # of each worker until now
        self._seen = IdSet()
        self._tally = RunCount(job.journal.before, job.expected, job.progress)
        self._cpu_started = 0.0

    def take(self, finished: Finished) -> None:
        """Write down an attempt. Raises what the worker met."""
        job, hello = self._job, self._hellos.get(finished.hello)
        if finished.error:
            self._note(hello, finished.session)
            raise (InputError if finished.bad_input else MsifrError)(finished.error)
        hello = hello or self._meet(finished.hello)
        record = msgspec.json.decode(finished.record, type=AttemptRecord)
        entry = msgspec.json.decode(finished.entry, type=Entry)
        # Ray makes again what was lost with a machine, though it may have come already.
        if job.goal.met(before := job.journal.at(entry.prompt_id)) or not self._seen.add(entry.id):
            return
        self._note(hello, finished.session)
        now, cpu = time.perf_counter(), time.process_time()
        if not self._tally.started:
            self._tally.started = now - entry.seconds - job.journal.before.seconds
            self._cpu_started = cpu - job.journal.before.cpu_seconds
        self._cpu[hello.worker] = max(entry.cpu_seconds, self._cpu.get(hello.worker, 0.0))
        seconds, cpu = now - self._tally.started, cpu - self._cpu_started + sum(self._cpu.values())
        entry = msgspec.structs.replace(entry, seconds=round(seconds, 6), cpu_seconds=round(cpu, 6))
        job.journal.write(record, entry)
        self._tally.add(entry)
        self._tally.spare(job.goal.most(before) - job.goal.most(job.journal.at(entry.prompt_id)))
        self._tally.tokens += entry.tokens
        self._tally.show()

    def _meet(self, said: bytes) -> Hello:
        """Take in what a worker says of itself; the first begins the journal."""
        job, hello = self._job, msgspec.json.decode(said, type=Hello)
        told = {remark for other in self._hellos.values() for remark in other.remarks}
        for remark in hello.remarks:
            if remark not in told:
                job.say(remark)
        if self._hellos:
            job.journal.check(job.settings | hello.settings)
        else:
            job.begin(hello.settings, hello.logprobs)
        self._hellos[said] = hello
        return hello

    def _note(self, hello: Hello | None, session: bytes) -> None:
        if hello is not None and session:
            self._sessions[hello.worker] = msgspec.json.decode(session, type=Session)

    def end(self) -> None:
        """Write down what was spent beside attempts, as far as it was told."""
        if not self._hellos:
            return
        sessions = list(self._sessions.values())
        made = [session.made for session in sessions if session.made is not None]
        self._job.journal.end_session(
            Session(
                probe=sum(session.probe for session in sessions),
                unfinished=sum(session.unfinished for session in sessions),
                unfinished_prompts=sum(session.unfinished_prompts for session in sessions),
                arrived=sum(session.arrived for session in sessions),
                made=sum(made) if made and not self._shared else None,
            )
        )
        self._tally.show(at_once=True)
