"""Reports: what is said of a run, a ledger, a policy or traces, and what is shown of their texts."""

import base64
import hashlib
import json
import re
import time
import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from msifr_integrations.cli import main
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.paired import pair_runs, read_attempts
from msifr_integrations.report.attempts import Told, choose, shown
from msifr_integrations.report.deciding import deciding_evidence
from msifr_integrations.report.given import what_is
from msifr_integrations.report.numbers import Bin, Estimate, ReportNumbers, measured, policy_numbers
from msifr_integrations.report.page import page
from msifr_integrations.report.plots import estimates_plot, frontier_plot, reliability_plot, stops_plot
from msifr_integrations.report.said import certified_on, groups_remark
from msifr_integrations.report.svg import ticks
from msifr_policy.beliefs import Beliefs
from msifr_policy.beliefs.linear import CheckpointGroup, LinearModel
from msifr_policy.evidence.schedule import NewlineSteps
from msifr_policy.fitted_policy import FittedPolicy
from msifr_policy.policy_file import FrontierPoint
from msifr_policy.records.traces import read_traces
from msifr_policy.validators import Arithmetic, Repetition
from msifr_policy.validators.base import Rule, TextState, evidence
from msifr_sim import Outcomes, summarise
from reports import PROMPTS, make_runs, play


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("runs"))


class Made:
    """A report that was made: what was printed, the JSON document, the page, and the attempts in it."""

    def __init__(self, out, *arguments):
        result = CliRunner().invoke(main, ["report", *map(str, arguments), "-o", str(out), "--json"])
        assert result.exit_code == 0, result.output
        self.numbers = json.loads(result.stdout)
        self.said = result.stderr
        self.html = out.read_text()
        data = re.search(r'<script type="application/json" id="attempts">(.*?)</script>', self.html, re.DOTALL)
        self.attempts = json.loads(data[1]) if data else []
        self.sections = re.findall(r'<section id="([a-z-]+)"', self.html)

    def left_out(self):
        return [each["section"] for each in self.numbers["left_out"]]


