"""The memory of rejections at one prompt: prefixes proven dead are not drawn again, and nothing else changes [T16].

A sequence y of tokens is drawn with probability p(y) = Π p(yᵢ | y before i). A prefix x is **dead** if every sequence
that begins with it is rejected; of a sequence that is over and was rejected, the whole is. What is **left** of x is the
share of its continuations that is not proven dead:

    W(x) = 0 if x is dead, else 1 − Σ_t p(t | x) (1 − W(xt)),

and 1 where nothing is known. A token t after x is drawn with probability p(t | x) W(xt) / W(x). The factors W cancel
along a sequence, which comes with probability p(y) / W(root) if no prefix of it is dead, else never: p on condition
that y is not proven dead. What is accepted is not dead, so its distribution is p on condition of being accepted,
whatever is remembered. So forgetting is always exact. It is done where remembering is not worth its memory
(`LEAST_MASS`), and where hardly anything is left, so that rounding would count (`LEAST_LEFT`).

One attempt has to see one memory: it may grow between attempts, not while one at the same prompt is drawn.

(Adaptive sampling with approximate expected futures, arXiv 2405.21047, and constrained adaptive rejection sampling,
arXiv 2510.01902, remove what a grammar forbids; here it is what was drawn and rejected.)
"""

import math
from collections.abc import Sequence

import msgspec

LEAST_MASS = 1e-6
"""Prefixes of a smaller share of a prompt's attempts are not remembered: nobody would draw them again."""

LEAST_LEFT = 1e-6
"""Nothing more is remembered where less would be left: numbers of 16 digits weigh it to 10 of them."""

_ROUNDING = 1e-12  # what is left of a prefix beside the rounding of its parts is nothing


class Avoided(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an attempt could not come to, since it was proven dead when it began.

    mass: the share of attempts that would have, 1 − W(root), in (0, 1). expected_tokens: Σ p(x)·|x| over the dead
    prefixes x, in tokens.
    """

    mass: float
    expected_tokens: float

    def __post_init__(self) -> None:
        if not (0 < self.mass < 1 and self.expected_tokens >= 0):
            raise ValueError("what was avoided must be a share between 0 and 1, and tokens")

    @property
    def attempts(self) -> float:
        """How many attempts would be drawn in vain, in expectation, before one comes that is not proven dead."""
        return self.mass / (1 - self.mass)

    @property
    def tokens(self) -> float:
        """Tokens that these would take until they are dead, in expectation."""
        return self.expected_tokens / (1 - self.mass)


class DeadPrefix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A prefix proven dead: its tokens, and the log-probability with which each was drawn, by what was left then."""

    token_ids: list[int]
    logprobs: list[float]

    def __post_init__(self) -> None:
        if len(self.token_ids) != len(self.logprobs):
            raise ValueError("token_ids and logprobs differ in length")


class DeadNode:
    """What begins with a prefix of dead ones. left: W; tokens: Σ p(x | here)·|x| over dead prefixes x from here on."""

    __slots__ = ("_weights", "after", "left", "tokens")

    def __init__(self) -> None:
        self.left: float = 1  # and 0 are written so that exact numbers stay exact
        self.tokens: float = 0
        self.after: dict[int, tuple[float, DeadNode]] = {}  # by token: p of it, and the prefix with it
        self._weights: tuple[list[int], list[float]] | None = None

    @property
    def weights(self) -> tuple[list[int], list[float]]:
        """The tokens of which less than all is left, and of each log W; −∞ for those that are dead."""
        if self._weights is None:
            left = [child.left for _, child in self.after.values()]
            self._weights = list(self.after), [math.log(share) if share > 0 else -math.inf for share in left]
        return self._weights

    def step(self, token: int) -> "DeadNode | None":
        """Return the prefix with one more token, None if nothing is known of what begins with it."""
        _, child = self.after.get(token, (0.0, None))
        return child

    def die(self, tokens: float) -> None:
        """Be dead, which took so many tokens."""
        self.left, self.tokens, self.after, self._weights = 0, tokens, {}, None

    def read(self) -> None:
        """Make up what is left by what is left of the prefixes after this one."""
        self.left = 1 - sum(p * (1 - child.left) for p, child in self.after.values())
        self.tokens = sum(p * child.tokens for p, child in self.after.values())
        self._weights = None
        if self.left < _ROUNDING:
            self.die(self.tokens)


class DeadPrefixes:
    """Prefixes proven dead at one prompt.

    Memory: a node for each token of what is remembered, of which at most 1 / `LEAST_MASS` prefixes can be.
    """

    def __init__(self) -> None:
        self.root = DeadNode()

    @property
    def avoided(self) -> Avoided | None:
        """What an attempt that begins now cannot come to, None if that is nothing."""
        mass = 1 - self.root.left
        return Avoided(mass, self.root.tokens) if mass > 0 else None

    def add(self, tokens: Sequence[int], probabilities: Sequence[float]) -> bool:
        """Remember a prefix proven dead, and return whether it is worth it.

        probabilities: with which each token was drawn by this memory as it is now. Floats, or numbers that are exact.
        """
        node: DeadNode | None = self.root
        before: list[float] = []  # p of each token, without what the memory made of it
        for token, drawn in zip(tokens, probabilities, strict=True):
            known = None if node is None else node.after.get(token)
            if known is not None:
                before.append(known[0])
                node = known[1]
            else:
                before.append(drawn if node is None else drawn * node.left)
                node = None
        mass = math.prod(before) * (1 if node is None else node.left)
        if not (mass >= LEAST_MASS and self.root.left - mass >= LEAST_LEFT):  # nor one that is no number
            return False
        path = [self.root]
        for token, p in zip(tokens, before, strict=True):
            path.append(path[-1].after.setdefault(token, (p, DeadNode()))[1])
        path.pop().die(len(tokens))
        for node in reversed(path):
            node.read()
        return True
