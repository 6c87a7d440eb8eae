"""Hidden states end to end: learned from a forced pass, read in flight, replayed; and bound to their model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.states import saves_more
from msifr_calibration import fit_policy
from msifr_calibration.beliefs.probe import fit_probe, probed
from msifr_calibration.beliefs.state_features import Origin, StateFeatures
from msifr_integrations.cli.main import main
from msifr_integrations.embedded import embedded_model_path, embedded_samples_path
from msifr_integrations.engine.base import Attempt, Sampling, end_tokens, stream_key
from msifr_integrations.engine.probe import make_engine
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.inputs import load_model, weights_fingerprint
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.states import StatePass, candidate_layers, tokens_of
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import NewlineSteps
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.filters import Prompt
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.traces import Trace, read_traces, write_traces
from msifr_policy.validators import Hidden, default_validators, make_validator

SCHEDULE = NewlineSteps()


@pytest.fixture(scope="module")
def model() -> tuple[Any, Any]:
    return load_model(embedded_model_path(), dtype="float32")


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    return list(read_traces(embedded_samples_path()))[:320]


@pytest.fixture(scope="module")
def states(model: tuple[Any, Any], traces: list[Trace]) -> StateFeatures:
    return StatePass(*model).features(traces, SCHEDULE)


@pytest.fixture(scope="module")
def fitted(states: StateFeatures, traces: list[Trace], tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = build_evidence(traces, SCHEDULE, default_validators())
    path = tmp_path_factory.mktemp("policy") / "policy.json"
    fit_policy(table, states=states, method="logistic", history=False, max_false_reject=0.3).file.save(path)
    return path


def hidden_of(path: Path) -> Hidden:
    (found,) = [v for v in map(make_validator, PolicyFile.load(path).validators) if isinstance(v, Hidden)]
    return found


def test_a_run_sees_what_a_forced_pass_sees(fitted: Path, model: tuple[Any, Any], tmp_path: Path) -> None:
    """With a policy that discards, in slots and in generate(): decisions and odds are those of the replay."""
    asked = [Prompt(prompt_id=f"p{n}", prompt=t.prompt) for n, t in enumerate(read_traces(embedded_samples_path()))]
    policy = PolicyFile.load(fitted).policy()
    hidden = hidden_of(fitted)
    outs = []
    for engine in ("slots", "static"):
        out = tmp_path / f"{engine}.jsonl"
        options = GenerateOptions(attempts=2, slots=8, max_new_tokens=60, engine=engine, final_filter=accept_half)
        generate(model[0], asked[::97][:9], policy, out, options, tokenizer=model[1], tell=lambda _: None)
        outs.append([msgspec.json.decode(line) for line in out.read_bytes().splitlines()])
    for records in outs:
        assert {record["status"] for record in records} == {"finished", "discarded"}
        made = [Trace(id=r["id"], prompt_id=r["prompt_id"], prompt=r["prompt"], text=r["text"], accepted=True,
                      token_ends=r["token_ends"], states=r.get("states"), prompt_tokens=r["prompt_tokens"])
                for r in records if r["tokens"]]  # fmt: skip
        again = StatePass(*model).with_states([msgspec.structs.replace(t, states=None) for t in made], hidden)
        live, offline = (build_evidence(each, SCHEDULE, (hidden,)) for each in (made, again))
        np.testing.assert_allclose(live.values, offline.values, atol=1e-4)
        assert np.isfinite(live.values[live.k > 0]).all()
        for record in records:
            if record["status"] == "discarded" and record["tokens"]:
                trace = next(t for t in made if t.id == record["id"])
                whole = build_evidence([trace], SCHEDULE, policy.validators)
                M = policy.beliefs.predict(whole.k, whole.values)[0]
                assert M[record["k"]] == pytest.approx(record["posterior"], abs=1e-9)
    assert [r["text"] for r in sorted(outs[0], key=lambda r: r["id"])] == [
        r["text"] for r in sorted(outs[1], key=lambda r: r["id"])
    ]


def accept_half(prompt: Prompt, text: str) -> bool:
    return len(prompt.prompt + text) % 2 == 0


def test_reading_states_changes_no_token(model: tuple[Any, Any], fitted: Path) -> None:
    drawn = []
    for probe in (None, hidden_of(fitted)):
        engine, _ = make_engine(model[0], slots=4, sampling=Sampling(), end=end_tokens(*model))
        engine.read_states(probe)  # type: ignore[attr-defined]
        for n in range(6):
            engine.submit(Attempt(str(n), tuple(range(5, 9 + n)), stream_key(0, str(n), 0), 20))
        tokens: dict[str, list[int]] = {}
        engine.drain(lambda events, tokens=tokens: [tokens.setdefault(e.id, []).append(e.token) for e in events])
        engine.close()
        drawn.append(tokens)
    assert drawn[0] == drawn[1]
    assert not any(layer._forward_hooks for layer in model[0].model.layers)  # none is left behind


def test_the_column_of_what_is_certified_is_that_of_a_replay(
    model: tuple[Any, Any], traces: list[Trace], states: StateFeatures
) -> None:
    table = build_evidence(traces, SCHEDULE, default_validators())
    fitting = table.where(np.arange(table.n_prompts) % 2 == 0)
    others = table.where(np.arange(table.n_prompts) % 2 == 1)
    hidden = fit_probe(fitting, states).hidden
    others = others.take(np.arange(60))
    ids = set(others.attempt_ids)
    replayed = StatePass(*model).with_states([trace for trace in traces if trace.id in ids], hidden)
    expected = build_evidence(replayed, SCHEDULE, (*default_validators(), hidden))
    scored = probed(others, states, hidden)
    assert (scored.columns, scored.validators) == (expected.columns, expected.validators)
    np.testing.assert_allclose(scored.values, expected.values, atol=1e-5)


def planted(rng: np.random.Generator, *, signal: float, n: int = 150, per_prompt: int = 2) -> tuple[Any, StateFeatures]:
    """Attempts whose outcome is in the last states of layer 1 as far as `signal` goes; layer 0 is noise."""
    names = [f"a{i:04}" for i in range(n * per_prompt)]
    good = rng.random(len(names)) < 0.5
    traces = [
        Trace(id=name, prompt_id=f"p{i // per_prompt}", prompt=f"{i // per_prompt} of {rng.random()}", text="a\nb\nc",
              accepted=bool(good[i])) for i, name in enumerate(names)
    ]  # fmt: skip
    table = build_evidence(traces, SCHEDULE, default_validators())
    rows = 3 * len(names)
    draws = [[rng.normal(size=(m, 8)).astype(np.float32) for m in (rows, rows, len(names))] for _ in range(2)]
    draws[1][0][:, 3] += signal * np.repeat(2.0 * good - 1, 3)
    position = np.tile([2, 4, 5], len(names))
    origin = Origin(SCHEDULE, "m", "float32")
    by_layer = {layer: tuple(parts) for layer, parts in enumerate(draws)}
    return table, StateFeatures(origin, by_layer, tuple(names), np.arange(0, rows + 1, 3), position)  # type: ignore[arg-type]


def held_out_gain(table: EvidenceTable, odds: np.ndarray) -> float:
    """Nats per checkpoint that odds gain over knowing nothing."""
    due = table.is_checkpoint & (table.k > 0)
    signed = np.where(table.outcome[due], -odds[due], odds[due])
    return float(np.log(2) - np.logaddexp(0, signed).mean())


def test_the_layer_that_knows_is_found_and_read() -> None:
    table, states = planted(np.random.default_rng(0), signal=1.0)
    learned = fit_probe(table, states)
    assert learned.hidden.layer == 1
    assert held_out_gain(table, learned.table.values[:, -1]) > 0.2
    fresh, of_fresh = planted(np.random.default_rng(1), signal=1.0)
    assert held_out_gain(fresh, probed(fresh, of_fresh, learned.hidden).values[:, -1]) > 0.2


def test_cross_fitted_odds_do_not_know_the_outcomes_they_are_judged_by() -> None:
    """States that say nothing gain nothing where they are held out, though a regression finds much in few of them."""
    gains = []
    for seed in range(8):
        table, states = planted(np.random.default_rng(seed), signal=0.0, n=40, per_prompt=4)
        gains.append(held_out_gain(table, fit_probe(table, states).table.values[:, -1]))
    assert np.mean(gains) < 0.01


def test_a_policy_with_a_probe_runs_on_its_model_alone(fitted: Path, model: tuple[Any, Any], tmp_path: Path) -> None:
    policy = PolicyFile.load(fitted).policy()
    other, tokenizer = load_model(embedded_model_path(), dtype="float32")
    other.model.layers[1].mlp.up_proj.weight.data[0, 0] += 1
    run = (tmp_path / "out.jsonl", GenerateOptions(attempts=1, final_filter=accept_half))
    with pytest.raises(InputError, match=f"states of model {weights_fingerprint(model[0])}, this one is"):
        generate(other, [Prompt(prompt_id="p", prompt="1+1\n")], policy, *run, tokenizer=tokenizer)
    beside = next(path for path in fitted.parent.glob("*.safetensors"))
    moved = tmp_path / fitted.name
    moved.write_bytes(fitted.read_bytes())
    with pytest.raises(InputError, match=rf"{beside.name}: cannot be read"):
        PolicyFile.load(moved)


def test_states_of_other_attempts_or_checkpoints_are_refused(traces: list[Trace], states: StateFeatures) -> None:
    with pytest.raises(InputError, match="no states of attempt"):
        states.rows(build_evidence([msgspec.structs.replace(traces[0], id="other")], SCHEDULE, default_validators()), 1)
    with pytest.raises(InputError, match="other checkpoints"):
        states.rows(build_evidence(traces[:9], NewlineSteps(30), default_validators()), 1)


def test_tokens_are_told_from_texts_or_not_at_all(model: tuple[Any, Any], traces: list[Trace]) -> None:
    _, tokenizer = model
    (trace,) = [t for t in traces if t.text.count("\n") == 2][:1]
    told = tokens_of(trace, tokenizer, chat=False)
    assert told is not None
    assert tokenizer.decode(told.sampled, skip_special_tokens=True) == trace.text
    # Sampled in another way than the tokenizer writes: one token for each character.
    spelt = msgspec.structs.replace(trace, token_ends=list(range(1, len(trace.text) + 1)), tokens=len(trace.text))
    one_by_one = tokens_of(spelt, tokenizer, chat=False)
    assert one_by_one is not None
    assert len(one_by_one.sampled) == len(trace.text)
    assert (
        tokens_of(msgspec.structs.replace(trace, token_ends=[len(trace.text)], tokens=1), tokenizer, chat=False) is None
    )
    with pytest.raises(InputError, match="tokens here, 3 when it was recorded"):
        tokens_of(msgspec.structs.replace(trace, prompt_tokens=3), tokenizer, chat=False)


def test_layers_that_may_be_read_are_near_seven_tenths() -> None:
    assert candidate_layers(30) == (17, 20, 23)
    assert candidate_layers(4) == (1, 2)
    assert candidate_layers(1) == (0,)


def test_what_is_saved_more_is_the_ratio_of_factors() -> None:
    table, _ = planted(np.random.default_rng(2), signal=0.0)
    never, all_bad = np.full(table.n_attempts, -1), np.where(table.accepted, -1, table.start[:-1] + 1)
    left = table.cost_until(all_bad).sum() / table.cost.sum()
    less, low, high = saves_more(table, all_bad, never)
    assert less == pytest.approx(1 - left)
    assert low < less < high
    assert high - low < 0.2
    assert saves_more(table, never, never) == (0.0, 0.0, 0.0)


def test_the_commands_do_it_from_traces_to_policy(traces: list[Trace], tmp_path: Path) -> None:
    path, states, policy = (str(tmp_path / name) for name in ("traces.jsonl", "states.safetensors", "policy.json"))
    write_traces(path, traces[:160])
    words = ["--schedule", "newline", "--states", "embedded", "--states-out", states]
    scored = CliRunner().invoke(main, ["score", path, *words])
    assert scored.exit_code == 0, scored.output
    assert "states of layers 1, 2 at" in scored.output
    told = ["fit", path, "--states", states, "--posterior", "logistic", "--holdout", "0.2", "--max-false-reject", "0.4"]
    fit = CliRunner().invoke(main, [*told, "-o", policy])
    assert fit.exit_code == 0, fit.output
    assert hidden_of(Path(policy)).model
    evaluated = CliRunner().invoke(main, ["evaluate", policy, path, "--states", states])
    assert evaluated.exit_code == 0, evaluated.output
    blind = CliRunner().invoke(main, ["evaluate", policy, path])
    assert blind.exit_code == 2
    assert "reads hidden states, and these traces have none" in blind.output
    half = CliRunner().invoke(main, ["score", path, "--states", "embedded"])
    assert half.exit_code == 2
    assert "go together" in half.output