@pytest.fixture(scope="module")
def paired(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("paired") / "report.html"
    return Made(out, runs.with_policy, "--policy", runs.policy, "--paired", runs.full)


def refused(*arguments):
    result = CliRunner().invoke(main, ["report", *map(str, arguments)])
    assert result.exit_code == 2, result.output
    return result.stderr


# What is said.


def test_a_paired_run_says_in_one_sentence_what_was_saved_lost_and_certified(runs, paired):
    summary = summarise(pair_runs(runs.full, runs.with_policy).outcomes, length_cap=runs.file.length_cap.cap)
    assert 0 < summary.false_reject_rate < 0.1 < summary.saving_rate
    said = paired.numbers["statement"]
    for value in (summary.saving_rate, *summary.saving_rate_ci, summary.false_reject_rate):
        assert f"{value:.1%}" in said
    assert f"{summary.net_cost_factor:.3f}" in said
    assert "certified beforehand: f at most 10% at new prompts" in said
    assert said.count(". ") == 0
    assert said in paired.said
    measured = paired.numbers["measured"]
    assert measured["summary"]["saving_rate"] == summary.saving_rate
    assert measured["how"] == "paired"
    assert paired.numbers["remarks"] == []


def test_all_sections_stand_in_the_order_in_which_they_are_read(runs, paired, tmp_path):
    order = ["frontier", "funnel", "ledger", "reliability", "groups", "simulated", "difficulty", "viewer"]
    assert paired.sections == [*order, "left-out", "glossary"]
    assert paired.left_out() == ["What was simulated before, with intervals"]
    with_traces = Made(tmp_path / "r.html", runs.with_policy, runs.policy, runs.full, runs.traces)
    assert with_traces.sections == [*order, "glossary"]
    assert with_traces.numbers["statement"] == paired.numbers["statement"]  # the full run was found to be one
    certified = runs.file.certified_on
    assert with_traces.numbers["simulated"]["n_prompts"] == certified.n_prompts
    assert "certified on" in with_traces.numbers["simulated_on"]


def test_counts_of_funnel_ledger_and_fates_agree(paired):
    numbers = paired.numbers
    totals, measured = numbers["run"]["totals"], numbers["measured"]
    by_reason = Counter()
    for stage in numbers["funnel"]:
        by_reason.update(stage["discarded"])
    assert by_reason == measured["summary"]["discards_by_reason"]
    assert by_reason.total() == totals["discarded"]
    lost = sum(stage["lost"] for stage in numbers["funnel"])
    fates = {each["fate"]: each for each in measured["spending"]}
    assert lost == fates["accepted, discarded"]["attempts"] == numbers["attempts"]["lost"] > 0
    assert sum(each["spent"] for each in fates.values()) == totals["tokens"]
    assert sum(numbers["attempts"].values()) == 4 * PROMPTS == totals["attempts"]
    assert sum(group["lost"] for group in measured["groups"]) == lost
    assert sum(bin_["n_attempts"] for bin_ in numbers["reliability"]) <= 4 * PROMPTS


@pytest.mark.parametrize(
    ("names", "sections", "says"),
    [
        (["policy"], "frontier groups left-out glossary", "On the 1"),
        (["policy", "traces"],
         "frontier funnel ledger reliability groups simulated difficulty viewer left-out glossary", "would have saved"),
        (["with_policy"], "funnel ledger groups viewer left-out glossary", "is not known without the same run"),
        (["with_policy", "policy"], "frontier funnel ledger groups viewer left-out glossary", "certified beforehand"),
        (["full"], "ledger groups viewer left-out glossary", "it had no policy"),
        (["full", "policy"], "frontier funnel ledger reliability groups simulated difficulty viewer left-out glossary",
         "would have saved"),
        (["traces"], "viewer left-out glossary", "without a policy"),
    ],
)  # fmt: skip
def test_what_is_given_is_seen_from_what_it_holds(runs, tmp_path, names, sections, says):
    made = Made(tmp_path / "r.html", *(getattr(runs, name) for name in names))
    assert made.sections == sections.split()
    assert says in made.numbers["statement"]
    for each in made.numbers["left_out"]:
        assert f"left out: {each['section']}; it needs {each['needs']}" in made.said
        assert each["section"].replace("'", "&#39;") in made.html


def test_a_ledger_stands_for_its_run_and_alone_for_its_account(runs, tmp_path):
    whole = Made(tmp_path / "r.html", ledger_path(runs.with_policy))
    assert "viewer" in whole.sections
    alone = tmp_path / "alone.ledger.jsonl"
    alone.write_bytes(ledger_path(runs.with_policy).read_bytes())
    made = Made(tmp_path / "a.html", alone)
    assert made.sections == ["funnel", "ledger", "groups", "left-out", "glossary"]
    assert made.numbers["run"] == whole.numbers["run"]
    assert "The attempts themselves" in made.left_out()


def test_a_run_without_its_ledger_is_shown_without_the_account(runs, tmp_path):
    alone = tmp_path / "alone.jsonl"
    alone.write_bytes(runs.with_policy.read_bytes())
    made = Made(tmp_path / "r.html", alone)
    assert made.numbers["run"] is None
    assert "Ledger of a run" in made.left_out()
    assert made.numbers["attempts"]["discarded"] > 0


def test_a_run_that_goes_on_is_read_as_far_as_it_is(runs, tmp_path):
    going_on = tmp_path / "run.jsonl"
    lines, accounts = (path.read_bytes().splitlines(True) for path in (runs.with_policy, ledger_path(runs.with_policy)))
    going_on.write_bytes(b"".join(lines[:10]) + lines[10][:40])
    ledger_path(going_on).write_bytes(b"".join(accounts[:11]) + accounts[11][:20])
    made = Made(tmp_path / "r.html", going_on)
    assert sum(made.numbers["attempts"].values()) == len(made.attempts) == 10


# Little data.


def some_traces(path, traces):
    path.write_bytes(b"".join(msgspec.json.encode(trace) + b"\n" for trace in traces))
    return path


def test_little_data_reads_well(runs, tmp_path):
    traces = list(read_traces(runs.full))
    one = Made(tmp_path / "1.html", runs.policy, some_traces(tmp_path / "one.jsonl", traces[:1]))
    assert one.numbers["statement"].startswith("On 1 attempt at 1 prompt the policy would have saved s = ")
    assert re.search(r"saved s = [\d.]+% of the tokens", one.numbers["statement"])  # one prompt tells no spread
    assert any("So few prompts (1)" in remark for remark in one.numbers["remarks"])
    bad = [trace for trace in traces if not trace.accepted]
    none = Made(tmp_path / "0.html", runs.policy, some_traces(tmp_path / "none.jsonl", bad))
    assert "no good sample was there to lose (f is undefined)" in none.numbers["statement"]
    assert none.numbers["attempts"].get("lost", 0) == none.numbers["attempts"].get("kept", 0) == 0
    assert "None" not in re.sub(r"<script.*?</script>|<style.*?</style>", "", none.html, flags=re.DOTALL)


def uncertified(policy, path):
    file = json.loads(policy.read_text())
    file["certificate"] |= {"certified": False, "message": "nothing could be certified: 3 are too few", "groups": {}}
    path.write_text(json.dumps(file | {"thresholds": [], "price": None}))
    return path


def test_an_uncertified_policy_saves_nothing_and_says_why(runs, tmp_path):
    policy = uncertified(runs.policy, tmp_path / "uncertified.json")
    for given in ([policy], [policy, runs.full]):
        made = Made(tmp_path / "r.html", *given)
        assert made.numbers["statement"].startswith("Nothing was saved and nothing lost: nothing could be certified")
        assert made.numbers["policy"]["n_certified"] == 0
        assert "None of them is certified" in made.html


# What goes against the certificate is said beside it.


def test_numbers_against_the_certificate_are_never_shown_without_saying_so(runs, tmp_path):
    file = json.loads(runs.policy.read_text())
    file["certificate"]["max_false_reject"] = 0.001
    strict = tmp_path / "strict.json"
    strict.write_text(json.dumps(file))
    made = Made(tmp_path / "r.html", runs.with_policy, "--policy", strict, "--paired", runs.full)
    against, other = made.numbers["remarks"]
    assert against.startswith("The certificate is not true of these attempts: f at most 0.1% was certified")
    assert other.startswith("The run was made with another policy than strict.json")
    assert all(f"<strong>Mind:</strong> {remark}" in made.html for remark in (against, other))


def test_attempts_of_another_kind_and_prompts_the_policy_knows_are_remarked(runs, tmp_path):
    foreign = some_traces(
        tmp_path / "foreign.jsonl",
        [msgspec.structs.replace(trace, model="another") for trace in read_traces(runs.traces)][:200],
    )
    remarks = Made(tmp_path / "r.html", runs.policy, foreign).numbers["remarks"]
    assert any("fitted or certified on 50 of these 50 prompts" in remark for remark in remarks)
    assert any("models: another here" in remark for remark in remarks)


def test_a_group_above_the_budget_is_named_by_how_sure_it_is(runs):
    n = 400
    group = np.arange(n) % 4
    discarded = (group == 1) & (np.arange(n) % 8 < 4) | (group == 2) & (np.arange(n) % 64 < 8)
    outcomes = Outcomes(
        "tokens", np.full(n, 10.0), np.where(discarded, 5.0, 10.0), np.ones(n, bool), discarded, np.arange(n),
        discarded.astype(int), np.ones(n, int), tuple(np.where(discarded, "length", "").tolist()),
    )  # fmt: skip
    file = runs.file
    made = measured("replayed", outcomes, [f"g{i}" for i in group], file)
    exceeds = {each.name: each.exceeds for each in made.groups}
    assert exceeds == {"g0": "no", "g1": "surely", "g2": "observed", "g3": "no"}
    remark = groups_remark(made.groups, file.certificate)
    assert "exceeds the budget of 10% in g1: more than chance explains" in remark
    assert "In g2 more than 10% was lost here, which chance may explain" in remark


# The attempts.


def test_the_place_of_the_decision_is_exact(runs, paired):
    partial, full = read_attempts(runs.with_policy), read_attempts(runs.full)
    discarded = [one for one in paired.attempts if one["kind"] in ("lost", "discarded")]
    assert len(discarded) > 50
    for one in discarded:
        record = partial[one["id"]]
        marks = [part.get("mark", "") for part in one["parts"]]
        assert marks.count("decision") == 1
        at = marks.index("decision")
        before = "".join(part["text"] for part in one["parts"][:at])
        after = "".join(part["text"] for part in one["parts"][at + 1 :])
        assert before == record.text[: record.position]
        assert before + after == full[one["id"]].text
        assert set(marks[:at]) <= {"", "evidence"}
        assert set(marks[at + 1 :]) <= {"after"}
        assert (one["kind"] == "lost") == full[one["id"]].correct
    for one in paired.attempts:
        if one["kind"] in ("kept", "unaccepted"):
            assert [part["text"] for part in one["parts"]] == [full[one["id"]].text]


def test_beliefs_are_told_up_to_where_an_attempt_stopped(runs, paired):
    partial = read_attempts(runs.with_policy)
    for one in paired.attempts:
        told = dict(one["facts"])
        record = partial[one["id"]]
        if record.status == "discarded":
            on_the_way = told["posterior on its way"].split(" → ")
            assert len(on_the_way) == record.k + 1  # checkpoint 0 is the first
            assert on_the_way[-1] == f"{record.posterior:.0%}"


def test_arithmetic_is_shown_where_it_is_false(paired):
    """Each marked equation is put to Python's own arithmetic, and what the note says it is, it is."""
    sides = re.compile(r"^(\d+)([-+*/])(\d+)=(\d+)$")
    checked = 0
    for one in paired.attempts:
        if one["reason"] == "arithmetic":
            found = [part for part in one["parts"] if part.get("mark") == "evidence"]
            assert found, one
            for part in found:
                a, op, b, c = sides.match(part["text"]).groups()
                value = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b), "/": int(a) / int(b)}[op]
                assert value != int(c)
                assert part["note"] == f"false: it is {value:.0f}"
                checked += 1
    assert checked > 50
    lost = [one for one in paired.attempts if one["kind"] == "lost"]
    assert f"Of the {len(lost)} lost ones shown here {len(lost)} hold a false equation" in paired.html


