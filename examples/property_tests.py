"""Property tests of one's own policy: what it decides from, and what it saves, keeps and loses. Run it by pytest."""

from hypothesis import given, settings
from hypothesis import strategies as st

from msifr_policy import PolicyFile
from msifr_policy.exact.tree import nodes
from msifr_policy.testing import assert_bias_bound, assert_break_even, recorded_policy, trees

policy = PolicyFile.load("policy.json").policy()
texts = st.sampled_from(["He buys 3: 4+3=7.\n", "He buys 3: 4+3=8.\n", "and so on, " * 20])


@settings(max_examples=50)
@given(trees(depth=2, width=2, binary=True), st.data())
def test_it_decides_by_what_it_has_seen(root, data):
    pieces = {address: (data.draw(texts), 5) for address, _ in nodes(root)}
    choices = recorded_policy(root, policy, pieces, prompt="How many?")
    assert_break_even(root, choices)
    assert_bias_bound(root, choices)
