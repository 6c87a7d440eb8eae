"""Pages of the documents as programs: their blocks of code, in a folder with small data, one after the other.

What a fenced block is, its first line says:

* `sh`, `python`: run as pasted; a `text` block that follows is what was printed on the standard output, or of a command
  that fails (2) on the standard error;
* `title="name.ext"`: a file, which is written;
* `sh title="on your server"` and the like (`ELSEWHERE`): not run here, but commands of ours must take their options;
* `json`, `toml`: must be readable; `text` after anything else is for people.

A comment `exit status 1` at a command says how it ends; all others end with 0.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from contextlib import chdir, redirect_stdout
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import click
from click.testing import CliRunner

ELSEWHERE = ("on your server", "on your machine", "on your cluster", "in a clone")
URL = "http://localhost:8000"
"""The server of the documents; here another address stands for it."""

PROMPTS = 150
"""Prompts of `traces.jsonl`: so many that something can be certified."""


class Block(NamedTuple):
    """A fenced block: its language, its title ("" if none), what is in it, and where that stands in the page."""

    language: str
    title: str
    text: str
    start: int

    @property
    def is_file(self):
        return "." in self.title

    @property
    def runs(self):
        return self.language in ("sh", "python") and not self.title


def blocks(page):
    """Return the fenced blocks of a page."""
    found = re.finditer(r'^```(\w*)(?: title="([^"\n]*)")?\n(.*?)^```$', page, re.MULTILINE | re.DOTALL)
    return [Block(each[1], each[2] or "", each[3], each.start(3)) for each in found]


def prose_commands(page):
    """Return lines of commands that no fence tells from prose."""
    return re.findall(r"^ {4,}(?:msifr|python|pip) .*$", re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S), re.M)


def lines_of(text):
    """Return (words, exit status) of the commands of a block."""
    lines = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip() and line.strip()[0] != "#"]
    parts = [re.fullmatch(r"(.*?)(?:\s+#\s(.*))?", line) for line in lines]
    status = [re.search(r"exit status (\d+)", part[2] or "") for part in parts]
    return [(part[1], int(code[1]) if code else 0) for part, code in zip(parts, status, strict=True)]


def context():
    """Return the context of the program, as if it ran."""
    from msifr_integrations.cli import main

    return click.Context(main, info_name="msifr")


def takes(command):
    """Let the program read the options of a command line, without running it. Raises what click raises."""
    from msifr_integrations.cli import main

    _, name, *arguments = shlex.split(command.replace("$SLURM_ARRAY_TASK_ID", "7"))
    found = main.get_command(context(), name)
    assert found is not None, f"there is no msifr {name}"
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for word in arguments:
            if re.fullmatch(r"[\w-]+(\.\w+)+", word):
                Path(word).touch()
        found.make_context(name, arguments, parent=context())


def prepare(folder):
    """Write what pages take as given: traces and more of them, few, prompts, and a policy fitted on the traces."""
    from msifr_integrations.cli import main
    from msifr_integrations.embedded import embedded_samples_path, problem
    from msifr_policy import read_traces, write_traces

    traces = list(read_traces(embedded_samples_path()))
    ids = list(dict.fromkeys(trace.prompt_id for trace in traces))
    parts = {"traces.jsonl": ids[:PROMPTS], "more-traces.jsonl": ids[PROMPTS : PROMPTS + 60], "few.jsonl": ids[-25:]}
    for name, part in parts.items():
        write_traces(folder / name, [trace for trace in traces if trace.prompt_id in set(part)])
    asked = (problem(1, i) for i in range(4))
    rows = [{"prompt_id": f"to-come/{i}", "prompt": one.prompt, "gold": one.gold} for i, one in enumerate(asked)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fit = ["fit", str(folder / "traces.jsonl"), "-o", str(folder / "policy.json")]
    done = CliRunner().invoke(main, fit)
    assert done.exit_code == 0, done.output


class Reader:
    """Someone who pastes one block after the other into a folder; `server` is the address that stands for `URL`."""

    def __init__(self, folder, server):
        self.folder, self.server = folder, server
        self.names = {"__name__": "__main__"}

    def does(self, block):
        """Do what a block says; return what it prints."""
        if block.is_file:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
            return ""
        if block.language == "json":
            for line in [block.text] if block.text.startswith("{\n") else block.text.splitlines():
                json.loads(line)
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.title:
            assert block.title in ELSEWHERE, block.title
            for command, _ in lines_of(block.text):
                if command.startswith("msifr "):
                    takes(command)
        elif block.language == "python":
            return self.python(block.text)
        elif block.language == "sh":
            return "".join(self.command(*line) for line in lines_of(block.text))
        return ""

    def python(self, code):
        out = StringIO()
        with redirect_stdout(out):
            exec(compile(code.replace(URL, self.server), "a page", "exec"), self.names)  # noqa: S102 - our own text
        return out.getvalue()

    def command(self, line, status):
        from msifr_integrations.cli import main

        line = line.replace(URL, self.server)
        plain = re.fullmatch(r"msifr ([^|<>$&;]*)(?:> ([\w.-]+))?", line)
        if plain:
            done = CliRunner().invoke(main, shlex.split(plain[1]), prog_name="msifr")
            code, everything = done.exit_code, f"{done.output}\n{done.exception!r}"
            out = done.stderr if code > 1 else done.stdout
            if plain[2]:
                Path(plain[2]).write_text(out)
                out = ""
        else:
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            shell = ["bash", "-ec", line]
            ran = subprocess.run(  # noqa: S603
                shell, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
            )
            code, out, everything = ran.returncode, ran.stdout, ran.stdout + ran.stderr
        assert code == status, f"{line}\nends with status {code}:\n{everything}"
        return out.replace(self.server, URL)


def comparable(block, printed):
    """Return the lines that a block prints without what varies: times, and numbers of texts that a model makes anew."""
    varies = (
        r"\d[\d.,]*\d|\d" if "msifr generate" in block.text else r"\b\d[\d.,]*(?= (?:s|CPU seconds|seconds|MB|MiB)\b)"
    )
    return re.sub(varies, "…", printed).strip("\n").splitlines()


def outputs(page):
    """Return (block, its output block) of the blocks of a page that show what they print."""
    every = blocks(page)
    pairs = zip(every, islice(every, 1, None), strict=False)
    return {one.start: after for one, after in pairs if one.runs and after.language == "text"}
