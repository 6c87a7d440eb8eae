"""The command line: the contract of its JSON, its words for people, and its errors."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from commands import last_json, run
from makers import make_table, make_traces
from msifr_calibration import Family, fit_families, fit_policy
from msifr_integrations.cli import main
from msifr_integrations.cli.words import parse_schedule
from msifr_integrations.generation.inputs import PROMPT_EXAMPLE, read_prompts
from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import EveryUnits, Geometric, NewlineSteps
from msifr_policy.filters import Prompt
from msifr_policy.policy_file import SCHEMA_VERSION
from msifr_policy.records.traces import write_traces

CONTRACT = {
    "n_attempts", "n_prompts", "n_accepted", "unit", "cost_full", "cost_policy", "saving_rate", "saving_rate_ci",
    "false_reject_rate", "false_reject_rate_ci", "net_cost_factor", "net_cost_factor_ci", "length_cap_factor",
    "accepted_cost_share", "discards_by_reason", "by_checkpoint", "certificate", "ci_level", "weigh",
    "attempts_per_prompt", "n_effective",
}  # fmt: skip


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
        assert (record["n_attempts"], record["replay"]["n_attempts"]) == (20_000, 250)  # drawn, and the traces
        assert record["replay"]["saving_rate"] == pytest.approx(record["exact"]["saving_rate"], abs=0.05)
    people = run(command, files / "policy.json", files / "test.jsonl").stdout
    assert "net cost factor" in people
    assert "false-reject rate" in people


def test_simulate_the_hazard_model_before_any_trace_exists():
    record = last_json(run("simulate", "--stages", 3, "--hazard", "0.1,0.2,0.3", "--attempts", 5000, "--json"))
    assert record.keys() >= CONTRACT
    assert record["certificate"] is None
    assert record["exact"]["standard_errors"] < 5


@pytest.mark.parametrize("attempts", [slice(0, 450), slice(0, 450, 2), slice(449, 460)], ids=["all", "part", "overlap"])
def test_prompts_that_the_policy_has_seen_are_remarked(files, tmp_path, attempts):
    """The whole file, any part of it, or any of its prompts among others, also under other trace ids."""
    traces = [msgspec.structs.replace(t, id=f"again {t.id}") for t in make_traces(700, seed=11)[attempts]]
    write_traces(tmp_path / "again.jsonl", traces)
    seen = len([t for t in traces if int(t.prompt_id[1:]) < 450])
    result = run("evaluate", files / "policy.json", tmp_path / "again.jsonl")
    assert f"has seen {seen} of these {len(traces)} prompts" in " ".join(result.stdout.split())
    assert "has seen" not in run("evaluate", files / "policy.json", files / "test.jsonl").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("evaluate", "missing.json", "missing.jsonl"), "missing.json: cannot be read"),
        (("simulate", "POLICY"), "TRACES are missing"),
        (("simulate", "--hazard", "2"), "--hazard: (2.0,"),
        (("score", "missing.jsonl"), "missing.jsonl: no such file"),
        (("score", "TEST", "--schedule", "daily"), "unknown schedule 'daily'"),
        (("score", "TEST", "--schedule", "every:5:tokens", "--tokenizer", "missing-tokenizer"), "missing-tokenizer"),
        (("score", "TEST", "--validators", "length,magic"), "unknown validators magic"),
        (("fit", "TEST", "-o", "OUT", "--max-false-reject", "0"), "max_false_reject = 0 must lie"),
        (("fit", "TEST", "-o", "OUT", "--confidence", "1"), "confidence = 1 must lie"),
        (("fit", "TEST", "-o", "OUT", "--certify-share", "1"), "certify_share = 1 must lie"),
        (("fit", "missing.jsonl", "-o", "OUT", "--confidence", "90"), "did you mean 0.9?"),
        (("fit", "missing.jsonl", "-o", "OUT", "--seed", "-1"), "seed = -1 must not be negative"),
        (("fit", "missing.jsonl", "-o", "OUT", "--schedule", "daily"), "unknown schedule"),
        (("fit", "TEST", "-o", "FOLDER"), "is a folder, where a file is meant"),
        (("fit", "TEST", "-o", "TEST", "--together"), "is a file, where a folder is meant"),
        (("fit", "TEST", "-o", "TEST/policy.json"), "below a file"),
        (("score", "TEST", "-o", "FOLDER"), "is a folder, where a file is meant"),
        (("simulate", "--stage-cost", "0"), "attempts cost nothing"),
        (("simulate", "--hazard", "often"), "is not a number"),
        (("simulate", "--stage-cost", "nan"), "--stage-cost: (nan,"),
        (("simulate", "--accept-clean", "2"), "--accept-clean: (2.0,) must lie between 0 and 1"),
        (("simulate", "--stages", "3", "--hazard", "0.1,0.2"), "--hazard: 2 values for 3 stages"),
        (("fit", "TEST", "-o", "TEST"), "is one of the inputs"),
        (("score", "TEST", "-o", "TEST"), "is one of the inputs"),
        (("fit", "TEST", "-o", "/dev/stdout", "--json"), "is where --json prints"),
        (("fit", "TEST", "-o", "OUT", "--holdout", "nan"), "holdout = nan"),
        (("fit", "TEST", "-o", "OUT", "--holdout", "0.99999"), "no prompts are left to fit on"),
        (("score", "TEST", "--validators", ""), "unknown validators ''"),
        (("evaluate", "/dev/zero", "TEST"), "larger than"),
    ],
)
def test_errors_are_one_line_that_says_what_and_what_to_do(files, arguments, says):
    names = {
        "POLICY": files / "policy.json",
        "TEST": files / "test.jsonl",
        "OUT": files / "never.json",
        "FOLDER": files,
    }
    arguments = [str(files / "test.jsonl" / "policy.json") if a == "TEST/policy.json" else a for a in arguments]
    result = run(*(names.get(a, a) for a in arguments), code=2)
    assert result.stderr.strip().splitlines()[-1].startswith("error: ")
    assert says in result.stderr
    assert not (files / "never.json").exists()


def test_usage_mistakes_are_answered_by_usage(files):
    assert "--seed" in run("simulate", "--seed", "-1", code=2).stderr
    assert "Missing argument" in run("fit", "-o", files / "x.json", code=2).stderr


def test_malformed_traces_stop_or_are_skipped_and_counted(files, tmp_path):
    path = tmp_path / "broken.jsonl"
    path.write_text((files / "test.jsonl").read_text() + '{"id": "x"}\n')
    assert "line 251" in run("score", path, code=2).stderr
    result = run("score", path, "--on-error", "skip", "--json")
    record = last_json(result)
    assert (record["n_attempts"], record["n_skipped"]) == (250, 1)
    assert "skipped 1 malformed records" in result.stderr


def test_why_no_trace_is_left_is_said(tmp_path):
    """That there are none is not what is wrong."""
    path = tmp_path / "samples.jsonl"
    path.write_text('{"doc_id": 0, "resps": [["4"]]}\n' * 3)
    for more in ((), ("--schedule", "every:64")):
        said = run("score", path, "--on-error", "skip", *more, code=2).stderr
        assert "all 3 records are malformed; the first: " in said
        assert "lm-evaluation-harness" in said


@pytest.mark.parametrize("command", ["evaluate", "simulate"])
@pytest.mark.parametrize("name", ["train.jsonl.gz", "test.jsonl"])
def test_the_wrong_order_is_said(files, command, name):
    said = run(command, files / name, files / "policy.json", code=2).stderr
    assert "holds traces, not a policy (POLICY comes first" in said
    if command == "simulate":
        assert "holds traces, not a policy" in run(command, files / name, code=2).stderr
    said = run(command, files / "policy.json", files / "policy.json", code=2).stderr
    assert "is a policy file, not traces (POLICY comes before TRACES)" in said
    (files / "neither.json").write_text('{"prompt_id": "p", "prompt": "q"}')
    assert "not a policy file" in run(command, files / "neither.json", files / "test.jsonl", code=2).stderr


def test_what_generate_is_given_in_the_place_of_another(files, tmp_path):
    (tmp_path / "p.jsonl").write_text(PROMPT_EXAMPLE)
    usual = {"--model": "none-such", "--prompts": tmp_path / "p.jsonl", "--policy": "none", "-o": tmp_path / "o.jsonl"}
    for changed, says in (
        ({"--policy": files / "test.jsonl"}, "holds traces, not a policy"),
        ({"--policy": "None"}, "model 'none-such': cannot be loaded"),
        ({"--model": "http://localhost:8000"}, "is the address of a server, not a model (use --server URL)"),
        ({"--prompts": files / "policy.json"}, "policy.json, line 1: the record does not end in its line"),
    ):
        arguments = [word for pair in (usual | changed).items() for word in pair]
        assert says in run("generate", *arguments, code=2).stderr
        assert not list(tmp_path.glob("o*"))


def test_every_command_explains_itself():
    top = run("--help").stdout
    for command in main.commands:
        assert command in top
        assert run(command, "--help").stdout.count("\n") > 5
    assert "version" in run("--version").stdout


@pytest.mark.parametrize("command", ["score", "fit", "evaluate", "simulate"])
def test_help_shows_what_a_trace_is(command):
    said = run(command, "--help").stdout
    for field in ("prompt_id", "text", "correct", "token_ends", "logprobs"):
        assert field in said
    assert '{"id":' in said  # an example to copy


def test_help_shows_what_a_prompt_is(tmp_path):
    said = run("generate", "--help").stdout
    for field in Prompt.__struct_encode_fields__:
        assert field in said.split("--help")[-1]
    assert PROMPT_EXAMPLE in said
    (tmp_path / "pasted.jsonl").write_text(PROMPT_EXAMPLE)
    assert [prompt.prompt_id for prompt in read_prompts(tmp_path / "pasted.jsonl")] == ["p1"]


def test_help_says_which_share_certifies_by_default():
    said = " ".join(run("fit", "--help").stdout.split())
    assert "default: as many as count, near 0.8 with pretrained beliefs, near 0.5 with others or --together" in said
    table = make_table(400)
    assert fit_policy(table).certifying.n_prompts == pytest.approx(200, abs=40)
    assert fit_families([Family("a", table)])[0].certifying.n_prompts == pytest.approx(200, abs=40)


def test_numbers_are_explained_where_they_are_printed(files):
    said = run("evaluate", files / "policy.json", files / "test.jsonl").stdout
    for meaning in (
        "s = ", "share of all tokens that is not spent", "f = ", "share of the good samples that is lost",
        "with the policy, over what it costs without; it pays below 1", "stopping every attempt at one length",
        "if exactly the attempts that are not accepted never began", "by resampling prompts", "msifr help s f factor",
    ):  # fmt: skip
        assert meaning in said


def test_whom_rates_weigh_equally_is_said_where_attempts_per_prompt_differ(files, tmp_path):
    traces = make_traces(60, seed=4, attempts=2)
    write_traces(tmp_path / "equal.jsonl", traces)
    write_traces(tmp_path / "unequal.jsonl", traces[:-30:2] + traces[-30:])
    record = last_json(run("evaluate", files / "policy.json", tmp_path / "unequal.jsonl", "--json"))
    assert (record["weigh"], record["attempts_per_prompt"]) == ("prompts", [1, 2])
    said = run("evaluate", files / "policy.json", tmp_path / "unequal.jsonl").stdout
    assert "share of the good samples that is lost by it, prompts weighing equally" in said
    assert f"that of f exact, as of {record['n_effective']:.0f} independent samples" in said
    assert record["false_reject_rate_ci"][1] > 0
    assert "weighing equally" not in run("evaluate", files / "policy.json", tmp_path / "equal.jsonl").stdout


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
        "attempts", "accepted", "discarded", "skipped", "exited", "failed", "tokens", "tokens_wasted_after_decision",
        "tokens_beside", "tokens_per_accepted", "tokens_saved_estimate", "prompt_tokens", "prompt_tokens_beside",
        "prompts_counted", "seconds", "cpu_seconds", "audited", "n_effective",
    }  # fmt: skip
    assert full.keys() == keys
    assert (full["attempts"], full["discarded"]) == (24, 0)
    arguments = (*common, "--policy", tmp_path / "p.json", "-o", tmp_path / "out.jsonl", "--json")
    partial = last_json(run("generate", *arguments, "--compare", tmp_path / "full.jsonl"))
    compared = {"conversion_efficiency", "conversion_efficiency_cpu", "survivors", "survivors_changed", "compared"}
    assert partial.keys() == keys | compared
    assert partial["survivors_changed"] == 0
    assert partial["compared"]["saving_rate"] == pytest.approx(1 - partial["tokens"] / full["tokens"])
    said = run("generate", *arguments[:-1], "--compare", tmp_path / "full.jsonl").stdout
    assert f"measured beside the run without the policy: s = {partial['compared']['saving_rate']:.1%} [" in said
    assert partial["discarded"] > 0
    assert partial["tokens"] < full["tokens"]
    assert partial["tokens_wasted_after_decision"] == 0
    before = (tmp_path / "out.jsonl").read_bytes()
    again = last_json(run("generate", *arguments))
    assert (tmp_path / "out.jsonl").read_bytes() == before
    assert again["tokens"] == partial["tokens"]
    # What a run without policy wrote can be fitted on; what a policy cut short cannot.
    run("score", tmp_path / "full.jsonl")
    for on_error in ("raise", "skip"):  # discarded attempts are not malformed records
        refused = run("score", tmp_path / "out.jsonl", "--on-error", on_error, code=2).stderr
        assert "its survivors do not stand for all attempts" in refused


def test_fit_with_a_learned_posterior_writes_weights_beside_the_policy(files, tmp_path):
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


def test_savings_are_told_on_prompts_neither_fitted_nor_certified_on(files, tmp_path):
    out = tmp_path / "p.json"
    record = last_json(run("fit", files / "train.jsonl.gz", "-o", out, "--holdout", 0.2, "--json"))
    savings = record["savings"]
    assert savings["on"] == "holdout"
    file = json.loads(out.read_text())
    assert savings["n_prompts"] + file["fitted_on"]["n_prompts"] + file["certified_on"]["n_prompts"] == 450
    assert savings["net_cost_factor"] < 1
    without = last_json(run("fit", files / "train.jsonl.gz", "-o", out, "--json"))
    assert without["savings"]["on"] == "certification"
    assert "which also chose it" in run("fit", files / "train.jsonl.gz", "-o", out).stdout


def test_a_certificate_is_not_quoted_beside_numbers_that_contradict_it(files, tmp_path):
    """Outcomes the other way round: the policy loses most good samples, and the promise is taken back."""
    traces = [msgspec.structs.replace(t, accepted=not t.accepted) for t in make_traces(300, seed=5)]
    write_traces(tmp_path / "other.jsonl", traces)
    said = run("evaluate", files / "policy.json", tmp_path / "other.jsonl").stdout
    assert "not true of these attempts" in said
    assert "are discarded; the retained" not in said
    assert "with confidence 0.9, at most 0.05" in run("evaluate", files / "policy.json", files / "test.jsonl").stdout


def test_attempts_of_another_model_are_remarked(tmp_path):
    for name in ("llama", "qwen"):
        traces = [msgspec.structs.replace(t, model=name) for t in make_traces(200, seed=len(name))]
        write_traces(tmp_path / f"{name}.jsonl", traces)
    run("fit", tmp_path / "llama.jsonl", "-o", tmp_path / "p.json", "--max-false-reject", 0.1)
    other = run("evaluate", tmp_path / "p.json", tmp_path / "qwen.jsonl").stdout
    assert "models: qwen here, llama there" in other
    assert "models:" not in run("evaluate", tmp_path / "p.json", tmp_path / "llama.jsonl").stdout


@pytest.mark.parametrize(("n", "attempts"), [(150, 1), (110, 4), (60, 1)], ids=["share", "many attempts", "prompts"])
def test_a_near_miss_names_a_remedy_that_works(tmp_path, n, attempts):
    """What the message says is tried: it leads to enough accepted samples to certify on."""

    def needed_and_counted(traces, *options):
        write_traces(tmp_path / "t.jsonl", traces)
        result = run("fit", tmp_path / "t.jsonl", "-o", tmp_path / "p.json", "--json", *options)
        certificate = last_json(result)["certificate"]
        return certificate["n_accepted"] >= certificate["accepted_needed"], certificate["message"]

    enough, message = needed_and_counted(make_traces(n, attempts=attempts, seed=2), "--certify-share", 0.3)
    assert not enough
    if attempts > 1:
        assert "one attempt of each is counted" in message
    allowed = message.split("or allow more: ")[1].split(";")[0].split()
    assert needed_and_counted(make_traces(n, attempts=attempts, seed=2), *allowed)[0]
    if "bring about" in message:
        n = int(message.split("bring about ")[1].split()[0])
    else:
        assert "leave out --certify-share" in message
    assert needed_and_counted(make_traces(n, attempts=attempts, seed=2))[0]


def test_every_family_is_told_its_own_certificate(tmp_path):
    """One family can certify nothing, the other can: each says what is true of it."""
    write_traces(tmp_path / "large.jsonl", make_traces(900, seed=1, accept=0.8))
    write_traces(tmp_path / "small.jsonl", make_traces(20, seed=2))
    said = run("fit", tmp_path / "large.jsonl", tmp_path / "small.jsonl", "-o", tmp_path / "out", "--together").stdout
    assert "with confidence 0.9" in said.split("small: ")[0]
    assert "nothing can be certified" in said.split("small: ")[1]


def test_traces_without_text_are_refused(tmp_path):
    path = tmp_path / "empty.jsonl"
    path.write_text("".join(f'{{"id": {i}, "prompt_id": {i}, "text": "", "correct": {i % 2}}}\n' for i in range(40)))
    assert "every text is empty" in run("fit", path, "-o", tmp_path / "p.json", code=2).stderr


def test_output_goes_through_links_and_never_replaces_a_device(files, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "policy.json").write_text("old")
    (tmp_path / "link.json").symlink_to(tmp_path / "real" / "policy.json")
    run("fit", files / "train.jsonl.gz", "-o", tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real" / "policy.json").read_text())["schema_version"] == SCHEMA_VERSION
    assert "No space left" in run("fit", files / "train.jsonl.gz", "-o", "/dev/full", code=2).stderr
    assert os.stat("/dev/full").st_mode & 0o170000 == 0o020000
    assert "No space left" in run("score", files / "test.jsonl", "-o", "/dev/full", code=2).stderr
    assert os.stat("/dev/full").st_mode & 0o170000 == 0o020000
    run("fit", files / "train.jsonl.gz", "-o", tmp_path / "new" / "folder" / "policy.json")
    assert (tmp_path / "new" / "folder" / "policy.json").exists()


def test_ctrl_c_ends_with_status_130(tmp_path):
    write_traces(tmp_path / "t.jsonl", make_traces(15_000, seed=1))
    code = "from msifr_integrations.cli.entry import run; print('loaded', flush=True); run()"
    program = [sys.executable, "-c", code]
    command = [*program, "fit", str(tmp_path / "t.jsonl")]
    command += ["-o", str(tmp_path / "p.json")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603
    assert process.stdout.readline() == b"loaded\n"  # before, Python itself may lose an interrupt
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert b"interrupted" in said
    assert b"Traceback" not in said
    assert not (tmp_path / "p.json").exists()


@pytest.mark.parametrize("shard", ["3", "a/b", "3/", f"{'9' * 5000}/3"])
def test_what_is_no_shard_is_an_error_of_usage(tmp_path, shard):
    given = ("--model", "embedded", "--prompts", tmp_path / "p.jsonl", "--policy", "none", "-o", tmp_path / "o.jsonl")
    assert "the third of eight shards is 3/8" in " ".join(
        run("generate", *given, "--shard", shard, code=2).stderr.split()
    )


def test_bars_of_other_libraries_are_for_terminals():
    code = """
