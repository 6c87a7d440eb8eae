"""What CONTRIBUTING.md tells newcomers to do works, in a clone.

Commands that change files or take long are run where MSIFR_FOLLOW is set, as by `.ci/run`; the targets of make are
those that it runs itself.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "CONTRIBUTING.md"

if not PAGE.exists():
    pytest.skip("not in a checkout", allow_module_level=True)

TEXT = PAGE.read_text(encoding="utf-8")
LINES = [
    line.split("  #")[0].strip()
    for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
SOURCES = ("", "sim", "calibration", "integrations")


def test_every_target_of_make_exists_and_those_of_the_first_block_are_run_for_every_change():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    shown = [line.removeprefix("make ") for line in LINES if line.startswith("make ")]
    assert {"setup", "test", "lint"} <= set(shown)
    assert {*shown, *re.findall(r"`make ([\w-]+)", TEXT)} <= set(targets)
    assert [target for target in shown if not re.search(rf"^make {target}\b", script, re.MULTILINE)] == []


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone of the last commit, and an environment in which the packages imported are its own."""
    if not os.environ.get("MSIFR_FOLLOW"):
        pytest.skip("no MSIFR_FOLLOW")
    folder = tmp_path_factory.mktemp("clone") / "msifr-policy"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)  # noqa: S603, S607
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    return folder, os.environ | {"PYTHONPATH": os.pathsep.join(str(folder / source) for source in SOURCES)}


@pytest.mark.parametrize("line", [line for line in LINES if not line.startswith("make ")])
def test_every_other_command_does_what_it_is_for(line, clone):
    folder, environment = clone
    subprocess.run(["git", "checkout", "--quiet", "."], cwd=folder, check=True)  # noqa: S607
    done = subprocess.run(  # noqa: S602 - our own text
        line,
        shell=True,
        executable=shutil.which("bash"),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no tests ran" not in done.stdout
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no"],  # noqa: S607
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert changed.stdout == "", "what is generated is committed, and formatted"
