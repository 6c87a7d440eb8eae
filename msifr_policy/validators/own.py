"""What users bring themselves, by MODULE:NAME: validators and functions that are in no package.

Modules are looked for in the working folder first, as by `python`. A policy file may name a class so, and a policy file
may come from anyone: of a file, nothing is imported that does not define that class.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from importlib.util import find_spec
from typing import Any

from msifr_policy.errors import InputError

MAX_NAME = 300
"""Characters of MODULE:NAME."""

_NAMED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def imported(named: str, *, where: str) -> Any:
    """Return what MODULE:NAME stands for. Raises `InputError` if there is none, whatever its module raises."""
    module, name = _split(named, where)
    with _working_folder_first():
        try:
            return getattr(import_module(module), name)
        except (Exception, SystemExit) as error:
            # Whatever the user's module raises while it is imported is the user's to mend.
            raise InputError(
                f"cannot be imported: {type(error).__name__}: {error}", where=where, remedy=_remedy(module)
            ) from error


def imported_class(named: str, *, where: str) -> Any:
    """Return the class that MODULE:NAME stands for, and import nothing whose text does not define it.

    Raises `InputError`.
    """
    module, name = _split(named, where)
    if module not in sys.modules and not _defines(module, name, where):
        raise InputError(f"{module} defines no class {name}", where=where, remedy=_remedy(module))
    return imported(named, where=where)


def name_of(cls: type[Any]) -> str:
    """Return MODULE:NAME of a class."""
    return f"{cls.__module__}:{cls.__qualname__}"


def _split(named: str, where: str) -> tuple[str, str]:
    if len(named) > MAX_NAME or not _NAMED.fullmatch(named):
        within = "define it at the top of a module of its own, not within a function"
        written = "such as my_rules:Repeats for the class Repeats in my_rules.py of the working folder"
        raise InputError("is no MODULE:NAME", where=where, remedy=within if "<locals>" in named else written)
    module, _, name = named.partition(":")
    return module, name


def _defines(module: str, name: str, where: str) -> bool:
    """Say whether the text of a module that is not imported yet defines a class of that name."""
    with _working_folder_first():
        try:
            spec = find_spec(module)
            if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
                raise ModuleNotFoundError(f"No module named {module!r}")
            with open(spec.origin, "rb") as file:
                tree = ast.parse(file.read())
        except Exception as error:
            raise InputError(
                f"cannot be read: {type(error).__name__}: {error}", where=where, remedy=_remedy(module)
            ) from error
    return any(isinstance(node, ast.ClassDef) and node.name == name for node in ast.walk(tree))


def _remedy(module: str) -> str:
    if module == "__main__":
        return "it was defined in the script that was run; put it into a module of its own"
    if module.endswith(".py"):
        return "name the module without .py"
    return f"run in the folder of {module.partition('.')[0]}, put that folder into PYTHONPATH, or install its package"


@contextmanager
def _working_folder_first() -> Iterator[None]:
    folder = os.getcwd()
    sys.path.insert(0, folder)
    invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)
