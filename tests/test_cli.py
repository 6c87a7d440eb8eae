"""The command line: the contract of its JSON, its words for people, and its errors."""

import json

import pytest
from click.testing import CliRunner

from makers import make_traces
from msifr_integrations.cli import main
from msifr_integrations.cli.options import parse_schedule
from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import EveryUnits, Geometric, NewlineSteps
from msifr_policy.records.traces import write_traces

CONTRACT = {
    "n_attempts", "n_prompts", "n_accepted", "unit", "cost_full", "cost_policy", "saving_rate", "saving_rate_ci",
    "false_reject_rate", "false_reject_rate_ci", "net_cost_factor", "net_cost_factor_ci", "length_cap_factor",
    "oracle_factor", "discards_by_reason", "by_checkpoint", "certificate",
}  # fmt: skip


def run(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output + str(result.exception)
    return result


def last_json(result):
    return json.loads(result.stdout[result.stdout.index("{") :])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    traces = make_traces(700, seed=11)
    write_traces(folder / "train.jsonl.gz", traces[:450])
    write_traces(folder / "test.jsonl", traces[450:])
    run("fit", folder / "train.jsonl.gz", "-o", folder / "policy.json", "--seed", 0)
    return folder


def test_score_builds_the_table_and_counts_dead_attempts(files):
    out = files / "table.parquet"
    record = last_json(run("score", files / "test.jsonl", "-o", out, "--json"))
    assert record["n_attempts"] == 250
    assert out.stat().st_size > 0
    assert 0 < record["n_dead"] <= sum(record["n_dead_by_validator"].values())
    assert record["unit"] == "tokens"
    assert "250 attempts" in run("score", files / "test.jsonl").stdout


def test_the_validators_can_be_chosen(files):
    record = last_json(run("score", files / "test.jsonl", "--validators", "repetition, length", "--json"))
    assert record["n_dead_by_validator"].keys() == {"repetition", "length"}
    assert {name.split(".")[0] for name in record["columns"]} == {"repetition", "length"}


def test_fit_says_what_was_certified(files):
    out = files / "again.json"
    result = run("fit", files / "train.jsonl.gz", "-o", out, "--max-false-reject", 0.05, "--confidence", 0.9, "--json")
    record = last_json(result)
    assert record["certificate"]["certified"] is True
    assert record["certificate"]["bias_bound"] == 0.05
    assert out.read_bytes() == (files / "policy.json").read_bytes()  # same data and seed, same file
    assert "with confidence 0.9" in result.stderr


def test_fit_with_too_few_samples_holds_never_discard_and_exits_well(files, tmp_path):
    few = tmp_path / "few.jsonl"
    write_traces(few, make_traces(40, seed=3))
    result = run("fit", few, "-o", tmp_path / "p.json")
    assert "at least 45 are needed" in result.stdout
    evaluated = last_json(run("evaluate", tmp_path / "p.json", files / "test.jsonl", "--json"))
    assert evaluated["saving_rate"] == 0
    assert evaluated["net_cost_factor"] == 1
    assert evaluated["certificate"]["certified"] is False


@pytest.mark.parametrize("command", ["evaluate", "simulate"])
def test_evaluate_and_simulate_print_the_contract(files, command):
    record = last_json(run(command, files / "policy.json", files / "test.jsonl", "--json"))
    assert record.keys() >= CONTRACT
    assert record["net_cost_factor_ci"][0] <= record["net_cost_factor"] <= record["net_cost_factor_ci"][1] < 1
    assert sum(record["discards_by_reason"].values()) == sum(c["discarded"] for c in record["by_checkpoint"])
    if command == "simulate":
        assert record["exact"]["standard_errors"] < 5
        assert record["replay"]["saving_rate"] == pytest.approx(record["exact"]["saving_rate"], abs=0.05)
    people = run(command, files / "policy.json", files / "test.jsonl").stdout
    assert "net cost factor" in people
    assert "false-reject rate" in people


def test_simulate_the_hazard_model_before_any_trace_exists():
    record = last_json(run("simulate", "--stages", 3, "--hazard", "0.1,0.2,0.3", "--attempts", 5000, "--json"))
    assert record.keys() >= CONTRACT
    assert record["certificate"] is None
    assert record["exact"]["standard_errors"] < 5


def test_evaluating_on_the_fitting_traces_is_remarked(files):
    result = run("simulate", files / "policy.json", files / "train.jsonl.gz")
    assert "fitted or certified on" not in result.stdout  # the whole file is neither part


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("evaluate", "missing.json", "missing.jsonl"), "missing.json: cannot be read"),
        (("simulate", "POLICY"), "TRACES are missing"),
        (("simulate", "--hazard", "2"), "hazard 2.0"),
        (("score", "missing.jsonl"), "missing.jsonl: no such file"),
        (("score", "TEST", "--schedule", "daily"), "unknown schedule 'daily'"),
        (("score", "TEST", "--schedule", "every:5:tokens", "--tokenizer", "missing-tokenizer"), "missing-tokenizer"),
        (("score", "TEST", "--validators", "length,magic"), "unknown validators magic"),
        (("fit", "TEST", "-o", "OUT", "--max-false-reject", "0"), "false-reject budget"),
        (("fit", "TEST", "-o", "OUT", "--confidence", "1"), "confidence 1.0"),
        (("fit", "TEST", "-o", "OUT", "--certify-share", "1"), "share 1.0"),
    ],
)
def test_errors_are_one_line_that_says_what_and_what_to_do(files, arguments, says):
    names = {"POLICY": files / "policy.json", "TEST": files / "test.jsonl", "OUT": files / "never.json"}
    result = run(*(names.get(a, a) for a in arguments), code=2)
    assert result.stderr.strip().splitlines()[-1].startswith("error: ")
    assert says in result.stderr
    assert not (files / "never.json").exists()


