"""The plain install: what it works without, and what is said where something is needed that only an extra brings."""

import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import msgspec
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import msifr_calibration
import msifr_integrations
import msifr_policy
import msifr_sim
from fake_server import FakeServer
from makers import make_traces
from msifr_policy import InputError, write_traces
from msifr_policy.extras import install, needs

PACKAGES = (msifr_policy, msifr_sim, msifr_calibration, msifr_integrations)
PROJECT = "msifr-policy"


def brought(extra=""):
    """Return the names of the distributions that the install with an extra brings, by way of others too."""
    found, todo = set(), [(PROJECT, extra)]
    while todo:
        name, asked = todo.pop()
        for line in requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": asked}):
                each = canonicalize_name(requirement.name)
                if each not in found and each != PROJECT:
                    found.add(each)
                    todo.append((each, ""))
                todo += [(each, more) for more in requirement.extras]
    return found


def modules_beyond(distributions):
    """Return the top-level modules that are installed here and that these distributions do not bring."""
    ours = {package.__name__ for package in PACKAGES}
    return [
        module
        for module, owners in packages_distributions().items()
        if module not in ours and not {canonicalize_name(owner) for owner in owners} & distributions
    ]


PLAIN = """
import json, sys
from importlib.machinery import PathFinder
from packaging.utils import canonicalize_name

modules, distributions = map(frozenset, json.loads(sys.argv[1]))

class Plain(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in modules else PathFinder.find_spec(name, path, target)

    @classmethod
    def find_distributions(cls, *context):
        found = PathFinder.find_distributions(*context)
        return (each for each in found if canonicalize_name(each.metadata["Name"]) in distributions)

sys.meta_path[:] = [Plain if finder is PathFinder else finder for finder in sys.meta_path]

from click.testing import CliRunner
from msifr_integrations.cli import main

for line in sys.stdin:
    done = CliRunner().invoke(main, json.loads(line))
    print(json.dumps([done.exit_code, done.stdout, done.stderr, repr(done.exception)]))
"""


