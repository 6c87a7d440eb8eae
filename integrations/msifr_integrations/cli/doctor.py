"""`msifr doctor`: what is installed, what this machine has, and whether the parts work together."""

import os
import platform
import re
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version

import click
import msgspec

from msifr_integrations.cli.console import emit, examples, prose, tracking
from msifr_integrations.cli.options import all_cores, json_option
from msifr_integrations.cli.settings import check_settings, settings_file
from msifr_policy.errors import InputError, MsifrError
from msifr_policy.extras import install

PACKAGE = "msifr-policy"

ADDS = {
    "parquet": "traces, evidence tables and accepted samples as Parquet",
    "json-schema": "the final filter json-schema",
    "learned": "msifr fit --posterior learned: beliefs trained anew on your traces",
    "math": "the final filter math: answers that are formulas",
    "transformers": "msifr generate --model: models in this process, in slots",
    "ray": "msifr generate --engine ray: attempts spread over a cluster",
    "vllm": "msifr generate --engine vllm: vLLM in this process",
}
"""What each extra is for; those that are not named are for developers, or sums of others."""

_SECONDS = 20.0
_PROBE = "Count from one to five."


class Library(msgspec.Struct, frozen=True):
    """A library: the version that is installed, None if it is not."""

    name: str
    version: str | None


class Extra(msgspec.Struct, frozen=True):
    """An optional part: its libraries, whether all are installed, what it adds, and the command that installs it."""

    name: str
    installed: bool
    adds: str
    libraries: list[Library]
    install: str


class DeviceReport(msgspec.Struct, frozen=True):
    """What this machine has: processors for this process, memory in bytes, GPUs; notes say what could not be seen."""

    cpus: int
    memory: int | None
    memory_available: int | None
    gpus: list[str]
    note: str


class Check(msgspec.Struct, frozen=True):
    """Something that was tried: whether it works, what was found, and what to do if it does not."""

    name: str
    works: bool
    found: str
    remedy: str = ""


class ServerReport(msgspec.Struct, frozen=True):
    """Who a server says it is, and what it can do for a run.

    parallel: streams that it makes side by side, 0 if it does not say. counts_tokens: whether it has a counter of all
    tokens it made. left_out: what of a request it does not know. probe_tokens: made to find out.
    """

    url: str
    kind: str
    version: str
    models: list[str]
    parallel: int
    tells_logprobs: bool
    seeded: bool
    counts_tokens: bool
    left_out: list[str]
    remarks: list[str]
    probe_tokens: int


class DoctorDocument(msgspec.Struct, frozen=True):
    """What `msifr doctor` prints. `healthy`: all that is needed works; extras that are not there do not count."""

    healthy: bool
    version: str
    python: str
    platform: str
    libraries: list[Library]
    extras: list[Extra]
    device: DeviceReport
    checks: list[Check]
    server: ServerReport | None