def test_usage_mistakes_are_answered_by_usage(files):
    assert "not a number" in run("simulate", "--hazard", "often", code=2).stderr
    assert "Missing argument" in run("fit", "-o", files / "x.json", code=2).stderr


def test_malformed_traces_stop_or_are_skipped_and_counted(files, tmp_path):
    path = tmp_path / "broken.jsonl"
    path.write_text((files / "test.jsonl").read_text() + '{"id": "x"}\n')
    assert "line 251" in run("score", path, code=2).stderr
    result = run("score", path, "--on-error", "skip", "--json")
    record = last_json(result)
    assert (record["n_attempts"], record["n_skipped"]) == (250, 1)
    assert "skipped 1 malformed records" in result.stderr


def test_every_command_explains_itself():
    top = run("--help").stdout
    for command in main.commands:
        assert command in top
        assert run(command, "--help").stdout.count("\n") > 5
    assert "version" in run("--version").stdout


def test_schedules_have_a_word_each():
    assert parse_schedule("every:64") == EveryUnits(64, "characters")
    assert parse_schedule("every:8:tokens") == EveryUnits(8, "tokens")
    assert parse_schedule("geometric:32:1.5:tokens") == Geometric(32, 1.5, "tokens")
    assert parse_schedule("newline:20") == NewlineSteps(20)
    assert parse_schedule("newline") == NewlineSteps()
    for word in ("every", "every:x", "geometric:3", "every:5:words", "every:0"):
        with pytest.raises(InputError):
            parse_schedule(word)