class Letters(Rule, frozen=True):
    """Counts the letter x, less the letter y."""

    name = "letters"
    columns = ("x",)

    def _state(self, prompt):
        return _Count(prompt)


class Steps(Letters, frozen=True):
    """Counts so that every x adds equally much to the log-odds."""

    name = "steps"

    def _state(self, prompt):
        return _Even(prompt)


class _Count(TextState):
    feeds = 0

    def __init__(self, prompt):
        self._x = prompt.count("x")

    def _read(self, text):
        _Count.feeds += 1
        self._x += text.count("x") - text.count("y")
        return evidence(self._x)


class Blanks(Letters, frozen=True):
    """Counts blanks."""

    name = "blanks"

    def _state(self, prompt):
        return _Blank(prompt)


class _Blank(_Count):
    def _read(self, text):
        return super()._read("x" * text.count(" "))


class _Even(_Count):
    def _read(self, text):
        return evidence(np.expm1(super()._read(text).scores[0] / 50))


def policy_of(*validators, slope=-5.0):
    columns = tuple(f"{v.name}.{column}" for v in validators for column in v.columns)
    n = len(columns)
    groups = [CheckpointGroup(0.0, [0.0] * n, [1.0] * n, [slope] * n)]
    flat = LinearModel([0], [CheckpointGroup(0.0, [0.0] * n, [1.0] * n, [0.0] * n)])
    beliefs = Beliefs("logistic", columns, 100.0, LinearModel([0], groups), cost_model=flat)
    return FittedPolicy(NewlineSteps(), validators, beliefs, np.asarray([0.0, 0.5]))


