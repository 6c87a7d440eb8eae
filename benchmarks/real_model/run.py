"""One run as a user starts it, by the command line in a process of its own, and what it cost."""

import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from msifr_integrations.cli.console import prose
from msifr_integrations.generation.journal import ledger_path
from msifr_policy.errors import MsifrError
from msifr_policy.files import replacing
from msifr_policy.filters import Prompt
from tests.llama_server import LlamaServer

SLOTS = 32
TEMPERATURE = 0.7
MAX_NEW_TOKENS = 192


class RunCost(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to, and its cost in tokens and seconds.

    seconds: wall time from the first step on, without loading a model. cpu_seconds: processor time of everything that
    made tokens or read them in that time: of this process in slots, of client and server with a server.
    server_cpu_seconds: the server's share of it. process_cpu_seconds: of the whole command, loading included.
    """

    attempts: int
    accepted: int
    discarded: int
    failed: int
    tokens: int
    tokens_beside: int
    tokens_wasted_after_decision: int
    tokens_per_accepted: float | None
    seconds: float
    cpu_seconds: float
    server_cpu_seconds: float
    process_cpu_seconds: float
    survivors: int | None = None
    survivors_changed: int | None = None

    @property
    def cpu_seconds_per_accepted(self) -> float:
        """Processor time for one accepted sample; infinite where nothing was accepted."""
        return self.cpu_seconds / self.accepted if self.accepted else float("inf")


def generate(
    where: Path | LlamaServer, prompts: Sequence[Prompt], attempts: int, final_filter: str, out: Path, *more: str
) -> RunCost:
    """Run `msifr generate` on a model's folder or a running server, and return what was spent.

    `more` are further words of the command. A run that is finished is not made again, since what it cost is kept in a
    file beside it; one that was interrupted begins anew: half of its cost would be unknown. Raises `MsifrError` if the
    command fails.
    """
    kept = out.with_suffix(".spent.json")
    if kept.exists():
        return msgspec.json.decode(kept.read_bytes(), type=RunCost)
    for stale in (out, ledger_path(out)):
        stale.unlink(missing_ok=True)
    asked = out.with_suffix(".prompts.jsonl")
    asked.write_bytes(b"".join(msgspec.json.encode(prompt) + b"\n" for prompt in prompts))
    server = where if isinstance(where, LlamaServer) else None
    words = [
        "generate",
        *(("--server", server.url) if server else ("--model", str(where))),
        *("--prompts", str(asked), "--attempts", str(attempts), "--slots", str(SLOTS)),
        *("--temperature", str(TEMPERATURE), "--max-new-tokens", str(MAX_NEW_TOKENS)),
        *("--filter", final_filter, "-o", str(out), *more),
    ]
    prose(f"   msifr {' '.join(words)}")
    before = _processor_time(), server.cpu_seconds() if server else 0.0
    msifr = Path(sys.executable).with_name("msifr")
    done = subprocess.run([msifr, *words, "--json"], stdout=subprocess.PIPE, check=False)  # noqa: S603 - our own
    if done.returncode:
        raise MsifrError(f"msifr generate ended with status {done.returncode}; what is done is kept in {out.parent}")
    if server:
        server.wait_until_idle()
    process = _processor_time() - before[0]
    of_server = (server.cpu_seconds() if server else 0.0) - before[1]
    result: dict[str, Any] = msgspec.json.decode(done.stdout)
    spent = msgspec.convert(
        result
        | {
            "cpu_seconds": result["cpu_seconds"] + of_server,
            "server_cpu_seconds": of_server,
            "process_cpu_seconds": process,
        },
        RunCost,
    )
    with replacing(kept) as temporary:
        temporary.write_bytes(msgspec.json.encode(spent))
    return spent


def _processor_time() -> float:
    """Return the processor seconds of all processes started here that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
