"""Sets and maps of ids in a few bytes an id, however long ids are: a run has millions of them.

Of an id a digest of 96 bits is kept. Two of n different ids have the same one with a probability of n²/2⁹⁷: of a
million it is 6·10⁻¹⁸, of a thousand million 6·10⁻¹². Digests lie sorted in 256 buckets, each an array of numbers,
so that what it costs to find or add one hardly grows: some 2 µs among a million.
"""

from array import array
from bisect import bisect_left
from hashlib import blake2b
from typing import Final, Generic, TypeVar

_BUCKETS: Final = 256

T = TypeVar("T")


class _Bucket:
    """Digests in their order, cut into 64 and 32 bits; and beside each a code, where there are any."""

    __slots__ = ("codes", "firsts", "seconds")

    def __init__(self) -> None:
        self.firsts, self.seconds, self.codes = array("Q"), array("I"), array("I")

    def find(self, first: int, second: int) -> tuple[int, bool]:
        """Return the place of a digest, and whether it is there; else it belongs there."""
        firsts = self.firsts
        place = bisect_left(firsts, first)
        while place < len(firsts) and firsts[place] == first:
            if self.seconds[place] == second:
                return place, True
            place += 1
        return place, False

    def insert(self, place: int, first: int, second: int) -> None:
        """Add a digest where it belongs."""
        self.firsts.insert(place, first)
        self.seconds.insert(place, second)


class _Buckets:
    """All buckets; each is made when it is first looked at."""

    def __init__(self) -> None:
        self._buckets: list[_Bucket | None] = [None] * _BUCKETS

    def of(self, name: str) -> tuple[_Bucket, int, int]:
        """Return the bucket of an id, and its digest in two parts."""
        digest = blake2b(name.encode(errors="surrogatepass"), digest_size=12).digest()
        first, second = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")
        bucket = self._buckets[first % _BUCKETS]
        if bucket is None:
            bucket = self._buckets[first % _BUCKETS] = _Bucket()
        return bucket, first, second


class IdSet:
    """A set of ids, in some 13 bytes each."""

    def __init__(self) -> None:
        self._buckets = _Buckets()
        self._count = 0

    def add(self, name: str) -> bool:
        """Add an id; return whether it is new."""
        bucket, *digest = self._buckets.of(name)
        place, there = bucket.find(*digest)
        if there:
            return False
        bucket.insert(place, *digest)
        self._count += 1
        return True

    def __contains__(self, name: str) -> bool:
        bucket, *digest = self._buckets.of(name)
        return bucket.find(*digest)[1]

    def __len__(self) -> int:
        return self._count


class IdMap(Generic[T]):
    """A map from ids to values of which few are different, in some 17 bytes each; values can be hashed.

    default: the value of an id that was given none.
    """

    def __init__(self, default: T) -> None:
        self._buckets = _Buckets()
        self._default = default
        self._values: list[T] = []  # by code
        self._codes: dict[T, int] = {}
        self._counts: list[int] = []  # ids that have each

    def __getitem__(self, name: str) -> T:
        bucket, *digest = self._buckets.of(name)
        place, there = bucket.find(*digest)
        return self._values[bucket.codes[place]] if there else self._default

    def __setitem__(self, name: str, value: T) -> None:
        code = self._codes.setdefault(value, len(self._values))
        if code == len(self._values):
            self._values.append(value)
            self._counts.append(0)
        bucket, *digest = self._buckets.of(name)
        place, there = bucket.find(*digest)
        if there:
            self._counts[bucket.codes[place]] -= 1
            bucket.codes[place] = code
        else:
            bucket.insert(place, *digest)
            bucket.codes.insert(place, code)
        self._counts[code] += 1

    def __len__(self) -> int:
        return sum(self._counts)

    def counts(self) -> dict[T, int]:
        """Return how many ids have each of the values that any has."""
        return {value: count for value, count in zip(self._values, self._counts, strict=True) if count}
