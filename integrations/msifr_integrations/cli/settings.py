"""Settings: options from a file, for those that are always the same (`msifr help settings`)."""

import os
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from msifr_integrations.cli.console import prose
from msifr_policy.errors import InputError

FILE = "msifr.toml"
"""The file that is read in the working folder."""

VARIABLE = "MSIFR_SETTINGS"
"""The environment variable that names another."""

_MOST_BYTES = 1 << 20
_ON_THE_LINE_ALONE = ("json", "help", "settings")
_FOUND = "msifr.settings"


def with_settings(command: click.Command) -> click.Command:
    """Let a command take its options from a file, too; what the command line names comes first. Returns the command."""

    def read(ctx: click.Context, _: click.Parameter, given: str | None) -> None:
        path = given or os.environ.get(VARIABLE) or (FILE if os.path.isfile(FILE) else "")
        if not path or ctx.resilient_parsing:
            return
        tables = _read(path)
        root = ctx.find_root().command
        _check_tables(tables, root.commands if isinstance(root, click.Group) else {str(command.name): command}, path)
        table = tables.get(str(command.name), {})
        ctx.default_map = _values(command, table, path)
        ctx.meta[_FOUND] = path, table

    command.params.append(
        click.Option(
            ["--settings"],
            metavar="FILE",
            is_eager=True,
            expose_value=False,
            callback=read,
            help=f"Take options from this TOML file; by default {FILE} in the working folder, if it is there.",
        )
    )
    command.callback = _said(command, command.callback)
    return command


def _said(command: click.Command, callback: Callable[..., Any] | None) -> Callable[..., Any]:
    """Return the callback of a command, after a line that says which options came from a file."""

    @wraps(callback or _said)
    def said_first(*values: Any, **named: Any) -> Any:
        ctx = click.get_current_context()
        path, table = ctx.meta.get(_FOUND, ("", {}))
        taken = [
            f"{_key(param)} = {_shown(table[_key(param)])}"
            for param in command.params
            if param.name and ctx.get_parameter_source(param.name) is ParameterSource.DEFAULT_MAP
        ]
        if taken:
            prose(f"settings from {path}: {', '.join(taken)}", json=True)
        return None if callback is None else callback(*values, **named)

    return said_first


def _shown(value: Any) -> str:
    return ("false", "true")[value] if isinstance(value, bool) else repr(value)


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise InputError(f"larger than {_MOST_BYTES} bytes", where=path)
        return tomllib.loads(raw.decode())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path, remedy="name another") from error
    except (ValueError, RecursionError) as error:  # also of numbers that have more digits than Python reads
        raise InputError(f"no TOML: {error}", where=path, remedy="see msifr help settings") from error


def _check_tables(tables: Mapping[str, Any], commands: Mapping[str, click.Command], path: str) -> None:
    for name, table in tables.items():
        if name not in commands:
            what = "an option outside of the table of a command" if not isinstance(table, dict) else "no command"
            raise InputError(f"{name!r} is {what}", where=path, remedy=_near(name, commands))
        if not isinstance(table, dict):
            raise InputError(f"{name!r} must be a table, [{name}]", where=path)


def _near(name: str, known: Any) -> str:
    near = get_close_matches(name, list(known), n=3)
    return f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(known)}"


def _key(param: click.Parameter) -> str:
    """Return what the file calls an option: its longest name, without dashes."""
    return max(param.opts, key=len).lstrip("-")


def _values(command: click.Command, table: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return the values by names of parameters, as click takes them; each is checked as those of the command line."""
    options = {
        _key(param): param
        for param in command.params
        if isinstance(param, click.Option) and _key(param) not in _ON_THE_LINE_ALONE
    }
    values: dict[str, Any] = {}
    for key, value in table.items():
        where = f"{path}, [{command.name}] {key}"
        if key not in options:
            remedy = "belongs on the command line" if key in _ON_THE_LINE_ALONE else _near(key, options)
            raise InputError(f"msifr {command.name} has no such setting", where=where, remedy=remedy)
        values[str(options[key].name)] = _checked(options[key], value, where)
    return values


def _checked(option: click.Option, value: Any, where: str) -> Any:
    """Return the value of an option; raises `InputError` for one of another type, or outside of its range."""
    several = option.multiple
    if option.is_flag != isinstance(value, bool):
        raise InputError(f"{value!r} is not what it takes", where=where, remedy=_wanted(option))
    for each in value if several and isinstance(value, list) else [value]:
        if isinstance(each, list | dict):
            raise InputError(f"{each!r} is not what it takes", where=where, remedy=_wanted(option))
        try:
            option.type.convert(each if option.is_flag else str(each), option, None)
        except click.BadParameter as error:
            raise InputError(error.message, where=where, remedy=_wanted(option)) from None
    if several:
        return [str(each) for each in value] if isinstance(value, list) else [str(value)]
    return value if option.is_flag else str(value)


def _wanted(option: click.Option) -> str:
    if option.is_flag:
        return "true or false"
    return f"{'one or a list of ' if option.multiple else ''}{option.type.name}, as on the command line"


def check_settings(group: click.Group, path: str) -> None:
    """Raise `InputError` unless every table and setting of a file is one that a command of the group takes."""
    tables = _read(path)
    _check_tables(tables, group.commands, path)
    for name, table in tables.items():
        _values(group.commands[name], table, path)


def settings_file() -> Path | None:
    """Return the settings that are read if none are named, None if there are none."""
    path = os.environ.get(VARIABLE) or FILE
    return Path(path) if os.path.exists(path) else None
