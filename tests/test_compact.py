"""Sets and maps of ids in a few bytes are sets and maps; what they take is what they say."""

import tracemalloc
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msifr_policy.records.compact import IdMap, IdSet, _Bucket

NAMES = st.text(max_size=6) | st.sampled_from(["", "p/0/1", "p/0/10", "\ud800", "é", "e\u0301"])


@given(st.lists(NAMES, max_size=60))
def test_a_set_of_ids_is_a_set(names: list[str]) -> None:
    ours, theirs = IdSet(), set[str]()
    for name in names:
        assert ours.add(name) == (name not in theirs)
        theirs.add(name)


@given(st.lists(st.tuples(NAMES, st.integers(0, 3)), max_size=60), NAMES)
def test_a_map_of_ids_is_a_map_and_counts_its_values(pairs: list[tuple[str, int]], other: str) -> None:
    ours, theirs = IdMap(7), dict[str, int]()
    for name, value in pairs:
        ours[name] = theirs[name] = value
        assert {each: ours[each] for each in theirs} == theirs
    assert ours[other] == theirs.get(other, 7)
    assert ours.counts() == Counter(theirs.values())


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=40))
def test_digests_that_begin_alike_are_told_apart(digests: list[tuple[int, int]]) -> None:
    """Which happens in a run once in many thousand years: their second parts say which is which."""
    bucket, there = _Bucket(), set[tuple[int, int]]()
    for digest in digests:
        place, found = bucket.find(*digest)
        assert found == (digest in there)
        if found:
            assert (bucket.firsts[place], bucket.seconds[place]) == digest
        else:
            bucket.insert(place, *digest)
            there.add(digest)
        assert list(bucket.firsts) == sorted(bucket.firsts)


def _fill_set(count: int) -> object:
    ids = IdSet()
    for i in range(count):
        ids.add(f"a rather long id of a prompt:{i}/0/3")
    return ids


def _fill_map(count: int) -> object:
    ids = IdMap(0)
    for i in range(count):
        ids[f"a rather long id of a prompt:{i}/0/3"] = i % 5
    return ids


@pytest.mark.parametrize(("fill", "bytes_each"), [(_fill_set, 13), (_fill_map, 17)])
def test_an_id_takes_as_many_bytes_as_is_said(fill: Callable[[int], object], bytes_each: int) -> None:
    sizes = []
    for count in (5_000, 25_000):
        tracemalloc.start()
        ids = fill(count)
        sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        del ids
    assert (sizes[1] - sizes[0]) / 20_000 < bytes_each + 2


def test_each_of_many_ids_is_new_once() -> None:
    names = [str(i) for i in range(3000)]
    ids = IdSet()
    assert all(ids.add(name) for name in names)
    assert not any(ids.add(name) for name in reversed(names))
