"""What users write, for type checkers alone: `test_typing` runs mypy over it, and nothing here is ever run.

`assert_type` says what comes back. A line that ends in `type: ignore[code]` is a mistake that a checker must find:
where it no longer does, the comment is unused, and that is an error.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar, assert_type

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_calibration import Family, Fit, FitOptions, fit_families, fit_policy, split_by_prompt
from msifr_integrations import GenerateOptions, Result, ServerOptions, generate, load_model, write_accepted
from msifr_integrations.embedded import Problem, embedded_model_path, problem
from msifr_policy import (
    NEVER_DISCARD,
    NO_TOKENS,
    Action,
    Certificate,
    Decision,
    EveryUnits,
    Evidence,
    EvidenceTable,
    FinalFilter,
    FittedPolicy,
    GaussianModel,
    HazardModel,
    InputError,
    Judgement,
    Ledger,
    NewlineSteps,
    Policy,
    PolicyFile,
    Prompt,
    Tally,
    Tokens,
    Trace,
    Validator,
    ValidatorState,
    Verdict,
    build_evidence,
    default_validators,
    final_filter,
    hazard_rates,
    read_ledger,
    read_traces,
    write_traces,
)
from msifr_policy.testing import check_validator
from msifr_sim import Outcomes, Summary, replay_policy, simulate_hazard, simulate_policy, summarise

# Traces


def good(path: str) -> Iterator[Trace]:
    assert_type(read_traces(path), Iterator[Trace])
    for trace in read_traces([path], on_error="skip"):
        assert_type(trace.accepted, bool)
        assert_type(trace.tokens, int | None)
        if trace.accepted:
            yield trace
    read_traces(path, on_error="ignore")  # type: ignore[arg-type]
    read_traces(3)  # type: ignore[arg-type]


def keep(path: str) -> None:
    assert_type(write_traces("good.jsonl.gz", good(path)), int)
    Trace(id="a", prompt_id="p", text="2 + 3 = 5", accepted=True, tokens=None, group="sums")
    Trace(id="a", prompt_id="p", text="2 + 3 = 5")  # type: ignore[call-arg]
    Trace(id="a", prompt_id="p", text="2 + 3 = 5", accepted=True, tokens="5")  # type: ignore[arg-type]


# Fit, certify, replay


def fit(path: str) -> FittedPolicy:
    table = build_evidence(read_traces(path), NewlineSteps(), default_validators())
    assert_type(table, EvidenceTable)
    assert_type(table.n_accepted, int)
    train, test = split_by_prompt(table, 0.6, seed=0)
    assert_type(train, EvidenceTable)
    made = fit_policy(train, FitOptions(method="linear"), max_false_reject=0.1, confidence=0.9)
    assert_type(made, Fit)
    fit_policy(train, max_false_rejects=0.1)  # type: ignore[call-arg]
    fit_policy(train, method="guess")  # type: ignore[arg-type]
    fit_policy(read_traces(path))  # type: ignore[arg-type]
    assert_type(fit_families([Family("a", train), Family("b", test)], weigh="attempts"), list[Fit])
    assert_type(made.file, PolicyFile)
    assert_type(made.file.certificate, Certificate)
    assert_type(made.file.certificate.certified, bool)
    policy = made.file.policy()
    assert_type(policy, FittedPolicy)
    outcomes = replay_policy(policy, test)
    assert_type(outcomes, Outcomes)
    summary = summarise(outcomes, weigh="prompts")
    assert_type(summary, Summary)
    assert_type(summary.saving_rate, float | None)
    assert_type(summary.false_reject_rate_ci, tuple[float, float] | None)
    assert_type(summary.discards_by_reason, dict[str, int])
    summary.saving_rate + 1  # type: ignore[operator]
    summary.saved  # type: ignore[attr-defined]
    replay_policy(made.file, test)  # type: ignore[arg-type]
    _, drawn = simulate_policy(policy, test, 1000, np.random.default_rng(0))
    assert_type(drawn, Outcomes)
    assert_type(policy.stops(test), NDArray[np.int64])
    return policy


def stored(path: str) -> Policy:
    try:
        file = PolicyFile.load(path)
    except InputError as error:
        assert_type((error.what, error.where, error.remedy), tuple[str, str, str])
        return NEVER_DISCARD
    assert_type(file, PolicyFile)
    file.save(path)
    file.price = 3.0  # type: ignore[misc]
    return file.policy()


def before_any_data() -> float | None:
    model = HazardModel((0.1,) * 4, (0.6,) * 4, (0.01,) * 4, 0.9, 0.1, (50,) * 4)
    hazard_rates(model)
    hazard_rates(GaussianModel)  # type: ignore[arg-type]
    return summarise(simulate_hazard(model, 1000, np.random.default_rng(0))).net_cost_factor


# A validator of one's own: all of it, or its scores alone


class Shouting(msgspec.Struct, frozen=True):
    name: ClassVar[str] = "shouting"
    version: ClassVar[str] = "1"
    columns: ClassVar[tuple[str, ...]] = ("capitals",)
    most: int = 3

    def start(self, prompt: str) -> ValidatorState:
        return State(self.most)


class State:
    def __init__(self, most: int) -> None:
        self.most, self.seen = most, 0

    def feed(self, text: str, tokens: Tokens = NO_TOKENS) -> Evidence:
        self.seen += sum(map(str.isupper, text))
        return Evidence(Verdict.DEAD if self.seen > self.most else Verdict.UNKNOWN, (float(self.seen),))


class Whispering(Tally, frozen=True):
    name = "whispering"
    columns = ("dots",)

    def read(self, text: str, scores: tuple[float, ...]) -> Evidence:
        return Evidence(Verdict.UNKNOWN, (scores[0] + text.count("..."),))


class NoColumns(msgspec.Struct, frozen=True):
    name: ClassVar[str] = "none"

    def start(self, prompt: str) -> ValidatorState:
        return State(1)


def rules() -> tuple[Validator, ...]:
    check_validator(Shouting())
    check_validator(Whispering, prompts=["Say it."], texts=["..."])
    own: tuple[Validator, ...] = (*default_validators(), Shouting(most=5), Whispering())
    build_evidence([], EveryUnits(64, "tokens"), own)
    build_evidence([], EveryUnits(64, "words"), own)  # type: ignore[arg-type]
    Shouting(most="many")  # type: ignore[arg-type]
    Evidence("dead", (1.0,))  # type: ignore[arg-type]
    wrong: Validator = NoColumns()  # type: ignore[assignment]
    return (*own, wrong)


# A filter of one's own


def short(prompt: Prompt, text: str) -> bool:
    assert_type(prompt.gold, str | None)
    return len(text) < 100


def judged(prompt: Prompt, text: str) -> Judgement:
    return Judgement(text.endswith("."), score=0.5)


def filters() -> FinalFilter:
    GenerateOptions(final_filter=short)
    GenerateOptions(final_filter=judged)
    GenerateOptions(final_filter=lambda text: True)  # type: ignore[arg-type,misc]
    return final_filter("numeric", "box")


# Runs


def runs(policy: Policy) -> Result:
    options = GenerateOptions(attempts=4, accepted_per_prompt=2, engine="slots", final_filter=short)
    GenerateOptions(attempt=4)  # type: ignore[call-arg]
    GenerateOptions(engine="sglang")  # type: ignore[arg-type]
    drawn = problem(0, 1)
    assert_type(drawn, Problem)
    result = generate(embedded_model_path(), [drawn.as_prompt()], policy, "out.jsonl", options)
    assert_type(result, Result)
    assert_type(result.tokens_per_accepted, float | None)
    generate(embedded_model_path(), ["a prompt"], policy, "out.jsonl")  # type: ignore[list-item]
    generate(embedded_model_path(), "prompts.jsonl", PolicyFile, "out.jsonl")  # type: ignore[arg-type]
    model, tokenizer = load_model(embedded_model_path(), device="cpu")
    generate(model, "prompts.jsonl", None, "full.jsonl", tokenizer=tokenizer, progress=lambda at: print(at.done))
    served = GenerateOptions(server=ServerOptions(url="http://localhost:8000", api="completions"))
    ServerOptions(url="http://localhost:8000", api="responses")  # type: ignore[arg-type]
    generate(None, "prompts.jsonl", policy, "served.jsonl", served)
    assert_type(write_accepted("out.jsonl", "sft.jsonl"), int)
    write_accepted("out.jsonl", "sft.jsonl", form="sharegpt")  # type: ignore[arg-type]
    return result


def own_loop(policy: Policy, pieces: Iterator[str]) -> str | None:
    run, text = policy.start("a prompt"), ""
    assert_type(run.begin(), Decision | None)
    for piece in pieces:
        text += piece
        decision = run.feed(piece, tokens=1)
        decision.action  # type: ignore[union-attr]
        if decision is not None and decision.action is Action.DISCARD:
            assert_type(decision.posterior, float)
            return None
    assert_type(run.failures, Mapping[str, int])
    return text


class Patient:
    """A policy of one's own, which is one by its shape."""

    def start(self, prompt: str, parameters: object = None) -> "Patient":
        return self

    def begin(self) -> None:
        return None

    def feed(self, text: str, tokens: int = 0, logprobs: object = ()) -> None:
        return None

    @property
    def failures(self) -> dict[str, int]:
        return {}


def own_policy() -> Policy:
    return Patient()


# Ledgers


def spent(path: str) -> dict[str, int]:
    ledger = read_ledger(path)
    assert_type(ledger, Ledger)
    assert_type(ledger.seconds, float)
    tokens: dict[str, int] = {}
    for entry in ledger.entries:
        tokens[entry.outcome] = tokens.get(entry.outcome, 0) + entry.tokens
        entry.correct  # type: ignore[attr-defined]
    if ledger.entries[0].outcome == "good":  # type: ignore[comparison-overlap]
        return {}
    return tokens
