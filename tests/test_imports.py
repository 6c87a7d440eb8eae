"""What an import costs, and that the public names exist."""

import ast
import importlib
import importlib.util
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

HEAVY = {"torch", "transformers", "pyarrow", "hypothesis", "aiohttp", "llguidance", "jinja2", "scipy.stats"}
FACES = ["msifr_policy", "msifr_sim", "msifr_calibration", "msifr_integrations", "msifr_policy.validators"]


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout  # noqa: S603


@pytest.mark.parametrize(
    "module",
    [
        "msifr_policy",
        "msifr_policy.exact.evaluation, msifr_policy.exact.optimum, msifr_policy.policy_file",
        "msifr_sim",
        "msifr_calibration",
        "msifr_integrations",
        "msifr_integrations.cli.main",
        "msifr_integrations.generation.generate",
        "msifr_integrations.embedded",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(module):
    loaded = run(f"import {module}, sys; print(*sys.modules)").split()
    assert HEAVY & set(loaded) == set()


def test_importing_the_core_takes_less_than_a_tenth_of_a_second():
    """The best of five, in a fresh interpreter each: other work on the machine only adds to it."""
    code = "import time; t = time.perf_counter(); import msifr_policy; print(time.perf_counter() - t)"
    assert min(float(run(code)) for _ in range(5)) < 0.1


@pytest.mark.parametrize("package", FACES)
def test_every_public_name_exists(package):
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module.__all__) <= set(dir(module))
    assert sorted(module.__all__) == sorted(set(module.__all__))
    with pytest.raises(AttributeError):
        _ = module.no_such_name


@pytest.mark.parametrize("folder", ["benchmarks", "examples", "docs"])
def test_what_scripts_outside_of_the_packages_import_from_them_is_there(folder):
    """They are run seldom, and no type checker reads them: a name that was taken away would be missed late."""
    place = Path(__file__).parents[1] / folder
    if not place.is_dir():
        pytest.skip("not in a checkout")
    wanted = {
        (node.module, alias.name)
        for path in place.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FACES
        for alias in node.names
    }
    assert wanted
    assert [f"{module}.{name}" for module, name in sorted(wanted) if name not in written_in(module)] == []


@cache
def written_in(module: str) -> set[str]:
    """Return the names that the text of a module defines, and of a package those of its modules; nothing is run."""
    spec = importlib.util.find_spec(module)
    if spec is None:
        return set()
    path = Path(spec.origin)
    stub = path.with_suffix(".pyi")
    names = {each.stem for each in path.parent.iterdir()} if path.stem == "__init__" else set()
    for node in ast.walk(ast.parse((stub if stub.exists() else path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names