def test_generate_with_and_without_a_policy_and_compare(tmp_path):
    """On the embedded model: the contract of --json, the paired comparison, and a resume that does nothing again."""
    import msgspec

    from msifr_integrations.embedded import embedded_samples_path, problems

    samples = embedded_samples_path()
    run("fit", samples, "-o", tmp_path / "p.json", "--max-false-reject", 0.1, "--schedule", "newline")
    with open(tmp_path / "prompts.jsonl", "wb") as file:
        for problem in problems(77, 12):
            fields = {name: getattr(problem, name) for name in ("prompt_id", "prompt", "gold", "group")}
            file.write(msgspec.json.encode(fields) + b"\n")
    common = ("--model", "embedded", "--prompts", tmp_path / "prompts.jsonl", "--attempts", 2, "--max-new-tokens", 200)
    full = last_json(run("generate", *common, "--policy", "none", "-o", tmp_path / "full.jsonl", "--json"))
    keys = {
        "attempts", "accepted", "discarded", "tokens", "tokens_wasted_after_decision", "tokens_per_accepted", "seconds",
    }  # fmt: skip
    assert full.keys() == keys
    assert (full["attempts"], full["discarded"]) == (24, 0)
    arguments = (*common, "--policy", tmp_path / "p.json", "-o", tmp_path / "out.jsonl", "--json")
    partial = last_json(run("generate", *arguments, "--compare", tmp_path / "full.jsonl"))
    assert partial.keys() == keys | {"conversion_efficiency"}
    assert partial["discarded"] > 0
    assert partial["tokens"] < full["tokens"]
    assert partial["tokens_wasted_after_decision"] == 0
    before = (tmp_path / "out.jsonl").read_bytes()
    again = last_json(run("generate", *arguments))
    assert (tmp_path / "out.jsonl").read_bytes() == before
    assert again["tokens"] == partial["tokens"]
    # What a run without policy wrote can be fitted on; what a policy cut short cannot.
    run("score", tmp_path / "full.jsonl")
    assert "discarded attempt has none" in run("score", tmp_path / "out.jsonl", code=2).stderr


def test_fit_with_a_learned_posterior_writes_weights_beside_the_policy(files, tmp_path, monkeypatch):
    from msifr_calibration.beliefs import network as learned

    monkeypatch.setattr(learned, "_STEPS_AT_LEAST", 60)
    few = tmp_path / "few.jsonl"
    write_traces(few, make_traces(140, seed=5))
    out = tmp_path / "p.json"
    record = last_json(
        run(
            "fit",
            few,
            "-o",
            out,
            "--posterior",
            "learned",
            "--validators",
            "length",
            "--max-false-reject",
            0.2,
            "--json",
        )
    )
    assert record["posterior"]["method"] == "learned"
    assert record["posterior"]["log_loss"] < record["posterior"]["base_loss"]
    assert len(list(tmp_path.glob("p.*.safetensors"))) == 1
    evaluated = last_json(run("evaluate", out, files / "test.jsonl", "--json"))
    assert evaluated["net_cost_factor"] <= 1


def test_families_fitted_together_get_a_policy_each(tmp_path):
    for seed in (1, 2):
        write_traces(tmp_path / f"model-{seed}.jsonl", make_traces(200, seed=seed))
    out = tmp_path / "policies"
    record = last_json(run("fit", *sorted(tmp_path.glob("*.jsonl")), "-o", out, "--together", "--json"))
    assert record["policies"].keys() == {"model-1", "model-2"}
    assert {path.name for path in out.iterdir()} == {"model-1.json", "model-2.json"}
    assert record["certificates"]["model-1"]["pool"] == ["model-1", "model-2"]
    (tmp_path / "more").mkdir()
    write_traces(tmp_path / "more" / "model-1.jsonl", make_traces(20, seed=3))
    twice = run("fit", tmp_path / "model-1.jsonl", tmp_path / "more", "-o", out, "--together", code=2)
    assert "two files have the same name" in twice.stderr


def test_validators_with_parameters_come_from_a_file(files, tmp_path):
    named = tmp_path / "validators.json"
    named.write_text(
        '[{"name": "length", "parameters": {"cap": 40}}, {"name": "regular", "parameters": {"pattern": "a*"}}]'
    )
    record = last_json(run("score", files / "test.jsonl", "--validators", named, "--json"))
    assert record["n_dead_by_validator"].keys() == {"length", "regular"}
    assert record["n_dead"] == record["n_attempts"]
    named.write_text('[{"name": "length", "parameters": {"cap": 0}}]')
    assert "cap" in run("score", files / "test.jsonl", "--validators", named, code=2).stderr
