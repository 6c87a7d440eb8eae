"""`msifr schema`: JSON Schemas (draft 2020-12) of what commands print and of the files they read and write.

They are made from the records themselves: `python -m msifr_integrations.cli.schema` writes them anew into the package.
"""

import inspect
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import msgspec

from msifr_integrations.cli.console import emit, examples, prose
from msifr_integrations.cli.options import json_option
from msifr_policy.errors import InputError

FOLDER = Path(__file__).parents[1] / "schemas"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
_ENDING = ".schema.json"

_UNDEFINED = ("Agreement", "LengthCap", "FrontierPoint", "Trace")
"""Records with numbers that may be infinite or undefined; such are written as null."""


class SchemaLine(msgspec.Struct, frozen=True):
    """A schema, and what it describes in a sentence."""

    name: str
    about: str


class SchemaList(msgspec.Struct, frozen=True):
    """What `msifr schema --json` prints without a name: which schemas there are."""

    schemas: list[SchemaLine]


def _complete(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    return [name for name in names() if name.startswith(begun)]


@click.command(epilog=examples("msifr schema", "msifr schema evaluate", "msifr schema trace > trace.schema.json"))
@click.argument("name", required=False, shell_complete=_complete)
@json_option
def schema(name: str | None, as_json: bool) -> None:
    """Print the JSON Schema of a command's --json document, or of a file; without NAME, which there are."""
    if name is not None:
        click.echo(text_of(name), nl=False)
        return
    lines = [SchemaLine(each, _about(each)) for each in names()]
    widest = max(len(line.name) for line in lines)
    if as_json:
        emit(SchemaList(lines))
    else:
        prose(*(f"{line.name:{widest}}  {line.about}" for line in lines))


def names() -> list[str]:
    """Return the names of the schemas in the package."""
    return sorted(path.name.removesuffix(_ENDING) for path in FOLDER.glob(f"*{_ENDING}"))


def text_of(name: str) -> str:
    """Return a schema as it is in the package. Raises `InputError` for a name that is none."""
    if name not in names():
        raise InputError(f"there is no schema {name!r}", where="msifr schema", remedy=f"known: {', '.join(names())}")
    return (FOLDER / f"{name}{_ENDING}").read_text(encoding="utf-8")


def _about(name: str) -> str:
    told = str(msgspec.json.decode(text_of(name)).get("description", ""))
    return " ".join(told.split("\n\n")[0].split())


def kinds() -> dict[str, tuple[Any, str]]:
    """Return by name of a schema the type it is made from, and what to say of it if the type has no docstring."""
    from msifr_calibration.sample_size import SamplePlan
    from msifr_integrations.cli import documents
    from msifr_integrations.cli.completion import CompletionDocument
    from msifr_integrations.cli.console import ErrorDocument
    from msifr_integrations.cli.doctor import DoctorDocument
    from msifr_integrations.cli.help import HelpDocument
    from msifr_integrations.formats.export import Exported
    from msifr_integrations.formats.importing.convert import Converted
    from msifr_integrations.formats.judged_file import JudgedFile
    from msifr_integrations.generation.auditing import AuditReport
    from msifr_integrations.generation.journal import AttemptRecord
    from msifr_integrations.generation.merge import Merged
    from msifr_integrations.report.numbers import ReportNumbers
    from msifr_policy.filters import Prompt
    from msifr_policy.policy_file import PolicyFile
    from msifr_policy.records.ledger import Entry, Header, Session, Steer
    from msifr_policy.records.traces import Trace

    return {
        "plan": (SamplePlan, ""),
        "convert": (Converted, ""),
        "judge": (JudgedFile, ""),
        "score": (documents.ScoreDocument, ""),
        "fit": (documents.FitDocument, ""),
        "fit-together": (documents.FitTogetherDocument, ""),
        "evaluate": (documents.EvaluateDocument, ""),
        "simulate": (documents.SimulateDocument, ""),
        "generate": (documents.GenerateDocument, ""),
        "audit": (AuditReport, ""),
        "merge": (Merged, ""),
        "export": (Exported, ""),
        "report": (ReportNumbers, ""),
        "help": (HelpDocument, ""),
        "doctor": (DoctorDocument, ""),
        "completion": (CompletionDocument, ""),
        "schema": (SchemaList, ""),
        "error": (ErrorDocument, ""),
        "trace": (Trace, "A line of a file of traces: one finished attempt."),
        "prompt": (Prompt, "A line of a file of prompts."),
        "output": (AttemptRecord, "A line of the output of a run, OUT.jsonl: one attempt."),
        "ledger": (Header | Entry | Session | Steer, "A line of the ledger of a run, OUT.ledger.jsonl."),
        "policy": (PolicyFile, "A policy file."),
    }


def generate(name: str) -> str:
    """Return the schema of that name as made from its type, with a description for every field that has one."""
    kind, about = kinds()[name]
    (made,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    definitions = {key: _described(key, each) for key, each in sorted(components.items())}
    own = definitions.pop(made["$ref"].rpartition("/")[2]) if "$ref" in made else made
    told = {"description": "\n\n".join([text for text in (about, own.get("description", "")) if text])}
    schema: dict[str, Any] = {"$schema": DRAFT, **own, **told, "title": f"msifr {name}"}
    if definitions:
        schema["$defs"] = definitions
    return msgspec.json.format(msgspec.json.encode(schema), indent=1).decode() + "\n"


def _described(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a record with tidy texts, and its fields described."""
    result = dict(schema)
    if "description" in result:
        result["description"] = inspect.cleandoc(result["description"])
    everywhere, own = _fields(""), _fields(name)
    if "properties" in result:
        result["properties"] = {
            field: (_nullable(each) if name in _UNDEFINED else each)
            | ({"description": told} if (told := own.get(field, everywhere.get(field))) else {})
            for field, each in result["properties"].items()
        }
    return result


def _nullable(schema: Any) -> Any:
    """Return a schema in which numbers may be null."""
    if isinstance(schema, list):
        return [_nullable(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _nullable(value) for key, value in schema.items()}
    if result == {"type": "number"} or (result.get("type") == "number" and "default" in result):
        return {**result, "type": ["number", "null"]}
    return result


@cache
def _fields(record: str) -> dict[str, str]:
    """Return what fields of a record mean, "" for those of every record."""
    told: dict[str, Any] = tomllib.loads((FOLDER / "fields.toml").read_text(encoding="utf-8"))
    texts = told.get(record, {}) if record else {name: text for name, text in told.items() if isinstance(text, str)}
    return dict(texts)


def _write() -> Iterator[str]:
    for name in kinds():
        (FOLDER / f"{name}{_ENDING}").write_text(generate(name), encoding="utf-8")
        yield name


if __name__ == "__main__":
    prose(*_write())