def places(policy, text, **more):
    row = np.full(len(policy.beliefs.columns), np.nan)
    found = deciding_evidence(policy, policy.validators[0].name, text, k=1, row=row, **more)
    return found.where, [text[place.start : place.end] for place in found.places]


def test_evidence_lies_where_it_was_lost_for_good():
    policy = policy_of(Letters())
    assert places(policy, "one x two y\nthree\nfour xx five\nten\n") == ("text", ["xx"])
    assert places(policy, "one x two\nthree y\nfour xx five\nten\n") == ("text", ["xx"])  # y makes up for the first x
    assert places(policy, "a\nb x c x d\ne x f\n") == ("text", ["x", "x", "x"])
    assert places(policy, "nothing\nat all\n") == ("everywhere", [])
    assert places(policy, "one x\n", prompt="xxxxxx") == ("prompt", [])
    assert deciding_evidence(policy, "another", "x", k=1, row=np.full(1, np.nan)) is None


def test_of_several_equations_those_are_shown_that_the_text_claims_and_that_are_false():
    text = "First 3 + 4 = 7.\nIf 2 + 2 = 5, that is odd.\nThen 7 + 5 = 13.\nSo 13 * 2 = 26.\nLast 26 - 9 = 18.\nDone.\n"
    policy = policy_of(Arithmetic())
    assert places(policy, text) == ("text", ["Then 7 + 5 = 13", "Last 26 - 9 = 18"])
    row = np.full(len(policy.beliefs.columns), np.nan)
    found = deciding_evidence(policy, "arithmetic", text, k=1, row=row)
    assert [place.note for place in found.places] == ["false: it is 12", "false: it is 17"]
    assert found.scores["false"] == 2


