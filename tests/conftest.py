"""What every test runs under."""

import os

# Torch's threads spin while they wait; this must be set before torch is imported anywhere.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path

import pytest
from hypothesis import settings

# Property tests must not flake on slow machines; in CI they are also the same every time.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded traces beside the repository, or a skip where there is none."""
    folder = Path(os.environ.get("MSIFR_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "traces").is_dir():
        pytest.skip("no recorded traces beside the repository; set MSIFR_SHARED to their folder")
    return folder
