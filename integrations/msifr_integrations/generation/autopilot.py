"""The autopilot of a run: from nothing to a certified policy that works, in one run [T13].

Its pilot (`msifr_calibration.autopilot`) is told of finished prompts and says what comes next. Here is what it takes
from the run and leaves beside it: paths of policies are fitted to the texts in the output, and kept in
`OUT.path-1.json`, …; the policy that is certified in the end is `OUT.policy.json`, a policy file like any other. A run
that goes on reads the paths that it fitted before, so that it decides the same.
"""

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from glob import escape
from pathlib import Path

import msgspec
import numpy as np

from msifr_calibration.autopilot.course import PilotOptions
from msifr_calibration.autopilot.pilot import Pilot, PilotState
from msifr_integrations.generation.inputs import drawn
from msifr_integrations.generation.journal import AttemptRecord
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.prompts import Prompts
from msifr_integrations.generation.provenance import recorded_provenance
from msifr_integrations.generation.steering import Under, block_size
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import build_evidence, prompt_hash
from msifr_policy.evidence.schedule import NewlineSteps, auto_schedule
from msifr_policy.filters import Prompt
from msifr_policy.path_policy import PathFile
from msifr_policy.policy_file import Fingerprint, PolicyFile
from msifr_policy.records.ledger import Entry, Steer
from msifr_policy.records.traces import Trace
from msifr_policy.validators import default_validators, describe


def in_drawn_order(prompts: Sequence[Prompt], seed: int) -> Prompts:
    """Return the prompts in an order that is drawn by their ids: whatever the order of a file is."""
    places = drawn((prompt.prompt_id for prompt in prompts), len(prompts), seed, "order")
    return Prompts(prompts.__getitem__, places)


def autopilot_settings(options: GenerateOptions) -> dict[str, object]:
    """Return what the settings of a run say of its autopilot; nothing if it has none."""
    autopilot = options.autopilot
    if autopilot is None:
        return {}
    validators = autopilot.validators or default_validators()
    told = {
        "max_false_reject": autopilot.max_false_reject,
        "confidence": autopilot.confidence,
        "validators": msgspec.to_builtins([describe(validator) for validator in validators]),
    }
    return {"autopilot": told}


def audit_share(options: GenerateOptions) -> float:
    """Return the share of would-be discards that are audited: with an autopilot some are, unless the options say it."""
    return options.audit or (0.0 if options.autopilot is None else PilotOptions().audit)


def _named(number: int) -> str:
    """Return what the ledger calls a path, whatever its run is called."""
    return f"path-{number + 1}"


class AutopilotReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far an autopilot came, and the file of the policy that it leaves, None if nothing is certified."""

    state: PilotState
    policy: str | None = None


class Autopilot:
    """Steers one run by a pilot; see the module's docstring.

    out: the run's output, written up to the prompts that the pilot is told of. fresh: whether the run begins now, so
    that paths of an earlier one of this name go. n_prompts: of the run. Raises `InputError` if a run that begins would
    overwrite a policy file.
    """

    def __init__(
        self,
        out: Path,
        options: GenerateOptions,
        n_prompts: int,
        *,
        fresh: bool,
        say: Callable[[str], None],
    ) -> None:
        if options.autopilot is None:
            raise ValueError("the options have no autopilot")
        self._out, self._say, self._asked = out, say, options.autopilot
        self._stem = out.name.removesuffix(".jsonl")
        if fresh:
            if self.policy_path.exists():
                raise InputError(
                    "a policy file is already there, and this run, which begins anew, would put its own in its place",
                    where=str(self.policy_path),
                    remedy="move it away, delete it, or name another output",
                )
            ours = re.compile(re.escape(self._stem) + r"\.path-\d+(\.[0-9a-f]{12}\.safetensors|\.json)")
            for stale in out.parent.glob(f"{escape(self._stem)}.path-*"):
                if ours.fullmatch(stale.name):
                    stale.unlink(missing_ok=True)
        self._fitted: frozenset[str] = frozenset()  # ids of the prompts that the last path was fitted to
        self.pilot = Pilot(
            PilotOptions(
                max_false_reject=self._asked.max_false_reject,
                confidence=self._asked.confidence,
                attempts=options.attempts,
                prompts=n_prompts,
                block=block_size(options.slots, options.attempts),
                audit=audit_share(options),
                audit_by=options.audit_by,
            ),
            self._fit,
            _named,
        )

    @property
    def policy_path(self) -> Path:
        """Where the certified policy is left."""
        return self._out.with_name(f"{self._stem}.policy.json")

    def _path_file(self, number: int) -> Path:
        return self._out.with_name(f"{self._stem}.{_named(number)}.json")

    def begin(self) -> Steer:
        """Return what the first blocks run under."""
        return self.pilot.begin()

    def add(self, prompt_id: str, entries: Sequence[Entry]) -> None:
        """Tell the pilot of a finished prompt."""
        self.pilot.add(prompt_id, entries)

    def steer(self, block: int) -> Steer:
        """Return what a block runs under; after an alarm the policy that an earlier session left is none any more."""
        steer = self.pilot.steer(block)
        if steer.phase == "shadow" and self.pilot.state.alarms:
            self.policy_path.unlink(missing_ok=True)
        return steer

    def under(self, steer: Steer) -> Under:
        """Return the policy of a block."""
        policy, audit = self.pilot.policy(steer.block)
        if steer.note:
            self._say(f"{steer.phase}: {steer.note}")
        return Under(policy, audit, steer.level)

    def _fit(self, prompt_ids: Sequence[str], number: int) -> PathFile:
        """Return path `number`, fitted to the texts at these prompts, or read if that was done before."""
        from msifr_calibration.autopilot.fit_levels import fit_best_levels
        from msifr_calibration.options import FitOptions

        self._fitted = frozenset(prompt_ids)
        file = self._path_file(number)
        if file.exists():
            return PathFile.load(file)
        traces = finished_traces(self._out, set(prompt_ids))
        self._say(f"fitting a path of policies to {len(traces)} attempts at {len(prompt_ids)} prompts")
        validators = self._asked.validators or default_validators()
        provenance = recorded_provenance([self._out])
        tables = [
            build_evidence(traces, schedule, validators, provenance=provenance)
            for schedule in (auto_schedule([len(trace.text) for trace in traces]), NewlineSteps())
        ]
        options = FitOptions(max_false_reject=self._asked.max_false_reject, confidence=self._asked.confidence)
        path = fit_best_levels(tables, options, traces=traces)
        if path.n_levels:
            path.save(file)
        return path

    def _with_reference(self, file: PolicyFile) -> PolicyFile:
        """Return the policy with what attempts look like, by those that its path was fitted on: all were finished."""
        from msifr_calibration.reference import reference_of

        policy = file.policy()
        table = build_evidence(finished_traces(self._out, self._fitted), policy.schedule, policy.validators)
        return msgspec.structs.replace(file, reference=reference_of(table, policy.stops(table), table.fingerprint))

    @property
    def said(self) -> str:
        """Where the run is, in a few words."""
        state = self.pilot.state
        if state.phase == "shadow":
            return f"shadow: nothing is discarded yet; {state.prompts} prompts to fit to are finished"
        certified = f"{state.certified} of {state.levels} levels certified (counted from 0)"
        forecast = "" if state.saving is None else f"; the whole run is expected to save {max(state.saving, 0.0):.1%}"
        if state.level is None or state.monitor is None:
            return f"certifying: {certified}, none of them worth it yet{forecast}"
        rate = state.monitor.rate
        seen = f"f <= {self._asked.max_false_reject:g} certified, so far {rate.lower:.1%} to {rate.upper:.1%}"
        return f"discarding at level {state.level}, {certified}; {seen}{forecast}"

    def leave(self) -> AutopilotReport:
        """Write the policy that is certified by now, if any is, and say how far the run came."""
        self.pilot.end()
        scored = set(self.pilot.scored)
        file = self.pilot.certified_policy(_fingerprint(self._out, scored)) if scored else None
        if file is None:
            self.policy_path.unlink(missing_ok=True)
            self._say(
                "nothing is certified yet: it takes more prompts, as a rule some hundreds, or more that are accepted"
            )
            return AutopilotReport(state=self.pilot.state)
        file = self._with_reference(file)
        file.save(self.policy_path)
        self._say(f"{file.certificate.message}; the policy is in {self.policy_path}")
        return AutopilotReport(state=self.pilot.state, policy=str(self.policy_path))


def finished_traces(out: str | os.PathLike[str], prompt_ids: Collection[str]) -> list[Trace]:
    """Return the finished attempts at these prompts in an output that is being written, in the order of their ids.

    They stand for all attempts where nothing was discarded at these prompts.
    """
    decoder, traces = msgspec.json.Decoder(Trace), []
    for line, attempt in _attempts(out, prompt_ids):
        if attempt.status == "finished":
            traces.append(decoder.decode(line))
    return sorted(traces, key=lambda trace: trace.id)


class _OfPrompt(msgspec.Struct):
    prompt_id: str
    status: str


def _attempts(out: str | os.PathLike[str], prompt_ids: Collection[str]) -> Iterator[tuple[bytes, _OfPrompt]]:
    """Yield the whole lines of attempts at these prompts."""
    decoder = msgspec.json.Decoder(_OfPrompt)
    with open(out, "rb") as lines:
        for line in lines:
            if line.endswith(b"\n") and (attempt := decoder.decode(line)).prompt_id in prompt_ids:
                yield line, attempt


def _fingerprint(out: str | os.PathLike[str], prompt_ids: Collection[str]) -> Fingerprint:
    """Return which attempts at these prompts an output holds, those that were not discarded."""
    digests, prompts, accepted = bytearray(), set[int](), 0
    decoder = msgspec.json.Decoder(AttemptRecord)
    for line, attempt in _attempts(out, prompt_ids):
        if attempt.status == "finished":
            record = decoder.decode(line)
            digests += hashlib.sha256(line).digest()
            prompts.add(prompt_hash(record.prompt_id, record.prompt))
            accepted += bool(record.correct)
    sorted_digests = np.sort(np.frombuffer(digests, dtype="S32"))
    return Fingerprint(
        sha256=hashlib.sha256(sorted_digests.tobytes()).hexdigest(),
        n_attempts=len(sorted_digests),
        n_prompts=len(prompts),
        n_accepted=accepted,
        prompts=np.asarray(sorted(prompts), dtype="<u8").tobytes(),
    )