@click.command(
    epilog=examples("msifr doctor", "msifr doctor --server http://localhost:8000"),
)
@click.option(
    "--server", "url", metavar="URL", help="Also ask this server who it is and what it can do (a few tokens)."
)
@click.option("--api", type=click.Choice(["chat", "completions"]), default="chat", help="Which of its two interfaces.")
@click.option("--key-env", default="OPENAI_API_KEY", help="Environment variable that holds the server's key.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, url: str | None, api: str, key_env: str, as_json: bool) -> None:
    """Say what is installed, what this machine has, and whether it works; ends with 1 if something does not."""
    server = None
    with tracking("looking") as advance:
        checks = []
        for done, (name, check) in enumerate(_CHECKS.items()):
            advance(done, name, len(_CHECKS))
            checks.append(_tried(name, check))
        libraries, extras = installed()
        device = see_device()
        if url is not None:
            advance(len(_CHECKS), url)
            server, asked = _ask_server(url, api, key_env)
            checks.append(asked)
    found = DoctorDocument(
        healthy=all(check.works for check in checks) and all(library.version for library in libraries),
        version=version(PACKAGE),
        python=platform.python_version(),
        platform=platform.platform(terse=True),
        libraries=libraries,
        extras=extras,
        device=device,
        checks=checks,
        server=server,
    )
    prose(*_lines(found), json=as_json)
    if as_json:
        emit(found)
    ctx.exit(0 if found.healthy else 1)


def installed() -> tuple[list[Library], list[Extra]]:
    """Return what the package needs, and its extras, as its own metadata name them; nothing is imported for it."""
    needed: list[Library] = []
    by_extra: dict[str, list[Library]] = defaultdict(list)
    for requirement in requires(PACKAGE) or ():
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        extra = re.search(r"""extra == ['"]([^'"]+)""", requirement)
        if extra is None:
            needed.append(Library(name, _version(name)))
        else:
            by_extra[extra[1]].append(Library(name, _version(name)))
    extras = [
        Extra(name, all(each.version for each in by_extra[name]), adds, by_extra[name], install(name))
        for name, adds in ADDS.items()
        if name in by_extra
    ]
    return needed, extras


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def see_device() -> DeviceReport:
    """Return what this machine has; GPUs as torch sees them, if it is there."""
    gpus, note = [], ""
    if _version("torch") is None:
        note = "GPUs are seen through torch, which is not installed"
    else:
        try:
            import torch

            for i in range(torch.cuda.device_count()):
                of = torch.cuda.get_device_properties(i)
                gpus.append(f"{of.name}, {of.total_memory / 2**30:.0f} GiB")
        except Exception as error:  # a broken installation is what this command is to find
            note = f"torch cannot be used: {type(error).__name__}: {error}"
    return DeviceReport(all_cores(), _pages("SC_PHYS_PAGES"), _pages("SC_AVPHYS_PAGES"), gpus, note)


def _pages(name: str) -> int | None:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _tried(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except MsifrError as error:
        return _failed(name, error)
    except Exception as error:  # whatever is broken here is what this command is to find
        return Check(name, False, f"{type(error).__name__}: {error}", "install the package anew")


def _failed(name: str, error: MsifrError) -> Check:
    if not isinstance(error, InputError):
        return Check(name, False, str(error))
    return Check(name, False, str(InputError(error.what, where=error.where)), error.remedy)


def _check_files() -> str:
    from msifr_integrations.cli.schema import names
    from msifr_integrations.embedded import embedded_model_path
    from msifr_policy.weights import recall, remember

    weights = recall(remember((embedded_model_path() / "model.safetensors").read_bytes()))
    size = sum(array.size for array in weights.values())
    return f"embedded model of {size / 1e6:.1f} million weights, {len(names())} JSON Schemas"


def _check_fit() -> str:
    from itertools import islice

    from msifr_calibration import fit_policy
    from msifr_integrations.embedded import embedded_samples_path
    from msifr_policy import NewlineSteps, build_evidence, default_validators, read_traces
    from msifr_sim import replay_policy, summarise

    begun = time.perf_counter()
    table = build_evidence(islice(read_traces(embedded_samples_path()), 200), NewlineSteps(), default_validators())
    fit = fit_policy(table, max_false_reject=0.2, method="linear")
    summary = summarise(replay_policy(fit.file.policy(), table), draws=100)
    seconds = time.perf_counter() - begun
    return (
        f"{table.n_attempts} attempts fitted, certified and replayed in {seconds:.1f} s (s = {summary.saving_rate:.0%})"
    )


def _check_disk() -> str:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(1 << 20))
        file.flush()
    free = {where: shutil.disk_usage(where).free / 2**30 for where in (tempfile.gettempdir(), os.getcwd())}
    return ", ".join(f"{free[where]:.1f} GiB free in {where}" for where in free)


def _check_settings() -> str:
    path = settings_file()
    if path is None:
        return "no settings file"
    root = click.get_current_context().find_root().command
    if isinstance(root, click.Group):
        check_settings(root, str(path))
    return f"{path} is right"


_CHECKS: dict[str, Callable[[], str]] = {
    "package files": _check_files,
    "fit": _check_fit,
    "disk": _check_disk,
    "settings": _check_settings,
}


def _ask_server(url: str, api: str, key_env: str) -> tuple[ServerReport | None, Check]:
    from msifr_integrations.engine.base import Sampling
    from msifr_integrations.servers.openai_stream import connect
    from msifr_integrations.servers.options import ServerOptions
    from msifr_policy.filters import Message

    options = ServerOptions(url=url, api=api, key_env=key_env, retries=1, patience=_SECONDS)  # type: ignore[arg-type]
    probe = (Message("user", _PROBE),) if api == "chat" else _PROBE
    try:
        engine = connect(options, sampling=Sampling(), slots=8, probe=probe, max_new_tokens=8)
    except MsifrError as error:
        return None, _failed("server", error)
    facts = engine.facts
    report = ServerReport(
        url=url,
        kind=facts.kind,
        version=facts.version,
        models=list(facts.models),
        parallel=facts.parallel,
        tells_logprobs=engine.logprobs,
        seeded=engine.plan.seeded,
        counts_tokens=engine.counts_tokens,
        left_out=sorted(engine.plan.left_out),
        remarks=engine.remarks,
        probe_tokens=engine.probe_tokens,
    )
    return report, Check("server", True, f"{facts.kind} {facts.version} answers at {url}".replace("  ", " "))


def _lines(found: DoctorDocument) -> list[str]:
    """Return the document in words."""
    lines = [f"{PACKAGE} {found.version}, Python {found.python}, {found.platform}", "", "works:"]
    widest = max(len(check.name) for check in found.checks)
    for check in found.checks:
        said = InputError(check.found, remedy=check.remedy)
        lines.append(f"  {'yes' if check.works else 'NO '}  {check.name:{widest}}  {said}")
    missing = [library.name for library in found.libraries if library.version is None]
    lines += [f"  NO   libraries: {', '.join(missing)} are not installed"] if missing else []
    lines += ["", "extras:"]
    for extra in found.extras:
        what = ", ".join(f"{each.name} {each.version or 'missing'}" for each in extra.libraries)
        how = what if extra.installed else f"{extra.install}   ({what})"
        lines.append(f"  {'yes' if extra.installed else 'no '}  {extra.name:{_WIDEST}}  {extra.adds}")
        lines.append(f"       {'':{_WIDEST}}  {how}")
    device = found.device
    memory = "" if device.memory is None else f", {device.memory / 2**30:.0f} GiB of memory"
    gpus = ", ".join(device.gpus) or f"no GPU{f' ({device.note})' if device.note else ''}"
    lines += ["", f"this machine: {device.cpus} processors{memory}, {gpus}"]
    if (server := found.server) is not None:
        lines += [
            "",
            f"server {server.url}: {server.kind} {server.version}".rstrip(),
            f"  models: {', '.join(server.models) or 'it lists none'}",
            f"  side by side: {server.parallel or 'it does not say how many'} streams",
            f"  log-probabilities: {_yes(server.tells_logprobs)}; a seed for each attempt: {_yes(server.seeded)}; "
            f"counts all tokens it makes: {_yes(server.counts_tokens)}",
            *(f"  {remark}" for remark in server.remarks),
        ]
    lines += ["", "everything that is needed works" if found.healthy else "something that is needed does not work"]
    return lines


_WIDEST = max(map(len, ADDS))


def _yes(value: bool) -> str:
    return "yes" if value else "no"
