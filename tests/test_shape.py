"""The shape of the house: faces, widths of signatures, and what an import costs."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

PACKAGES = ("msifr_policy", "msifr_sim", "msifr_calibration", "msifr_integrations")
WIDEST = 8


def modules() -> list:
    folders = [Path(importlib.import_module(name).__file__).parent for name in PACKAGES]
    return [
        pytest.param(path, id=str(path.relative_to(folder.parent)))
        for folder in folders
        for path in sorted(folder.rglob("*.py"))
    ]


@pytest.mark.parametrize("path", modules())
def test_no_public_function_takes_more_than_eight_positional_or_keyword_parameters(path):
    wide = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args) if a.arg not in ("self", "cls")]
            if len(arguments) > WIDEST:
                wide.append((node.name, len(arguments)))
    assert not wide


def test_no_two_classes_have_one_name():
    homes: dict[str, list[str]] = {}
    for parameter in modules():
        (path,) = parameter.values
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(path.name)
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


@pytest.mark.parametrize(
    "package",
    [
        "msifr_policy",
        "msifr_sim",
        "msifr_calibration",
        "msifr_calibration.monitor",
        "msifr_policy.filters",
        "msifr_policy.validators",
        "msifr_integrations.embedded",
    ],
)
def test_a_face_shows_its_public_names_and_nothing_else(package):
    module = importlib.import_module(package)
    assert sorted(dir(module)) == sorted(module.__all__)
    for name in module.__all__:
        assert not inspect.ismodule(getattr(module, name)), name
    stub = Path(module.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    assert stub.count(" as ") == len(module.__all__)  # each name is written down once


def test_the_face_of_calibration_is_small():
    assert len(importlib.import_module("msifr_calibration").__all__) <= 9


def test_evaluate_is_the_function():
    from msifr_policy import evaluate

    assert callable(evaluate)
