"""Type checkers see the public interface as users have it: installed, from outside, by mypy at its strictest."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

from msifr_calibration.options import FitChanges, FitOptions

USER_CODE = Path(__file__).parent / "typing" / "user_code.py"


def test_user_code_is_typed_and_its_mistakes_are_found(tmp_path):
    """In a folder of its own, where no settings of this project apply."""
    code = shutil.copy(USER_CODE, tmp_path)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr


def test_changes_of_a_fit_are_the_fields_of_its_options():
    assert get_type_hints(FitChanges) == get_type_hints(FitOptions)
