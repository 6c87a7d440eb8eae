"""Who may begin: never more than the slots and the room for keys and values allow, and everybody in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from msifr_integrations.engine import slot_engine
from msifr_integrations.engine.admission import Room, Waiting, affordable, free_memory, may_begin
from msifr_integrations.engine.base import Attempt, Sampling, stream_key
from msifr_integrations.engine.prefill import prefill
from msifr_integrations.engine.slot_cache import BLOCK, SlotCache, rounded
from msifr_integrations.engine.slot_engine import SlotEngine
from msifr_policy.errors import InputError

LENGTHS = st.lists(st.builds(Waiting, st.integers(1, 400), st.integers(1, 500)), max_size=40)


@given(LENGTHS, st.integers(1, 20), st.integers(0, 20_000), st.integers(0, 20), st.integers(1, 500), st.booleans())
def test_who_begins_has_a_slot_and_room(
    waiting: list[Waiting], slots: int, positions: int, running: int, longest: int, packs: bool
) -> None:
    room = Room(slots, positions)
    running = min(running, room.rows(longest))
    count, needs = may_begin(
        waiting, room, running=running, longest=longest if running else 0, pack=512 * packs or None
    )
    assert needs == max([longest if running else 0, *(attempt.need for attempt in waiting[:count])])
    if count:
        assert running + count <= room.rows(needs) <= slots
        assert (running + count) * needs <= room.rows(needs) * room.limit(needs) <= positions
        assert needs <= room.limit(needs) <= rounded(needs)
    # Alone, the first always begins, if it fits at all.
    first_fits = bool(waiting) and waiting[0].need <= positions
    assert running or bool(count) == first_fits


def test_a_prefill_is_shared_by_a_quarter_of_the_rows_or_fills_a_pack() -> None:
    waiting = [Waiting(100, 200)] * 9
    room = Room(16, 1 << 20)
    assert may_begin(waiting, room, running=13, longest=10) == (0, 10)
    assert may_begin(waiting, room, running=12, longest=10) == (4, 200)
    assert may_begin(waiting, room, running=0, longest=0) == (9, 200)
    assert may_begin(waiting, room, running=13, longest=10, pack=250) == (2, 200)  # what fills a pack, and no more
    assert may_begin(waiting, room, running=13, longest=10, pack=300) == (0, 10)  # it might get fuller yet
    # Where there is room for eight rows only, a quarter of these is two.
    assert may_begin(waiting, Room(16, 8 * 200), running=6, longest=200) == (2, 200)
    assert may_begin(waiting, Room(16, 8 * 200), running=7, longest=200) == (0, 200)


def run(engine: SlotEngine, attempts: list[Attempt], budget: int = 1 << 30) -> tuple[dict[str, list[int]], set[int]]:
    """Return tokens by attempt, and the numbers of rows that there were; every fourth is cancelled."""
    tokens: dict[str, list[int]] = {}
    rows = set()
    for attempt in attempts:
        engine.submit(attempt)
    while engine.busy:
        events = engine.step()
        assert engine.cache is not None
        assert engine.cache.rows * engine.cache.capacity <= budget
        rows.add(engine.cache.rows)
        for event in events:
            tokens.setdefault(event.id, []).append(event.token)
            if int(event.id) % 4 == 0 and len(tokens[event.id]) == 7:
                engine.cancel(event.id)
    return tokens, rows


def attempts(seed: int) -> list[Attempt]:
    """Attempts of many lengths: short ones, then long ones among them, then short ones again."""
    shapes = [(5 + i % 20, 10 + i % 11) for i in range(14)] + [(100, 60), (20, 150), (9, 9), (150, 40)]
    shapes += [(4 + i % 9, 12) for i in range(12)]
    return [
        Attempt(
            f"{i + seed}", tuple((7 * i + at) % 250 + 1 for at in range(length)), stream_key(seed, f"{i}", 0), tokens
        )
        for i, (length, tokens) in enumerate(shapes)
    ]


def engine_of(**options: Any) -> SlotEngine:
    return SlotEngine(tiny.llama(), slots=8, sampling=Sampling(), end=frozenset(), **options)


@pytest.mark.parametrize("budget", [189, 400, 1000])
def test_within_a_budget_the_tokens_are_the_same_and_fewer_run_at_a_time(budget: int) -> None:
    free, bound = engine_of(), engine_of(kv_tokens=budget)
    for seed in (0, 100):  # again at the same prompts, some of which lay in rows that are gone
        plain, rows = run(free, attempts(seed))
        assert rows == {8}
        some, rows = run(bound, attempts(seed), budget)
        assert some == plain
        assert min(rows) == budget // 189  # while the longest runs
        assert max(rows) > min(rows)


def test_what_outgrows_the_budget_is_refused_before_it_begins() -> None:
    engine = engine_of(kv_tokens=100)
    with pytest.raises(InputError, match="may need 172 positions of keys and values, and there is room for 100"):
        engine.submit(Attempt("long", (1, 2, 3), b"", 170))
    engine.submit(Attempt("short", (1, 2, 3), b"0" * 16, 5))
    assert len(engine._queue) == 1


def test_where_memory_has_no_room_at_all_the_run_ends_with_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_engine, "affordable", lambda _: 6)
    engine = engine_of()
    engine.submit(Attempt("a", (1, 2, 3), b"0" * 16, 5))
    with pytest.raises(InputError, match="there is room for 6"):
        engine.step()


def test_room_is_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with torch.inference_mode():
        like = prefill(tiny.llama(), [(0,)])
    position = sum(tensor.numel() * tensor.element_size() for pair in like.layers for tensor in pair)
    monkeypatch.setattr("msifr_integrations.engine.admission.free_memory", lambda: 10 * position + 1)
    assert affordable(like) == 5
    (tmp_path / "told").write_text("MemTotal: 9 kB\nMemAvailable:    7 kB\n")
    assert free_memory(str(tmp_path / "told")) == 7 * 1024
    for most, free in (("max", 7 * 1024), ("5000", 3000), ("1000", 0)):
        (tmp_path / "memory.max").write_text(f"{most}\n")
        (tmp_path / "memory.current").write_text("2000\n")
        assert free_memory(str(tmp_path / "told"), str(tmp_path)) == free
    (tmp_path / "told").write_text("MemTotal: 9 kB\n")
    assert free_memory(str(tmp_path / "told")) == free_memory(str(tmp_path / "nothing")) > 1 << 20


def test_rows_grow_block_by_block_and_keep_what_they_hold() -> None:
    with torch.inference_mode():
        cache = SlotCache(prefill(tiny.llama(), [(0,)]), 3, 1000)
        capacities = []
        for length in range(1, 1001):
            for layer in cache.layers[: cache.reserve(length)]:
                assert bool((layer.keys[:, :, capacities[-1] :] == 0).all())
            cache.layers[0].keys[:, :, length - 1] = length
            capacities.append(cache.capacity)
        assert list(dict.fromkeys(capacities)) == [*range(BLOCK, 1000, BLOCK), 1000]
        assert torch.equal(cache.layers[0].keys[2, 0, :, 0], torch.arange(1.0, 1001))
        cache.resize(5, 70)
        assert (cache.rows, cache.capacity, len(cache.index)) == (5, 70, 5)
        assert torch.equal(cache.layers[0].keys[2, 0, :, 0], torch.arange(1.0, 71))
        assert bool((cache.layers[0].keys[3:] == 0).all())


def test_a_run_within_a_budget_is_the_same_run(tmp_path: Path) -> None:
    some, plain = tmp_path / "some.jsonl", tmp_path / "plain.jsonl"
    tiny.run(some, kv_tokens=120)
    tiny.run(plain)
    assert sorted(some.read_text().splitlines()) == sorted(plain.read_text().splitlines())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kv_tokens": 50}, "prompt 'p1': it may need 66 positions"),
        ({"kv_tokens": 0}, "must be at least 1"),
        ({"kv_tokens": 500, "engine": "static"}, "is for models in slots"),
    ],
)
def test_a_run_that_cannot_have_such_a_budget_is_refused_before_the_work(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(InputError) as refused:
        tiny.run(out, max_new_tokens=40, **options)
    assert message in str(refused.value)
    assert not out.exists()


@pytest.mark.parametrize("ahead", [False, True])
def test_prompts_longer_than_rows_are_now_are_forgotten(monkeypatch: pytest.MonkeyPatch, ahead: bool) -> None:
    """Batches shrink by quarters, as on a GPU: rows of nobody are computed along behind the prompts that they hold."""
    plain = slot_engine.batch
    monkeypatch.setattr(slot_engine, "batch", lambda attempts, slots, **_: plain(attempts, slots, few=True))
    long = tuple((7 * at) % 250 + 1 for at in range(100))

    def tokens(budget: int | None) -> dict[str, list[int]]:
        engine, made = engine_of(kv_tokens=budget, ahead=ahead), dict[str, list[int]]()
        for wave in ([("long", long)], [(f"s{i}", (i + 1, 2, 3)) for i in range(5)], [("again", long)]):
            for name, prompt in wave:
                engine.submit(Attempt(name, prompt, stream_key(0, name, 0), 10))
            while engine.busy:
                for event in engine.step():
                    made.setdefault(event.id, []).append(event.token)
        return made

    assert tokens(120) == tokens(300) == tokens(None)


def test_a_batch_shrinks_also_while_the_next_attempt_waits_for_room() -> None:
    engine = engine_of(kv_tokens=400)
    for i in range(8):
        engine.submit(Attempt(f"{i}", (1, 2, 3 + i), stream_key(0, f"{i}", 0), 40 if i == 0 else 3))
    engine.step()
    engine.submit(Attempt("big", tuple(range(1, 200)), stream_key(0, "big", 0), 50))
    while "0" in engine.running:
        engine.step()
    assert engine.row_steps < 90  # 40 steps of 8 rows would be 320
    assert engine.busy


def test_a_model_is_left_as_it_was_if_no_engine_comes_to_be() -> None:
    model = tiny.llama()
    model.set_attn_implementation("sdpa")
    with pytest.raises(Exception, match=r"memory|size|alloc|bytes"):
        SlotEngine(model, slots=10**14, sampling=Sampling(), end=frozenset())
    assert model.config._attn_implementation == "sdpa"