_SERVED = ("generate", "--server", "SERVER", "--prompts", "prompts.jsonl")
_LOCAL = ("generate", "--model", "none", "--prompts", "prompts.jsonl", "--policy", "none", "-o", "never.jsonl")
DONE = [
    ("doctor",),
    ("convert", "others.jsonl", "-o", "converted.jsonl"),
    ("judge", "converted.jsonl", "--filter", "numeric", "-o", "judged.jsonl"),
    ("fit", "traces.jsonl", "-o", "p.json", "--max-false-reject", "0.2"),
    ("evaluate", "p.json", "more.jsonl.zst"),
    ("simulate", "p.json", "traces.jsonl"),
    ("plan", "--hoped-for", "0.02", "--acceptance", "0.5"),
    ("score", "traces.jsonl"),
    (*_SERVED, "--policy", "p.json", "-o", "out.jsonl", "--accepted-out", "sft.jsonl", "--attempts", "1"),
    ("export", "out.jsonl", "-o", "pairs.jsonl", "--form", "preference"),
    ("report", "p.json", "traces.jsonl", "-o", "report.html"),
]
"""The main job."""
REFUSED = [
    ("parquet", ("fit", "more.parquet", "-o", "never.json")),
    ("parquet", ("score", "traces.jsonl", "-o", "never.parquet")),
    ("parquet", (*_SERVED, "--policy", "none", "-o", "never.jsonl", "--accepted-out", "never.parquet")),
    ("learned", ("fit", "prompts.jsonl", "-o", "never.json", "--posterior", "learned")),  # which holds no traces
    ("math", (*_SERVED, "--policy", "none", "-o", "never.jsonl", "--filter", "math")),
    ("json-schema", (*_SERVED, "--policy", "none", "-o", "never.jsonl", "--filter", "json-schema")),
    ("transformers", _LOCAL),
    ("vllm", (*_LOCAL, "--engine", "vllm")),
    ("ray", (*_LOCAL, "--engine", "ray")),
]
"""What needs an extra."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The folder in which the commands ran, by one process that can import what a plain install brings; and outcomes.

    Of each: exit status, standard output, standard error, exception.
    """
    folder = tmp_path_factory.mktemp("plain")
    made = make_traces(60)
    for ending in ("traces.jsonl", "more.jsonl.zst", "more.parquet"):
        write_traces(folder / ending, made)
    others = [{"prompt": f"{n} + 1?", "completions": ["5", "6"], "rewards": [1, 0]} for n in range(4)]
    (folder / "others.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(others))
    prompts = [{"prompt_id": trace.prompt_id, "prompt": "How many?", "gold": "5"} for trace in made[:4]]
    (folder / "prompts.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(prompts))
    there = brought()
    with FakeServer(length=20) as server:
        commands = [
            [server.url if word == "SERVER" else word for word in command]
            for command in (*DONE, *(command for _, command in REFUSED))
        ]
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", PLAIN, json.dumps([modules_beyond(there), [PROJECT, *there]])],
            input="\n".join(map(json.dumps, commands)),
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return folder, [json.loads(line) for line in done.stdout.splitlines()]


def test_a_plain_install_is_light():
    """None of these is needed to fit, evaluate, simulate and generate from a server; each is tens of megabytes."""
    assert brought() & {"pyarrow", "matplotlib", "scikit-learn", "torch", "transformers", "pandas", "pillow"} == set()
    assert {"numpy", "scipy", "msgspec", "click", "attrs"} <= brought()  # the last by way of another


def test_a_plain_install_does_the_main_job(plain):
    folder, outcomes = plain
    for command, outcome in zip(DONE, outcomes[: len(DONE)], strict=True):
        assert outcome[0] == 0, (command, *outcome)
    for name in ("converted.jsonl", "judged.jsonl", "p.json", "sft.jsonl", "report.html"):
        assert (folder / name).exists(), name


def test_what_a_plain_install_lacks_is_said_with_the_extra_before_any_work(plain):
    folder, outcomes = plain
    for (extra, command), (status, _, said, error) in zip(REFUSED, outcomes[len(DONE) :], strict=True):
        assert status == 2, (command, said, error)
        assert install(extra) in said.replace("\n", " "), (command, said)
    assert not [path.name for path in folder.glob("never*") if path.stat().st_size]


def test_every_extra_that_is_named_exists_and_brings_what_it_is_named_for():
    named = [
        match
        for package in PACKAGES
        for path in Path(package.__file__).parent.rglob("*.py")
        for match in re.findall(r'(?:needs\("([\w.]+)", extra=|install\(|msifr-policy\[)"([\w-]+)"', path.read_text())
    ]
    assert ("pyarrow", "parquet") in named
    declared = {extra for line in requires(PROJECT) for extra in re.findall(r"extra == ['\"]([\w-]+)['\"]", line)}
    assert {extra for _, extra in named} <= declared
    owners = packages_distributions()
    for module, extra in named:
        top = module.partition(".")[0]
        if top in owners:  # not installed here, it cannot be told
            assert {canonicalize_name(owner) for owner in owners[top]} & brought(extra), (module, extra)


def test_an_install_of_everything_brings_every_light_extra():
    assert {"pyarrow", "torch", "transformers", "math-verify", "jsonschema"} <= brought("all") <= brought("dev")


def test_a_library_that_is_there_and_broken_says_so(tmp_path, monkeypatch):
    """As where a shared library of the system is missing."""
    needs("json", extra="parquet", what="nothing")
    (tmp_path / "broken_library.py").write_text("raise ImportError('libarrow.so: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"t\.parquet: Parquet needs broken_library, which cannot be imported: libarr"):
        needs("broken_library", extra="parquet", what="Parquet", where="t.parquet")
    with pytest.raises(InputError, match=r"Parquet needs no_such_library \(pip install 'msifr-policy\[parquet\]'\)"):
        needs("no_such_library.parts", extra="parquet", what="Parquet")