import os, sys
from msifr_integrations.cli.entry import run
sys.argv = ["msifr", "--version"]
try:
    run()
finally:
    print(os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS", "shown"))
"""
    here = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_PROGRESS_BARS"}
    main_end, their_end = pty.openpty()
    said = [
        subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=err, env=here, check=True).stdout  # noqa: S603
        for err in (subprocess.PIPE, their_end)
    ]
    os.close(their_end)
    os.close(main_end)
    assert [text.split()[-1] for text in said] == [b"1", b"shown"]


def test_learned_beliefs_without_torch_are_one_line(files, tmp_path):
    """In an interpreter where importing torch fails, as where it is not installed."""
    code = f"""
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, NoTorch())
from msifr_integrations.cli import main
main(["fit", {str(files / "test.jsonl")!r}, "-o", {str(tmp_path / "p.json")!r}, "--posterior", "learned"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 2
    assert "a learned posterior needs torch" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_printed_is_what_was_said(files, tmp_path):
    """Brackets, colons and backslashes are no markup."""
    assert (
        "function:a:b:c"
        in run(
            "generate",
            "--model",
            "x",
            "--prompts",
            "y",
            "--policy",
            "none",
            "-o",
            "z.jsonl",
            "--filter",
            "function:a:b:c",
            code=2,
        ).stderr
    )
    out = tmp_path / ":smile: [bold]x.json"
    assert f"policy file: {out}" in run("fit", files / "train.jsonl.gz", "-o", out).stdout
    assert r"a\[bold]b.json" in run("evaluate", r"a\[bold]b.json", "t.jsonl", code=2).stderr


def test_an_interrupt_while_the_program_loads_ends_with_status_130():
    code = """
import sys
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "msifr_integrations.cli.fit":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from msifr_integrations.cli.entry import run
run()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stderr) == (130, "")


def test_an_interrupt_during_an_import_is_not_lost_in_it(tmp_path):
    """Modules of scipy, say, lose interrupts, or make errors of their own of them; one here loses all."""
    write_traces(tmp_path / "t.jsonl", make_traces(3_000, seed=1))
    (tmp_path / "loses_interrupts.py").write_text("""
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.3)
except BaseException:
    pass
""")
    code = f"""
import sys
class Loads:
    def find_spec(self, name, path=None, target=None):
        if name == "msifr_integrations.cli.fit":
            sys.path.insert(0, {str(tmp_path)!r})
            import loses_interrupts
sys.meta_path.insert(0, Loads())
sys.argv = ["msifr", "fit", {str(tmp_path / "t.jsonl")!r}, "-o", {str(tmp_path / "p.json")!r}]
from msifr_integrations.cli.entry import run
run()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stdout) == (130, "")
    assert not (tmp_path / "p.json").exists()
