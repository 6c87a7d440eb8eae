"""Runs with a memory of rejections: exact, the same in whatever slots and sessions, and honest about what it saved."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
import pytest
import torch
from scipy.stats import chi2, ncx2

import tiny
from commands import run as run_command
from msifr_integrations.engine.memory import Remembered, Weights
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.journal import Journal
from msifr_integrations.generation.options import AutopilotOptions, GenerateOptions
from msifr_integrations.generation.result import Result
from msifr_integrations.servers.options import ServerOptions
from msifr_policy.dead_prefixes import DeadPrefixes
from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.filters import Judgement, Prompt
from msifr_policy.records.ledger import read_ledger
from msifr_policy.records.traces import read_traces
from msifr_policy.validators import History, Length

LONG = 4  # tokens of an attempt here


def chosen(prompt: Prompt, text: str) -> bool:
    """A filter that accepts about a third of all texts, and not the same for each gold."""
    return crc32((prompt.gold or "").encode() + text.encode(errors="replace")) % 3 == 0


def prompts(count: int) -> list[Prompt]:
    return [Prompt(prompt_id=f"p{i}", prompt=f"Say {'so ' * (i % 3)}", gold=str(i)) for i in range(count)]


def made(out: Path, todo: list[Prompt], policy: Any = None, **options: Any) -> Result:
    model, tokenizer = options.pop("model", None) or (tiny.llama(), tiny.tokenizer())
    remarks = options.pop("tell", lambda _: None)
    usual: dict[str, Any] = {
        "attempts": 12, "slots": 4, "max_new_tokens": LONG, "top_k": 3, "final_filter": chosen, "rejection_memory": (),
    }  # fmt: skip
    return generate(model, todo, policy, out, GenerateOptions(**usual | options), tokenizer=tokenizer, tell=remarks)


def lines(out: Path) -> dict[str, dict[str, Any]]:
    return {record["id"]: record for record in map(json.loads, out.read_text(encoding="utf-8").splitlines())}


def check_same(out: Path, reference: Path) -> None:
    one, other = lines(out), lines(reference)
    assert one.keys() == other.keys()
    for name, record in one.items():
        assert (record["text"], record["token_ends"]) == (other[name]["text"], other[name]["token_ends"])
        assert record.get("dead", {}).get("token_ids") == other[name].get("dead", {}).get("token_ids")


def avoided(out: Path) -> dict[str, Any]:
    ledger = out.with_name(out.name.replace(".jsonl", ".ledger.jsonl"))
    entries = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    return {entry["id"]: entry.get("avoided") for entry in entries if entry["kind"] == "attempt"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("memory") / "whole.jsonl"
    return out, made(out, prompts(6))


def test_nothing_that_was_rejected_is_drawn_again(whole: tuple[Path, Result], tmp_path: Path) -> None:
    out, _ = whole
    made(tmp_path / "plain.jsonl", prompts(6), rejection_memory=None)
    plain, remembered = lines(tmp_path / "plain.jsonl"), lines(out)
    assert plain.keys() == remembered.keys()

    seen = Counter((r["prompt_id"], r["text"]) for r in plain.values() if not r["correct"])
    assert seen.total() - len(seen) > 5
    dead = [(r["prompt_id"], *r["dead"]["token_ids"]) for r in remembered.values() if not r["correct"]]
    assert len(dead) == len(set(dead)) > 20
    first = [name for name in plain if name.endswith("/0")]
    same = ("text", "token_ends", "correct")
    assert [[plain[n][k] for k in same] for n in first] == [[remembered[n][k] for k in same] for n in first]
    assert all(("dead" in record) != record["correct"] for record in remembered.values())
    assert all(avoided(out)[name] is None for name in first)


@pytest.mark.parametrize("how", [{"slots": 1}, {"slots": 9}, {"engine": "static"}])
def test_neither_slots_nor_the_engine_change_what_comes_out(
    whole: tuple[Path, Result], tmp_path: Path, how: dict[str, Any]
) -> None:
    made(tmp_path / "other.jsonl", prompts(6), **how)
    check_same(tmp_path / "other.jsonl", whole[0])


@pytest.mark.parametrize("after", [3, 20, 41])
def test_an_interrupted_run_remembers_what_it_knew(
    whole: tuple[Path, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """What was drawn, and what was left when an attempt began, are those of the run in one piece."""
    out = tmp_path / "out.jsonl"
    write = Journal.write

    def dies(journal: Journal, *written: Any) -> None:
        write(journal, *written)
        if journal.count == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "write", dies)
        with pytest.raises(KeyboardInterrupt):
            made(out, prompts(6))
    assert after <= len(lines(out)) < after + 8
    for other in (None, (Length(cap=2),)):
        with pytest.raises(InputError, match="rejection_memory"):
            made(out, prompts(6), rejection_memory=other)
    resumed = made(out, prompts(6))
    check_same(out, whole[0])
    for one, other in zip(*(dict(sorted(avoided(each).items())).values() for each in (out, whole[0])), strict=True):
        assert one == (None if other is None else pytest.approx(other, rel=1e-5))
    assert resumed.rejection_memory.attempts_avoided == pytest.approx(whole[1].rejection_memory.attempts_avoided)


def test_what_was_saved_is_what_the_ledger_says(whole: tuple[Path, Result]) -> None:
    out, result = whole
    told = [each for each in avoided(out).values() if each is not None]
    report = result.rejection_memory
    assert report.mass == pytest.approx(sum(each["mass"] for each in told) / 72)
    assert report.attempts_avoided == pytest.approx(sum(each["mass"] / (1 - each["mass"]) for each in told))
    assert report.tokens_avoided == pytest.approx(sum(each["expected_tokens"] / (1 - each["mass"]) for each in told))
    assert report.mass > 0.05


def test_its_output_is_nothing_to_fit_on(whole: tuple[Path, Result]) -> None:
    for on_error in ("raise", "skip"):
        with pytest.raises(InputError, match="memory of rejections"):
            list(read_traces(whole[0], on_error=on_error))


QUESTION = "Tom has 41 apples. He sells 10 of them. How many apples does he have now?\n"
DEPTH, TOP_K, WARM = 3, 4, 2.0
PROMPTS, ATTEMPTS = 150, 12


def law_of_the_model(end: int) -> dict[tuple[int, ...], float]:
    """Return how likely the embedded model draws each sequence of at most `DEPTH` tokens, by its logits alone."""
    model, tokenizer = tiny.embedded()
    begin = tokenizer(QUESTION)["input_ids"]
    open_ones: dict[tuple[int, ...], float] = {(): 1.0}
    sequences: dict[tuple[int, ...], float] = {}
    while open_ones:
        with torch.inference_mode():
            logits = model(torch.tensor([[*begin, *prefix] for prefix in open_ones])).logits[:, -1].double() / WARM
        kept = logits.topk(TOP_K)
        below: dict[tuple[int, ...], float] = {}
        shares = kept.values.softmax(-1).tolist()
        for (prefix, mass), tokens, ps in zip(open_ones.items(), kept.indices.tolist(), shares, strict=True):
            for token, p in zip(tokens, ps, strict=True):
                over = token == end or len(prefix) + 1 == DEPTH
                (sequences if over else below)[(*prefix, token)] = mass * p
        open_ones = below
    return sequences


def drawn_wrongly(law: Mapping[tuple[int, ...], float], good: set[tuple[int, ...]]) -> Counter[tuple[int, ...]]:
    """Return what runs would accept that leave out dead tokens where they stand, and look no further back.

    A plausible mistake: what is dead is not drawn again either, but its share goes to what begins as it does.
    """
    draw = random.Random(1)  # noqa: S311
    counts: Counter[tuple[int, ...]] = Counter()
    mass = Counter[tuple[int, ...]]()
    for y, p in law.items():
        for length in range(1, len(y) + 1):
            mass[y[:length]] += p
    for _ in range(3 * PROMPTS):
        alive = dict(law)
        for _ in range(ATTEMPTS):
            prefix: tuple[int, ...] = ()
            while prefix not in law:
                nexts = {y[: len(prefix) + 1] for y in alive if y[: len(prefix)] == prefix}
                prefix = draw.choices(ordered := sorted(nexts), [mass[x] for x in ordered])[0]
            if prefix in good:
                counts[prefix] += 1
            else:
                del alive[prefix]
    return counts


def test_what_the_embedded_model_accepts_is_distributed_as_without(tmp_path: Path) -> None:
    """By a chi-square test against the model's own law, enumerated.

    False alarms: one in a million seeds. Misses: fewer than one in a thousand of the plausible mistake.
    """
    model, tokenizer = tiny.embedded()
    end = tokenizer.eos_token_id
    law = law_of_the_model(end)
    texts = {y: tokenizer.decode([token for token in y if token != end]) for y in law}
    assert len(set(texts.values())) == len(texts) == TOP_K**DEPTH
    assert sum(law.values()) == pytest.approx(1)

    def accepted(_: Prompt, text: str) -> bool:
        return crc32(text.encode()) % 3 == 0

    good = {y for y, text in texts.items() if accepted(Prompt(prompt_id="p", prompt=QUESTION), text)}
    a = sum(law[y] for y in good)
    out = tmp_path / "out.jsonl"
    todo = [Prompt(prompt_id=f"p{i}", prompt=QUESTION) for i in range(PROMPTS)]
    result = made(
        out, todo, model=(model, tokenizer), attempts=ATTEMPTS, slots=64, max_new_tokens=DEPTH, top_k=TOP_K,
        temperature=WARM, final_filter=accepted, chat=False, seed=5,
    )  # fmt: skip
    assert result.rejection_memory.mass > 0.2
    counts = Counter(record["text"] for record in lines(out).values() if record["correct"])
    n = counts.total()

    # The least likely are put together, so that each part is expected at least five times.
    ordered = sorted(good, key=law.__getitem__)
    rare = [y for y in ordered if n * law[y] / a < 5]
    parts = [rare, *([y] for y in ordered if y not in rare)]
    expected = np.array([n * sum(law[y] for y in part) / a for part in parts])
    seen = np.array([sum(counts[texts[y]] for y in part) for part in parts])
    assert counts.keys() <= {texts[y] for y in good}
    critical = chi2.isf(1e-6, len(parts) - 1)
    statistic = ((seen - expected) ** 2 / expected).sum()
    assert statistic < critical

    # Each attempt is accepted with probability a / W, by what was left when it began: what is said to be avoided is so.
    # False alarms: below one in a million, too, by martingale differences that are nearly normal in sum.
    shares = {name: a / (1 - (0.0 if told is None else told["mass"])) for name, told in avoided(out).items()}
    surprise = sum(record["correct"] - shares[name] for name, record in lines(out).items())
    assert abs(surprise) < 4.9 * sum(share * (1 - share) for share in shares.values()) ** 0.5

    mistaken = drawn_wrongly(law, good)
    would_be = np.array([sum(mistaken[y] for y in part) for part in parts]) * n / mistaken.total()
    apart = ((would_be - expected) ** 2 / expected).sum()
    assert ncx2.cdf(critical, len(parts) - 1, apart) < 1e-3


def short(_: Prompt, text: str) -> bool:
    """Accepts texts below three characters, which only an early end gives."""
    return len(text) < 3


def test_a_certain_dead_proves_the_shortest_prefix_and_a_belief_proves_nothing(tmp_path: Path) -> None:
    """What the policy discards is remembered where a validator calls it DEAD, to the token at which it does."""
    policy = tiny.TextPolicy(lambda text: "Y" in text, EveryUnits(2, "tokens"))
    believed, certain = tmp_path / "believed.jsonl", tmp_path / "certain.jsonl"
    made(believed, prompts(6), policy, final_filter=short, max_new_tokens=8)
    made(certain, prompts(6), policy, final_filter=short, max_new_tokens=8, rejection_memory=(Length(cap=3),))
    discarded = [r for r in lines(believed).values() if r["status"] == "discarded"]
    assert discarded
    assert not any("dead" in record for record in discarded)
    for record in lines(certain).values():
        first = next((n for n, end in enumerate(record["token_ends"], 1) if end >= 3), None)
        if first is None:
            assert record["status"] == "discarded" or ("dead" in record) != record["correct"]
        elif "dead" in record:
            assert len(record["dead"]["token_ids"]) == first
    assert sum("dead" in record for record in lines(certain).values()) > 20


def test_half_precision_is_said_aloud(tmp_path: Path) -> None:
    remarks: list[str] = []
    halved = copy.deepcopy(tiny.llama()).to(torch.bfloat16)
    made(tmp_path / "out.jsonl", prompts(2), model=(halved, tiny.tokenizer()), attempts=2, tell=remarks.append)
    assert any("bfloat16" in remark for remark in remarks)


def test_what_the_filter_could_not_judge_is_no_proof(tmp_path: Path) -> None:
    made(tmp_path / "out.jsonl", prompts(1), final_filter=lambda *_: Judgement(accepted=False, failure="no answer"))
    assert not any("dead" in record for record in lines(tmp_path / "out.jsonl").values())


def test_a_validator_that_is_not_certain_is_said_aloud(tmp_path: Path) -> None:
    remarks: list[str] = []
    made(tmp_path / "out.jsonl", prompts(3), rejection_memory=(Length(cap=2),), tell=remarks.append)
    (remark,) = [each for each in remarks if "took for certain" in each]
    assert "length (" in remark


def test_a_proof_that_raises_proves_nothing_and_is_in_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(Length, "start", broken)
    out = tmp_path / "out.jsonl"
    made(out, prompts(3), rejection_memory=(Length(cap=2),))
    entries = read_ledger(tmp_path / "out.ledger.jsonl").entries
    assert {tuple(entry.failures.items()) for entry in entries} == {(("length: RuntimeError", 1),)}
    assert all(len(record["dead"]["token_ids"]) > 2 for record in lines(out).values() if "dead" in record)


class ReadsHistory:
    """A policy that would decide by how attempts before ended."""

    validators = (History(),)
    fingerprint = "reads history"

    def start(self, *_: Any) -> Any:
        raise AssertionError


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"temperature": 0}, "draws nothing"),
        ({"compare": "other.jsonl"}, "comparison"),
        ({"engine": "vllm"}, "vLLM"),
        ({"server": ServerOptions(url="http://localhost:1")}, "server"),
        ({"autopilot": AutopilotOptions()}, "autopilot"),
    ],
)
def test_what_does_not_go_with_a_memory_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        GenerateOptions(rejection_memory=(), **changes)


def test_neither_the_history_nor_a_cluster_go_with_a_memory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="earlier attempts"):
        made(tmp_path / "out.jsonl", prompts(1), ReadsHistory())
    with pytest.raises(InputError, match="cluster"):
        generate("none", prompts(1), None, tmp_path / "out.jsonl", GenerateOptions(rejection_memory=()), make=print)


def test_the_command_says_what_was_saved(tmp_path: Path) -> None:
    asked = tmp_path / "prompts.jsonl"
    asked.write_bytes(msgspec.json.encode({"prompt_id": "a", "prompt": QUESTION, "gold": "31"}) + b"\n")
    how = ("--model", "embedded", "--prompts", asked, "--policy", "none", "--max-new-tokens", "60", "--attempts", 3)
    told = run_command("generate", *how, "--rejection-memory", "filter,length", "-o", tmp_path / "out.jsonl")
    assert "rejection memory: of what attempts could come to" in told.output
    wrong = run_command("generate", *how, "--rejection-memory", "length", "-o", tmp_path / "other.jsonl", code=2)
    assert "filter,json_schema" in wrong.output


def test_weights_find_room_for_many_tokens() -> None:
    """One prefix may have more continuations than another; each row gets its own, whatever came before."""
    narrow, wide = DeadPrefixes(), DeadPrefixes()
    assert narrow.add((3, 1), (0.5, 0.5))
    for token in range(100):
        assert wide.add((token,), (0.005 / wide.root.left,))
    shown = Remembered(3, torch.device("cpu"))
    assert shown.show([None, None]) is None
    for rows in ([narrow.root, None], [wide.root, narrow.root, None], [narrow.root]):
        weights = shown.show(rows)
        assert weights is not None
        got = weights.added_to(torch.zeros(len(rows), 120, dtype=torch.float64)).exp()
        left = {"narrow": {3: 0.5}, "wide": dict.fromkeys(range(100), 0.0)}
        for row, node in zip(got.tolist(), rows, strict=True):
            known = {} if node is None else left["narrow" if node is narrow.root else "wide"]
            assert row == pytest.approx([known.get(token, 1.0) for token in range(120)])


def test_a_row_in_which_all_is_dead_goes_without_its_weights() -> None:
    """Rounding may leave a little mass at tokens that are all dead."""
    weights = Weights(torch.tensor([[0.0, 2.0], [0.0, 2.0]]), torch.full((2, 2), -torch.inf, dtype=torch.float64))
    logits = torch.tensor([[1.0, -torch.inf, 2.0], [1.0, 3.0, 2.0]], dtype=torch.float64)
    weighted = weights.added_to(logits)
    assert torch.equal(weighted[0], logits[0])
    assert weighted[1].tolist() == [-torch.inf, 3.0, -torch.inf]
