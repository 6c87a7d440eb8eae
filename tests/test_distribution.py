"""What is published: an sdist and the wheel that was built from it, in the folder that MSIFR_DIST names.

Where it names none, as in `make test`, nothing is tested; `.ci/run` builds both with `python -m build` and names it.
"""

import base64
import csv
import hashlib
import os
import re
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from packaging.metadata import Metadata
from packaging.utils import parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
DIST = os.environ.get("MSIFR_DIST")

if not DIST:
    pytest.skip("no MSIFR_DIST", allow_module_level=True)

(WHEEL,) = Path(DIST).glob("*.whl")
(SDIST,) = Path(DIST).glob("*.tar.gz")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION = Version(SETTINGS["project"]["version"])
SOURCES = [PurePosixPath(place) for place in SETTINGS["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
MOST_BYTES = 6_000_000
"""Of a wheel or sdist: 4.8 and 5.3 million, most of them two sets of weights."""


@pytest.fixture(scope="module")
def wheel():
    with zipfile.ZipFile(WHEEL) as archive:
        yield archive


@pytest.fixture(scope="module")
def sdist_names():
    """Names in the sdist, without the folder that all are in."""
    with tarfile.open(SDIST) as archive:
        members = archive.getmembers()
    assert all(member.isfile() and PurePosixPath(member.name).parts[0] == SDIST.name[:-7] for member in members)
    return {str(PurePosixPath(*PurePosixPath(member.name).parts[1:])) for member in members}


def tracked(*places):
    """Return the files under version control in some folders of the checkout."""
    listed = ["git", "ls-files", "-z", "--", *map(str, places)]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    return {PurePosixPath(name) for name in done.stdout.split("\0") if name}


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel):
    """Weights, samples, schemas, templates, stubs and marks of typing among them; no tests, results or caches."""
    expected = {
        str(PurePosixPath(source.name) / path.relative_to(source)) for source in SOURCES for path in tracked(source)
    }
    metadata = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    assert set(wheel.namelist()) == expected | {f"msifr_policy-{VERSION}.dist-info/{name}" for name in metadata}
    assert {f"{source.name}/py.typed" for source in SOURCES} <= expected


def test_the_sdist_holds_what_is_tracked_and_no_other(sdist_names):
    assert sdist_names == {str(path) for path in tracked(".")} | {"PKG-INFO"}


def test_every_file_of_the_wheel_is_what_its_record_says(wheel):
    (record,) = [name for name in wheel.namelist() if name.endswith("/RECORD")]
    rows = {name: (digest, size) for name, digest, size in csv.reader(wheel.read(record).decode().splitlines())}
    assert set(rows) == set(wheel.namelist())
    assert len(wheel.namelist()) == len(set(wheel.namelist()))
    for name, (digest, size) in rows.items():
        if name != record:
            content = wheel.read(name)
            sha256 = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            assert (digest, size) == (f"sha256={sha256}", str(len(content))), name


def test_metadata_are_valid_and_say_what_the_project_says(wheel):
    text = wheel.read(f"msifr_policy-{VERSION}.dist-info/METADATA")
    said = Metadata.from_email(text, validate=True)  # raises for what an index would refuse
    assert (said.name, said.version) == ("msifr-policy", VERSION)
    assert said.license_expression == "Apache-2.0"
    assert said.license_files == ["LICENSE"]
    assert wheel.read(f"msifr_policy-{VERSION}.dist-info/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert said.description == (ROOT / "README.md").read_text(encoding="utf-8")
    assert said.description_content_type == "text/markdown"
    assert sorted(said.provides_extra) == sorted(SETTINGS["project"]["optional-dependencies"])
    entries = wheel.read(f"msifr_policy-{VERSION}.dist-info/entry_points.txt").decode()
    assert re.search(r"^msifr = msifr_integrations\.cli\.entry:run$", entries, re.MULTILINE)


def test_names_and_changelog_agree_on_the_version():
    assert parse_sdist_filename(SDIST.name) == ("msifr-policy", VERSION)
    _, version, _, tags = parse_wheel_filename(WHEEL.name)
    assert version == VERSION
    assert {str(tag) for tag in tags} == {"py3-none-any"}
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    released = [Version(heading) for heading in headings if heading != "Unreleased"]
    assert released == sorted(set(released), reverse=True)
    assert headings[0] == "Unreleased" or released[0] == VERSION
    assert all(version <= VERSION for version in released)


@pytest.mark.parametrize("path", [WHEEL, SDIST], ids=["wheel", "sdist"])
def test_archives_are_small(path):
    assert path.stat().st_size < MOST_BYTES