def test_evidence_that_grows_little_by_little_is_in_no_place():
    assert places(policy_of(Steps()), "x " * 200) == ("everywhere", [])


def test_a_loop_is_shown_within_the_loop():
    text = "She adds the numbers one by one and looks.\n" + "and then again, " * 60
    where, found = places(policy_of(Repetition()), text)
    assert where == "text"
    assert found
    assert all(piece in "and then again, " * 3 for piece in found)


def test_however_long_a_text_is_it_is_read_in_a_bounded_number_of_pieces():
    _Count.feeds = 0
    where, found = places(policy_of(Letters()), "word word\n" * 100_000 + "x\n" + "word " * 200_000)
    assert where == "text"
    assert all("x" in piece for piece in found)
    assert _Count.feeds < 1500


def test_a_long_blank_is_looked_through_in_linear_time():
    began = time.process_time()
    assert places(policy_of(Blanks()), "Well\n" + " " * 50_000 + "\nDone.\n") == ("everywhere", [])
    assert time.process_time() - began < 3  # a search that begins anew at each blank takes half a minute


def test_long_texts_are_cut_around_what_is_marked():
    told = Told("a", "kept", "", "p" * 100_000, "b" * 50_000 + "e" * 50_000, True, 3.0, "tokens")
    one = shown(told, None, 200)
    assert len(one.prompt) < 4_000
    first, cut, last = one.parts
    assert (cut.mark, first.text[:3], last.text[-3:]) == ("cut", "bbb", "eee")
    left_out = int(re.search(r"\[([\d,]+) characters left out\]", cut.text)[1].replace(",", ""))
    assert left_out + len(first.text) + len(last.text) == 100_000
    assert len(first.text) + len(last.text) <= 6_000


def test_all_lost_attempts_come_first_whatever_the_order_of_the_file():
    ids = [f"p{i}" for i in range(500)]
    kinds = ["lost" if i % 50 == 0 else ("discarded", "kept", "unaccepted")[i % 3] for i in range(500)]
    chosen = choose(ids, kinds, 40)
    assert len(chosen) == len(set(chosen)) == 40
    assert [kinds[i] for i in chosen[:10]] == ["lost"] * 10
    assert Counter(kinds[i] for i in chosen[10:]) == {"discarded": 10, "kept": 10, "unaccepted": 10}
    turned = np.random.default_rng(0).permutation(500)
    again = choose([ids[i] for i in turned], [kinds[i] for i in turned], 40)
    assert [ids[i] for i in chosen] == [ids[turned[i]] for i in again]
    assert len(choose(ids, kinds, 4)) == 4
    assert choose([], []) == []


# The page.


