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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Two processors may share the suite: each file is run by whoever comes to it first."""
    parser.addoption("--claims", type=Path, help="Folder where runs beside each other say which test files they take.")
    parser.addoption("--backwards", action="store_true", help="Begin with the last file.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Turn the order of files round, if that is asked for."""
    if config.getoption("--backwards"):
        place = {path: i for i, path in enumerate(dict.fromkeys(item.path for item in items))}
        items.sort(key=lambda item: -place[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Leave out the tests of a file that another run has taken."""
    claims = item.config.getoption("--claims")
    if claims is None or _claimed(claims, item.path, _TAKEN):
        return None
    return True


_TAKEN: dict[Path, bool] = {}


def _claimed(folder: Path, path: Path, taken: dict[Path, bool]) -> bool:
    """Return whether a file is this run's: it is if nobody has taken it."""
    if path not in taken:
        try:
            (folder / path.name).touch(exist_ok=False)
            taken[path] = True
        except FileExistsError:
            taken[path] = False
    return taken[path]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded traces beside the repository, or a skip where there is none."""
    folder = Path(os.environ.get("MSIFR_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "traces").is_dir():
        pytest.skip("no recorded traces beside the repository; set MSIFR_SHARED to their folder")
    return folder
