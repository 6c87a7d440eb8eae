"""JSON Schemas: made from the records, and obeyed by every document that every command really prints."""

import json
import shutil

import pytest
from jsonschema import Draft202012Validator

from commands import last_json, run
from fake_server import FakeServer
from given import SERVER, arguments_of, examples_of, fill
from msifr_integrations.cli import main
from msifr_integrations.cli.schema import FOLDER, generate, kinds, names, text_of

INTERNAL = {"Blend", "CheckpointGroup", "Knots", "LinearModel", "Network"}
"""Coefficients of beliefs: their records say what they are."""


def check(name, document):
    found = Draft202012Validator(json.loads(text_of(name))).iter_errors(document)
    errors = [f"{error.json_path}: {error.message:.300}" for error in found]
    assert not errors, (name, errors)


def schema_of(arguments):
    if arguments[:1] == ["fit"] and "--together" in arguments:
        return "fit-together"
    return arguments[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    how = ("--max-false-reject", 0.2, "--posterior", "linear")
    fill(folder, lambda: run("fit", folder / "traces.jsonl.gz", *how, "-o", folder / "policy.json"))
    return folder


@pytest.mark.parametrize("name", sorted(kinds()))
def test_the_schemas_in_the_package_are_those_of_the_records(name):
    assert text_of(name) == generate(name), "python -m msifr_integrations.cli.schema writes them anew"
    Draft202012Validator.check_schema(json.loads(text_of(name)))


def test_every_command_has_a_schema_and_every_schema_a_kind():
    assert set(main.commands) <= set(names())
    assert set(names()) == set(kinds())
    assert {path.suffix for path in FOLDER.iterdir()} == {".json", ".toml"}


@pytest.mark.parametrize("name", sorted(kinds()))
def test_every_field_is_described(name):
    schema = json.loads(text_of(name))
    assert schema["description"]
    for record, each in {name: schema, **schema.get("$defs", {})}.items():
        if record not in INTERNAL:
            bare = [field for field, told in each.get("properties", {}).items() if not told.get("description")]
            assert not bare, record


@pytest.mark.parametrize("example", examples_of(main))
def test_examples_of_help_texts_work_and_print_what_their_schema_says(folder, tmp_path, monkeypatch, example):
    arguments = arguments_of(example)
    shutil.copytree(folder, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    if "-o" in arguments and arguments.count(to := arguments[arguments.index("-o") + 1]) == 1:
        for left in (tmp_path / "work").glob(to.removesuffix(".jsonl") + ".*"):
            left.unlink()
    if arguments[0] == "generate":
        arguments += ["--max-new-tokens", "40", "--attempts", "2"]
    with FakeServer(length=12) as server:
        arguments = [server.url if word == SERVER else word for word in arguments]
        result = run(*arguments, *(["--json"] if not (arguments[0] == "schema" and len(arguments) > 1) else []))
    document = last_json(result)
    if arguments[0] == "schema" and len(arguments) > 1:
        assert document == json.loads(text_of(arguments[1]))
    else:
        check(schema_of(arguments), document)


def test_documents_that_no_example_prints(folder, tmp_path):
    few = ("--max-false-reject", 0.2, "--posterior", "linear", "--json")
    both = (folder / "traces.jsonl.gz", folder / "more-traces.jsonl")
    check("fit-together", last_json(run("fit", *both, "--together", "-o", tmp_path / "policies", *few)))
    strict = ("--max-false-reject", 0.001, "--posterior", "linear", "--json")
    nothing = run("fit", folder / "more-traces.jsonl", "-o", tmp_path / "p.json", *strict)
    assert last_json(nothing)["savings"] is None
    check("fit", last_json(nothing))
    # Every good attempt is flagged at once: nothing is kept, and the factor is not a number.
    lost = run("simulate", "--stages", 2, "--false-alarm", 1, "--detection", 1, "--attempts", 50, "--json")
    assert last_json(lost)["exact"]["net_cost_factor"] is None
    check("simulate", last_json(lost))


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("fit", "missing.jsonl", "-o", "x.json"), "no such file or folder"),
        (("fit", "--nonsense"), "No such option '--nonsense'"),
        (("nonsense",), "No such command 'nonsense'"),
        (("help", "nonsense"), "no term"),
    ],
)
def test_errors_are_documents_under_json_and_a_line_for_people(tmp_path, monkeypatch, arguments, what):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments, "--json", code=2)
    document = last_json(result)
    check("error", document)
    assert what in document["error"]["what"]
    assert what in result.stderr
    assert not run(*arguments, code=2).stdout


def test_lines_of_files_are_what_their_schemas_say(folder):
    import gzip

    check("policy", json.loads((folder / "policy.json").read_text()))
    for name, path in (
        ("prompt", folder / "prompts.jsonl"), ("output", folder / "run.jsonl"), ("output", folder / "full.jsonl"),
        ("ledger", folder / "run.ledger.jsonl"), ("trace", folder / "more-traces.jsonl"),
    ):  # fmt: skip
        records = [json.loads(line) for line in path.read_text().splitlines()]
        assert records
        for record in records:
            check(name, record)
    with gzip.open(folder / "traces.jsonl.gz", "rt") as packed:
        check("trace", json.loads(packed.readline()))


def test_a_schema_that_is_none_is_answered_with_those_that_are():
    assert "known: audit, completion, convert" in run("schema", "evalute", code=2).stderr
