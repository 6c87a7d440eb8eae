"""Libraries that a plain install leaves out: what needs one says so, with the extra of the package that brings it."""

import importlib

from msifr_policy.errors import InputError


def needs(module: str, *, extra: str, what: str, where: str = "") -> None:
    """Raise `InputError` unless `module` can be imported, naming the extra that brings it; `what` it is needed for.

    Call it where an option or a file asks for the module, before any work.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        library = error.name.partition(".")[0] if isinstance(error, ModuleNotFoundError) and error.name else ""
        why = f"{what} needs {library}" if library else f"{what} needs {module}, which cannot be imported: {error}"
        raise InputError(why, where=where, remedy=install(extra)) from error


def install(extra: str) -> str:
    """Return the command that installs the package with one of its extras."""
    return f"pip install 'msifr-policy[{extra}]'"
