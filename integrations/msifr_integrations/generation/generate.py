"""Generate attempts at prompts under a policy, and account for every token.

`generate` is one **run**: it reads prompts, runs a number of attempts at each in an engine, asks the policy between two
steps, puts finished attempts to the final filter, and writes `out.jsonl` with its ledger beside it. A killed run goes
on where it stopped when it is started again with the same settings; attempts that were in flight begin anew and come
out the same, since each has its own random stream.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import msgspec

from msifr_integrations.engine.base import Attempt, PromptInput, stream_key
from msifr_integrations.generation.autopilot import Autopilot, audit_share, autopilot_settings, in_drawn_order
from msifr_integrations.generation.engines import Opening, as_opened, drawing, model_settings, open_engine
from msifr_integrations.generation.forcing import Forcing, refused_chat
from msifr_integrations.generation.forecast import SpeedSeen
from msifr_integrations.generation.found import asked
from msifr_integrations.generation.goals import goals_report, spent_before
from msifr_integrations.generation.inputs import fingerprint
from msifr_integrations.generation.journal import Journal
from msifr_integrations.generation.live import Task
from msifr_integrations.generation.options import DEFAULTS, DRAWN, GenerateOptions
from msifr_integrations.generation.pilots import audit_of, monitor_of, settled
from msifr_integrations.generation.preview import foretell, previewed, watching
from msifr_integrations.generation.progress import Progress
from msifr_integrations.generation.prompts import Prompts, check_prompts
from msifr_integrations.generation.provenance import differences, quota_in_words
from msifr_integrations.generation.rejections import Rejections, memory_report, remembered
from msifr_integrations.generation.result import Result, reference, remark, result_of
from msifr_integrations.generation.run import Run
from msifr_integrations.generation.states import read_states
from msifr_integrations.generation.steering import Blocks, SteeredSink, Steerer, Under, block_size
from msifr_integrations.generation.turns import Goal, Portion, Turns, reads_history
from msifr_policy import filters
from msifr_policy.audit import Audit
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import prompt_hash
from msifr_policy.filters import FinalFilter, Prompt
from msifr_policy.filters.decided import reader_of
from msifr_policy.fitted_policy import FittedPolicy
from msifr_policy.policy import NEVER_DISCARD, NeverDiscard, Policy
from msifr_policy.records.ledger import AtPrompt
from msifr_policy.validators import Validator, describe

_SETTINGS = (
    *("attempts", "accepted_per_prompt", "seed", "template", "stop", "finish_when_decided", "temperature", "top_k"),
    *("top_p", "max_new_tokens", "slots", "logprobs"),
)
"""Options that the ledger keeps as they are."""

_AUTO = "auto"
"""A setting that is known only when the engine runs."""


@dataclass(frozen=True)
class Job:
    """A run whose input is checked, for what is to make its attempts.

    prompts: those of its shard, or of its preview. policy, accept: what decides. settings: as far as they are known
    before an engine runs. journal: opened, and not begun in this session. progress, say: as `generate` is given them.
    places: of its prompts among those of the run, None: they are all of these.
    """

    model: Any
    tokenizer: Any
    prompts: Sequence[Prompt]
    policy: Policy
    accept: FinalFilter
    options: GenerateOptions
    settings: dict[str, Any]
    journal: Journal
    progress: Callable[[Progress], None] | None
    say: Callable[[str], None]
    places: Sequence[int] | None = None

    @property
    def goal(self) -> Goal:
        """What is to be made at each prompt."""
        return Goal(self.options.attempts, self.options.accepted_per_prompt)

    @property
    def expected(self) -> int:
        """The attempts that the journal has in the end, at most, as is known by now: one that has them is complete."""
        at = self.at_all
        return self.journal.count + sum(n * (self.goal.most(each) - each.attempts) for each, n in at.items())

    @property
    def at_all(self) -> Mapping[AtPrompt, int]:
        """At how many of its prompts attempts ended in each way until now."""
        if self.places is None:
            return self.journal.at_all(len(self.prompts))
        return Counter(self.journal.at(prompt.prompt_id) for prompt in self.prompts)

    @property
    def audit(self) -> Audit | None:
        """How would-be discards are audited."""
        return audit_of(self.policy, self.options)

    @property
    def pilot(self) -> Steerer | None:
        """What steers the run, None if nothing does: not in a preview, whose prompts are not the first of the run."""
        if self.autopilot is not None:
            return self.autopilot
        return None if self.options.preview is not None else monitor_of(self.policy, self.options, self.say)

    @cached_property
    def autopilot(self) -> Autopilot | None:
        """The autopilot of the run, if it has one."""
        if self.options.autopilot is None:
            return None
        fresh = self.journal.count == 0
        return Autopilot(self.journal.path, self.options, len(self.prompts), fresh=fresh, say=self.say)

    def steered(self, pilot: Steerer | None) -> Blocks | None:
        """Return the blocks of the run, told of earlier sessions, if there is a pilot; `begin` comes first."""
        if pilot is None:
            return None
        blocks = Blocks(
            pilot,
            len(self.prompts),
            self.goal,
            block_size(self.options.slots, self.options.attempts),
            write=self.journal.steer,
            known=tuple(self.journal.steers),
        )
        blocks.begin(self.journal.accounts(), self.portions())
        return blocks

    def apart(self) -> Callable[[int], Under] | None:
        """Return what says what attempts at a place of the run run under that nothing steers; None: as all of it.

        Where discards are audited, the ledger is told the place. What was settled for it before stays in force.
        """
        audit = self.audit
        if audit is None:
            return None
        steers = tuple(self.journal.steers)
        size = block_size(self.options.slots, self.options.attempts)
        return lambda place: settled(steers, place // size, Under(self.policy, audit))

    @property
    def one_by_one(self) -> bool:
        """Whether the policy reads history, so that attempts at a prompt follow each other."""
        return reads_history(self.policy)

    def rejections(self) -> Rejections | None:
        """Return the memory of rejections, with what earlier sessions proved; None if the run has none."""
        certain = self.options.rejection_memory
        if certain is None:
            return None
        return Rejections(certain, remembered(self.journal.path, self.journal.at, self.goal))

    def begin(self, found: dict[str, Any], logprobs: bool) -> None:
        """Begin the journal with what an engine says of itself: settings, and whether it tells log-probabilities.

        Raises `InputError` if the run, or the one to compare with, was made otherwise.
        """
        if not logprobs and any(validator.name == "logprobs" for validator in _validators(self.policy)):
            self.say("the policy reads log-probabilities, and this engine tells none: that evidence is unknown")
        unsaid = drawing(self.options.sampling) | {"stop": list(self.options.stop)}
        settings = self.settings | {name: unsaid[name] for name in unsaid if self.settings.get(name) == _AUTO} | found
        _say_what_differs(self.policy, settings, self.prompts, self.say)
        reference(self.options.compare, settings, self.expected)
        self.journal.begin(settings)

    def portions(self) -> Iterator[Portion]:
        """Yield for each prompt that is not done the attempts that are not."""
        for place, prompt in enumerate(self.prompts):
            at = self.journal.at(prompt.prompt_id)
            if self.goal.met(at):
                continue
            numbers: Sequence[int] = range(self.options.attempts)
            if at.attempts:
                numbers = [n for n in numbers if attempt_id(prompt, self.options, n) not in self.journal.done]
            yield Portion(place, numbers, at.accepted, at.rejected, at.audited_accepted)


def generate(
    model: Any,
    prompts: str | os.PathLike[str] | Iterable[Prompt],
    policy: Policy | None,
    out: str | os.PathLike[str],
    options: GenerateOptions = DEFAULTS,
    *,
    tokenizer: Any = None,
    progress: Callable[[Progress], None] | None = None,
    tell: Callable[[str], None] | None = None,
    make: Callable[[Job], None] | None = None,
) -> Result:
    """Make attempts at every prompt under `policy` (None: never discard) and return the account.

    An attempt that the policy discards at checkpoint 0 is written down and not made. Where the policy reads history,
    attempts at one prompt follow each other, beside those at others; under a quota, which is the policy's unless the
    options have one, an attempt begins as soon as it is certain to be wanted (`turns`). So decisions and texts depend
    on neither slots nor interruptions. Where a goal ends the run (`GenerateOptions.accepted` and others) which attempts
    are in the output does: those that were in flight are given up, at most one for each slot, and these are longer than
    others on average.

    model: a folder or name for transformers (safetensors only) or vLLM, or a loaded model in eval mode with its
        `tokenizer`; None where `options.server` makes the tokens.
    prompts: a JSON-lines file with `prompt_id`, `prompt` or `messages`, and, where the filter or the reports need them,
        `gold`, `tests`, `schema`, `group` and `parameters`; or records.
    out: `….jsonl`, appended to; its ledger is `….ledger.jsonl`. If the files exist the run is resumed; a run that is
        finished is returned as it is, without loading the model.
    progress: called about five times a second. tell: given remarks, by default printed to standard error.
    make: makes the attempts and writes them down, by default an engine in this process.

    Raises `InputError` for bad input (before the model is loaded where possible, else before a token is spent), for a
    resume or a comparison with other settings, for a full disk, and for early exits where no answer can be forced;
    `MsifrError` for a server that is gone. After any error or interrupt the run can be resumed.
    """
    say = tell or (lambda remark: print(remark, file=sys.stderr))
    accept = filters.final_filter(options.final_filter, options.answer)
    todo, told_apart = check_prompts(prompts, accept, (*_validators(policy), *(options.rejection_memory or ())))
    if not os.fspath(out).endswith(".jsonl"):
        raise InputError("the output's name must end in .jsonl", where=os.fspath(out))
    loaded = model is not None and not isinstance(model, str | os.PathLike)
    if loaded and tokenizer is None:
        raise InputError("a loaded model needs its tokenizer", where="generate", remedy="give tokenizer=")
    if loaded and options.engine == "vllm":
        raise InputError("vLLM loads models itself", where="generate", remedy="give a folder or a name")
    if options.autopilot is not None and policy is not None:
        raise InputError("an autopilot fits its own policy", where="autopilot", remedy="leave one of the two out")
    if options.autopilot is not None and make is not None:
        raise InputError("an autopilot steers one engine, not a cluster", where="autopilot", remedy="leave out ray")
    if options.rejection_memory is not None:
        _check_memory(policy, here=make is None)
    if (model is None) == (not options.server.url):
        raise InputError("needs a model or a server, and not both", where="generate")
    _check_exits(policy, options)
    options = _with_quota(policy, options, say)
    options = msgspec.structs.replace(options, model_name=options.model_name or _name(model, options))
    named = describe_policy(policy) if options.autopilot is None else "autopilot"
    settings = _settings(told_apart, len(todo), options) | {"filter": accept.name, "policy": named}
    if loaded:
        settings |= model_settings(model)
    if options.autopilot is not None:
        todo = in_drawn_order(todo, options.seed)
    share, shards = options.shard
    todo = todo[share - 1 :: shards]
    places = None if options.preview is None else previewed(todo, options.preview, options.seed)
    shown = todo if places is None else Prompts(todo.__getitem__, places)
    seen = SpeedSeen()
    with Journal(out) as journal:
        known = {name: value for name, value in settings.items() if value != _AUTO}
        journal.check(known)
        watched = progress if options.preview is None else watching(seen, progress)
        obeyed = policy or NEVER_DISCARD
        job = Job(model, tokenizer, shown, obeyed, accept, options, settings, journal, watched, say, places)
        full = reference(options.compare, known, job.expected)
        begun, spent = journal.settings, spent_before(journal.before)
        if begun is not None and journal.count == job.expected:
            what = "is already finished" if options.preview is None else "has its preview"
            say(f"{os.fspath(out)} {what}: nothing was generated, and no model was loaded")
        elif options.goals.reached(spent) is not None:
            what = f"has reached its goal ({options.goals.said(spent)})"
            say(f"{os.fspath(out)} {what}: nothing was generated, and no model was loaded; ask for more to go on")
        elif todo:
            begun = None
            _ = job.autopilot  # before a model is loaded: it may be refused
            if (told_where := asked(accept, todo)) is not None:
                say(told_where)
            if options.finish_when_decided:
                _say_where_attempts_end(accept, todo[0], say)
            try:
                (make or make_here)(job)
            except KeyboardInterrupt:
                most = "at most " * (options.accepted_per_prompt is not None)
                done = f"{journal.count} of {most}{job.expected} attempts are done"
                say(f"interrupted: {done} and kept in {os.fspath(out)}; start again with the same command to go on")
                raise
        if begun is not None:
            settings = begun
            _say_what_differs(policy, settings, todo, say)
        totals = journal.before if journal.settings is None else journal.totals()
        more: dict[str, Any] = _quotas(job.goal, journal.at_all(len(todo)))
        if options.goals:
            ended = options.preview is None and journal.count == job.expected
            told = options.goals.reached(spent) is not None
            more["goals"] = goals_report(options.goals, spent_before(totals), _silent if told else say, ended=ended)
        if job.autopilot is not None and journal.settings is not None:
            if begun is not None:  # it knows nothing yet
                job.steered(job.autopilot)
            more["autopilot"] = job.autopilot.leave()
        if options.rejection_memory is not None:
            more["rejection_memory"] = memory_report(journal.accounts())
        if options.preview is not None:
            more["forecast"] = foretell(journal, job.goal, len(todo), shown, options, seen, say)
    remark(totals, settings["policy"], accept.name, say)
    result = result_of(totals, full, options.compare, out, settings["policy"] != "none")
    return msgspec.structs.replace(result, **more)


def _silent(_: str) -> None:
    """Say nothing."""


def _with_quota(policy: Policy | None, options: GenerateOptions, say: Callable[[str], None]) -> GenerateOptions:
    """Return the options with the quota that the policy was fitted for, unless they have one, or compare runs."""
    quota = policy.quota if isinstance(policy, FittedPolicy) else None
    if quota is None or options.accepted_per_prompt is not None or options.compare is not None:
        return options
    attempts = quota.attempts if options.attempts == DEFAULTS.attempts else options.attempts
    say(f"as the policy was fitted for: {quota_in_words(quota.accepted, attempts)}")
    return msgspec.structs.replace(options, accepted_per_prompt=quota.accepted, attempts=attempts)


def _say_what_differs(
    policy: Policy | None, settings: Mapping[str, Any], prompts: Sequence[Prompt], say: Callable[[str], None]
) -> None:
    for difference in differences(policy, settings, (prompt_hash(each.prompt_id, each.prompt) for each in prompts)):
        say(f"the policy was certified on other attempts: {difference}")


def _say_where_attempts_end(accept: filters.FinalFilter, prompt: Prompt, say: Callable[[str], None]) -> None:
    reader = reader_of(accept, prompt)
    if reader is None:
        say(f"the final filter {accept.name} is not decided before the end: attempts run to theirs")
    elif not reader.exact:
        say("attempts end with their first complete answer, and that is what is judged")


def _quotas(goal: Goal, at_all: Mapping[AtPrompt, int]) -> dict[str, Any]:
    """Return how many prompts have their quota, and why the others have not; nothing if there is none."""
    if goal.accepted is None:
        return {}
    filled = sum(n for at, n in at_all.items() if goal.filled(at))
    short = {at: n for at, n in at_all.items() if goal.met(at) and not goal.filled(at)}
    # Whoever is skipped once is skipped ever after: from then on nothing new is known of the prompt.
    given_up = sum(n for at, n in short.items() if at.skipped)
    return {"prompts_filled": filled, "prompts_given_up": given_up, "prompts_exhausted": sum(short.values()) - given_up}


def _validators(policy: Policy | None) -> Sequence[Validator]:
    """Return the validators of a policy, none if it does not show any."""
    return getattr(policy, "validators", ())


def _name(model: Any, options: GenerateOptions) -> str:
    """Return what the files call the model."""
    if isinstance(model, str | os.PathLike):
        return os.fspath(model)
    if model is None:
        return options.server.api_model or _AUTO
    return getattr(model.config, "name_or_path", "") or type(model).__name__


def _settings(prompts: str, count: int, options: GenerateOptions) -> dict[str, Any]:
    """Return the settings that a run shares with its resumes, as far as they are known before the model is loaded."""
    chosen: dict[str, Any] = {name: getattr(options, name) for name in _SETTINGS} | drawing(options.sampling)
    chosen["stop"] = list(options.stop)  # as the file will have it
    if options.follows_model:
        chosen |= {name: _AUTO for name in DRAWN if getattr(options, name) is None} | {"stop": _AUTO}
    if options.server.url:
        chosen |= {"engine": "server", "chat": options.server.api == "chat"}
    else:
        chosen |= {"engine": options.engine, "dtype": options.dtype, "device": options.device.partition(":")[0]}
        chosen |= {"chat": _AUTO if options.chat is None else options.chat}
    chosen |= autopilot_settings(options)
    if options.audit or options.autopilot is not None:
        chosen |= {"audit": audit_share(options), "audit_by": options.audit_by}
        chosen |= {"block": block_size(options.slots, options.attempts)}
    if options.record_exits is not None:
        chosen |= {"record_exits": options.record_exits}
    if options.rejection_memory is not None:
        chosen |= {"rejection_memory": list(map(describe, options.rejection_memory))}
    if options.engine_args:
        chosen |= {"engine_args": options.engine_args}
    if options.shard[1] > 1:
        chosen |= {"shard": "{}/{}".format(*options.shard)}
    return chosen | {"prompts": prompts, "prompt_count": count, "model": options.model_name}


def make_here(job: Job, opening: Opening | None = None) -> None:
    """Make the attempts of a run in this process; `opening` gives the engine, by default the one of the options."""
    opening = opening or open_engine
    with opening(job.model, job.tokenizer, job.prompts[0], job.options, job.say) as opened:
        options = as_opened(job.options, opened)

        @lru_cache(options.slots + 1)  # prompts may be under way at once
        def put(which: int) -> tuple[Prompt, PromptInput]:
            prompt = job.prompts[which]
            return prompt, opened.encode(prompt)

        for which in range(len(job.prompts)):  # each is encoded, so that a bad one is known at once
            put(which)
        forcing = forcing_of(job.policy, options, put(0)[1], opened.tokenizer)
        read_states(opened.engine, job.policy, opened.settings.get("weights", ""))
        job.begin(opened.settings, opened.engine.logprobs)
        rejections = job.rejections()
        if rejections is not None and (dtype := opened.settings.get("dtype")) in ("bfloat16", "float16"):
            job.say(
                f"what is left of prefixes is known as well as {dtype} allows: what is accepted is distributed as "
                "without a memory of rejections up to its rounding"
            )
        blocks = job.steered(job.pilot)
        more = partial(next, job.portions(), None) if blocks is None else blocks.more
        under = job.apart() if blocks is None else blocks.under

        def task(which: int, number: int, history: AtPrompt | None) -> Task:
            place = which if job.places is None else job.places[which]
            within = None if under is None else under(place)
            return task_of(*put(which), options, number, history, within, place)

        Run(
            opened.engine,
            Turns(more, task, one_by_one=job.one_by_one, quota=options.accepted_per_prompt)
            if rejections is None
            else Turns(
                more,
                rejections.told(task),
                one_by_one=True,
                quota=options.accepted_per_prompt,
                done=rejections.forget,
            ),
            job.policy,
            job.accept,
            opened.tokenizer,
            job.journal if blocks is None else SteeredSink(job.journal, blocks),
            options,
            job.journal.before,
            job.expected,
            job.progress,
            job.say,
            job.audit,
            options.goals,
            forcing,
            str if blocks is None else lambda: blocks.said,
            rejections,
        ).drain()


def attempt_id(prompt: Prompt, options: GenerateOptions, number: int) -> str:
    """Return the id of the attempt at `prompt` with this number, 0, 1, …."""
    return f"{prompt.prompt_id}/{options.seed}/{number}"


def task_of(
    prompt: Prompt,
    encoded: PromptInput,
    options: GenerateOptions,
    number: int,
    history: AtPrompt | None,
    under: Under | None = None,
    place: int | None = None,
) -> Task:
    """Return an attempt at a prompt, which is encoded as the engine takes it; `history` if the policy reads it.

    under: the policy of a run that is steered or audited, in which the prompt has this place.
    """
    key = stream_key(options.seed, prompt.prompt_id, number)
    attempt = Attempt(attempt_id(prompt, options, number), encoded, key, options.max_new_tokens)
    return Task(prompt, attempt, history) if under is None else Task(prompt, attempt, history, *under, place)


def forcing_of(policy: Policy | None, options: GenerateOptions, encoded: PromptInput, tokenizer: Any) -> Forcing | None:
    """Return how answers are forced in a run, None if they are not; `encoded` is a prompt as its engine takes it.

    Raises `InputError` where prompts are chats.
    """
    plan = options.record_exits or getattr(policy, "exit_plan", None)
    if plan is None:
        return None
    if not isinstance(encoded, str) and not all(isinstance(part, int) for part in encoded):
        raise refused_chat()
    return Forcing(plan, options.record_exits is not None, tokenizer, options.stop)


def _check_memory(policy: Policy | None, *, here: bool) -> None:
    """Raise `InputError` for a run that cannot remember rejections."""
    if not here:
        what = "rejections are remembered where tokens are drawn, not by a cluster"
        raise InputError(what, where="rejection_memory", remedy="leave it out, or make the run in this process")
    if reads_history(policy):
        raise InputError(
            "the policy reads how often earlier attempts were rejected, and a memory of rejections changes that",
            where="rejection_memory",
            remedy="leave it out, or fit a policy without the history (msifr fit --no-history)",
        )


def _check_exits(policy: Policy | None, options: GenerateOptions) -> None:
    """Raise `InputError` for answers that cannot be forced, or would make numbers say what they do not mean."""
    if options.record_exits is not None and not (policy is None or isinstance(policy, NeverDiscard)):
        what = "answers are forced in shadow to be learned from: attempts have to be made without a policy"
        raise InputError(what, where="record_exits", remedy="leave out the policy")
    if getattr(policy, "exit_plan", None) is None:
        return
    if options.audit:
        raise InputError(
            "the policy exits, and what exits lose no audit of discards sees",
            where="audit",
            remedy="audit a policy that only discards (fit without --exits)",
        )


def describe_policy(policy: Policy | None) -> str:
    """Return what a run's settings call a policy: "none", its `fingerprint`, or else its type and content."""
    if policy is None or isinstance(policy, NeverDiscard):
        return "none"
    name = getattr(policy, "fingerprint", None)
    if isinstance(name, str) and name:
        return name
    try:
        return f"{type(policy).__qualname__} {fingerprint([msgspec.json.encode(policy)])}"
    except (TypeError, msgspec.ValidationError):
        return type(policy).__qualname__