class Elements(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found, self.rows, self.heads = [], 0, 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def named(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028<!--" + '"' + "'&amp;"


def test_texts_of_models_stay_texts(runs, tmp_path):
    traces = [
        msgspec.structs.replace(
            trace, id=HOSTILE + str(i), prompt=HOSTILE, text=HOSTILE, group=HOSTILE + "ab"[i % 2], gold=HOSTILE,
            token_ends=None, tokens=30,
        )
        for i, trace in enumerate(read_traces(runs.full)) if i < 20
    ]  # fmt: skip
    made = Made(tmp_path / "r.html", runs.policy, some_traces(tmp_path / "hostile.jsonl", traces))
    elements = Elements(made.html)
    assert len(elements.named("script")) == 2
    assert not elements.named("img")
    assert all("".join(p["text"] for p in one["parts"]) == HOSTILE for one in made.attempts)
    assert {one["prompt"] for one in made.attempts} == {HOSTILE}
    assert not {name for _, attributes in elements.found for name in attributes if name.startswith("on")}


def test_the_page_asks_nothing_of_a_network_and_may_not(paired):
    elements = Elements(paired.html)
    assert not [a for _, a in elements.found if {"src", "srcset", "data"} & a.keys()]
    assert all(a["href"].startswith("#") for a in elements.named("a"))
    policy = next(a["content"] for a in elements.named("meta") if a.get("http-equiv") == "Content-Security-Policy")
    script = re.search(r"</script>\n<script>(.*?)</script>", paired.html, re.DOTALL)[1]
    style = re.search(r"<style>(.*?)</style>", paired.html, re.DOTALL)[1]
    for kind, text in (("script", script), ("style", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "innerHTML" not in paired.html
    assert not [a for _, a in elements.found if "style" in a]


def test_rows_have_heads_plots_have_words_with_numbers_and_links_lead_somewhere(paired):
    elements = Elements(paired.html)
    assert paired.html.count('<th scope="row">') == len(re.findall(r"<tr><th scope=\"row\"|<tr><td", paired.html))
    labels = [a["aria-label"] for a in elements.named("svg")]
    assert len(labels) == 6
    assert all(len(re.findall(r"\d", label)) > 5 for label in labels)
    targets = {a["id"] for _, a in elements.found if "id" in a}
    assert {a["href"][1:] for a in elements.named("a")} <= targets
    assert len(targets) == len([a for _, a in elements.found if "id" in a and not a["id"].startswith("fill")])


def test_the_same_inputs_give_the_same_page(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    given = (runs.with_policy, "--policy", runs.policy, "--paired", runs.full)
    first, second = Made(tmp_path / "1.html", *given), Made(tmp_path / "2.html", *given)
    assert first.html == second.html
    assert first.numbers["made_on"] == "1970-01-02"


def test_no_hash_is_shown_where_a_name_would_help(runs, paired):
    fingerprint = runs.file.policy().fingerprint.split()[1]
    text = re.sub(r"<script.*?</script>", "", paired.html, flags=re.DOTALL)
    assert fingerprint not in text
    assert not re.search(r"\b[0-9a-f]{16,}\b", text)


# Plots.


def test_plots_are_xml_and_mark_what_is_certified():
    frontier = [FrontierPoint(10.0 - i, 0.05 * i, 0.01 * i) for i in range(6)]
    svg = frontier_plot(frontier, chosen=(0.02, 0.1), realised=(0.03, 0.12), max_false_reject=0.05, n_certified=3)
    marks = [mark.get("fill") for mark in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}circle")]  # noqa: S314
    hollow = [fill == "none" for fill in marks if fill]
    assert hollow.count(False) == 3 + 1  # one more stands in the legend
    assert hollow.count(True) == 3 + 1
    assert "6 policies of the path, 3 of them certified" in svg
    for other in (
        frontier_plot([], chosen=None, realised=None, max_false_reject=0.0),
        frontier_plot(frontier[:1], chosen=None, realised=(0.0, -0.2), max_false_reject=0.05),
        stops_plot({'<b>&"': np.asarray([1, 2]), "other": np.asarray([0, 0, 5])}),
        stops_plot({}),
        reliability_plot([Bin(0.2, 1.0, 0.1, 1.0, 1)]),
        estimates_plot({"a" * 50: [Estimate(0.0)], "b": [None]}, ["<n>"], x_label="f", limit=0.0),
        estimates_plot({}, [], x_label="f"),
    ):
        ET.fromstring(other)  # noqa: S314 - our own output
        assert "nan" not in other
        assert "inf" not in other.replace("information", "")


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.034), (-0.6, 5.4), (0, 1e-9), (-3, 1234), (0.2, 0.7)])
def test_ticks_are_few_round_and_inside(low, high):
    marks = ticks(low, high)
    assert 2 <= len(marks) <= 6
    assert all(low - 1e-12 <= mark <= high * (1 + 1e-9) for mark in marks)


def test_attempts_are_counted_in_whole_numbers():
    assert ticks(0, 2.16, least=1.0) == [0, 1, 2]
    drawn = stops_plot({"arithmetic": np.asarray([0, 2, 1])})
    assert ">2<" in drawn
    assert not {">0.5<", ">1.5<"} & set(re.findall(r">[\d.]+<", drawn))


def test_what_a_run_discarded_is_called_right_only_where_that_is_known(runs, tmp_path):
    alone = Made(tmp_path / "a.html", runs.with_policy)
    beside = Made(tmp_path / "b.html", runs.with_policy, runs.full)
    assert " discarded, " in alone.html
    assert "rightly discarded" not in alone.html
    assert " rightly discarded, " in beside.html
    assert "#term-ledger" in alone.html
    replayed = Made(tmp_path / "c.html", runs.traces, "--policy", runs.policy)
    assert "#term-tokens-beside" not in replayed.html


def test_the_first_policies_of_the_path_are_the_certified_ones(runs):
    file = runs.file
    numbers = policy_numbers(file, "p")
    assert numbers.frontier[numbers.n_certified - 1].price == file.price
    assert numbers.chosen == numbers.frontier[numbers.n_certified - 1]
    for elsewhere in ({"price": 0.123}, {"thresholds": [0.0, 0.0, 1.0]}):  # a length cap at a price of the path
        assert policy_numbers(msgspec.structs.replace(file, **elsewhere), "p").n_certified == 0


# What is refused.


def test_what_cannot_be_reported_is_said_in_one_line(runs, tmp_path):
    other = tmp_path / "other.json"
    other.write_bytes(runs.policy.read_bytes())
    assert "where one policy is meant, 2 are named" in refused(runs.policy, other, "-o", tmp_path / "r.html")
    run = tmp_path / "again.jsonl"
    play(list(read_traces(runs.full))[:8], runs.file.policy(), run)
    assert "msifr merge joins the shards" in refused(runs.with_policy, run)
    assert "no such file" in refused(tmp_path / "missing.jsonl")
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    assert "holds no attempt" in refused(empty, "-o", tmp_path / "r.html")
    assert "is one of the inputs" in refused(runs.full, "-o", runs.full)
    assert "is no finished run without a policy" in refused(runs.with_policy, "--paired", run)
    some = tmp_path / "some.jsonl"
    play(list(read_traces(runs.full))[:8], None, some)
    assert "attempts are in one run only" in refused(runs.with_policy, "--paired", some, "-o", tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_kinds_of_files(runs, tmp_path):
    compact = tmp_path / "compact"
    compact.write_text(json.dumps(json.loads(runs.policy.read_text())))
    files = (runs.policy, compact, runs.traces, runs.full, runs.with_policy, ledger_path(runs.full), tmp_path)
    kinds = ["policy", "policy", "traces", "full run", "run", "ledger", "traces"]
    assert [what_is(str(path)) for path in files] == kinds


def test_a_page_may_show_nothing(runs, tmp_path):
    made = Made(tmp_path / "r.html", runs.with_policy, "--attempts", "0")
    assert made.attempts == []
    assert "<script" not in made.html
    assert "viewer" not in made.sections


def test_the_json_document_is_what_its_type_says_and_makes_the_page_again(paired):
    document = json.dumps(paired.numbers).encode()
    numbers = msgspec.json.decode(document, type=ReportNumbers, strict=True)
    assert json.loads(msgspec.json.encode(numbers)) == paired.numbers
    again = page("t", numbers)
    assert re.findall(r'<section id="([a-z-]+)"', again) == [s for s in paired.sections if s != "viewer"]


def test_how_many_samples_a_certificate_counts_is_told_with_how_they_were_drawn(runs):
    betting = msgspec.structs.replace(
        runs.file.certificate, method="betting by prompt", n_accepted=1, n_prompts=1200
    )  # fmt: skip
    assert certified_on(betting) == "1 accepted sample at 1,200 prompts"
    drawn = msgspec.structs.replace(betting, method="exact binomial", n_accepted=45, n_prompts=97)
    assert certified_on(drawn) == "45 accepted samples at 97 prompts, of one attempt drawn at each"
