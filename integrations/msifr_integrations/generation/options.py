"""What a run can be told, and what it does by default: for the library, the command line and the demo alike."""

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import msgspec

from msifr_integrations.engine.base import Sampling
from msifr_integrations.generation.goals import FEWEST_PROMPTS, PerMillion, RunGoals
from msifr_integrations.servers.options import ServerOptions
from msifr_policy.audit import AuditBy
from msifr_policy.errors import InputError
from msifr_policy.evidence.exits import ExitPlan
from msifr_policy.filters import FinalFilter, Judgement, Prompt
from msifr_policy.validators import History, Validator

DTYPES = ("auto", "float32", "bfloat16", "float16")

EngineName = Literal["auto", "slots", "static", "vllm"]
"""How this process makes tokens: transformers in slots, transformers' `generate()`, vLLM; or slots if the model can."""

DRAWN: dict[str, float] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
"""What tokens are drawn from where nobody says otherwise: all that the model gives."""

PLACE = "{prompt}"
"""What a template holds in the place of the prompt's text."""


class AutopilotOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an autopilot promises, and what it reads.

    max_false_reject: α; confidence: 1 − δ, over the whole life of the run. validators: those that read partial texts,
    none for the default ones. Raises `InputError` for numbers outside (0, 1), and for the validator history: levels of
    a path would each make one of their own.
    """

    max_false_reject: float = 0.05
    confidence: float = 0.9
    validators: tuple[Validator, ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_false_reject", "confidence"):
            if not 0 < getattr(self, name) < 1:
                what = f"{name} = {getattr(self, name):g} must lie strictly between 0 and 1"
                raise InputError(what, where="autopilot")
        if any(validator.name == History.name for validator in self.validators):
            what = "the policies of an autopilot do not read the history of a prompt"
            raise InputError(what, where="autopilot", remedy="leave out the validator history")


class GenerateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `generate`.

    attempts: at every prompt, or, with a quota, at most. accepted_per_prompt: the quota N of accepted samples: no more
        attempts are made at a prompt than those that a run which made them one by one would make until it had N.
    slots: attempts generated side by side; of a server, open streams.
    kv_tokens: positions of keys and values that all slots of a transformers model have together: attempts wait where
        they may come to need more. None: half of the memory that is free, three quarters on a GPU.
    seed: with the prompt id and the attempt's number it fixes the attempt's tokens, whoever shares the batch.
    max_new_tokens: of an attempt.
    temperature, top_k, top_p: temperature 0 is greedy; top_k = 0 and top_p = 1 leave nothing out. None: what the
        model's generation settings say, if they are followed; else 1, 0 and 1.
    generation_config: follow the generation settings that a model of transformers comes with, where these options do
        not say otherwise: penalties, min-p, forbidden words and so on, and its stop strings beside `stop`. vLLM and
        servers are told neither.
    final_filter: "numeric", "choice", "exact", "math", "json-schema", "tests", a filter or a function of (prompt,
        text). What it cannot judge is not accepted, counted in the ledger, and remarked at the end.
    answer: where the first four find the answer of a text, in the words of `Extract.parse`; "" is as usual.
    stop: strings that end an attempt, before they occur; they are looked for in what is generated.
    finish_when_decided: end an attempt as soon as the final filter's verdict on it is certain, by the filter's own
        reader: a closed document or program, an answer given and delimited. The text kept is what was judged.
    engine: "slots", "static", "vllm", or "auto": slots if the model can run in them. Not with a server.
    engine_args: vLLM's own arguments, such as tensor_parallel_size or max_model_len.
    device, dtype: as torch names them, for a model that `generate` loads; "auto" is a GPU if there is one, and float32
        on a CPU, bfloat16 on a GPU.
    chat: put prompts into the tokenizer's chat template, as a user's message or the prompt's own messages; None: if the
        tokenizer has one. (What a server does with them is `server.api`.)
    template: a text that holds {prompt}; it is what the model is given, instead of a chat.
    logprobs: also write each token's log-probability (the last digits may differ between equal runs).
    compare: output of a run with the same settings, one of the two without a policy; gives `conversion_efficiency`.
    server: an OpenAI-compatible server that makes the tokens, if its URL is given.
    shard: (i, n): make only the i-th of n shares of the prompts, i = 1, …, n; `merge_runs` joins the outputs.
    audit: share of would-be discards that are finished nonetheless, to see what discarding loses; their weight in the
        output is one over the probability of it. audit_by: what that hangs on (`msifr_policy.audit`).
    accepted, max_tokens, max_cost: goals of the whole run, over all its sessions (`generation.goals`): it ends when so
        many samples are accepted, tokens sampled, or money spent at the prices; a run of a shard, that of its share.
        Which attempts are in the output then depends on timing, and those that were in flight, one for each slot at
        most, are given up: they are longer than others on average. No settings: a resume may ask for more.
    prices: of a million tokens of prompts, and of a million sampled ones, in any currency.
    preview: make the attempts at so many prompts alone, drawn by chance, and foretell the whole run (`Forecast`); they
        are part of the run, which goes on from there when started again without.
    record_exits: force an answer in shadow at the checkpoints of this plan, of every attempt once it is over, for
        policies that exit to be fitted to; only in a run without a policy.
    autopilot: fit, certify and run a policy on the way, where none is given: from nothing to a certified one. Prompts
        are taken in an order drawn by their ids; `audit` is 0.05 unless it is said.
    rejection_memory: do not draw again what is proven dead at a prompt: attempts that the final filter rejected, and
        prefixes that these validators call DEAD, whose DEAD must be certain; often none, (). What is accepted at a
        prompt is distributed as without it (`generation.rejections`), and there is more of it. Attempts at a prompt
        follow each other. None: nothing is remembered.
    model_name: what the files call the model; "" is its path, or the name that a loaded model knows itself by.

    Raises `InputError` for a value that no run can have.
    """

    attempts: int = 4
    accepted_per_prompt: int | None = None
    seed: int = 0
    slots: int = 16
    kv_tokens: int | None = None
    max_new_tokens: int = 512
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    generation_config: bool = True
    final_filter: str | FinalFilter | Callable[[Prompt, str], bool | Judgement] = "numeric"
    answer: str = ""
    stop: tuple[str, ...] = ()
    finish_when_decided: bool = False
    engine: EngineName = "auto"
    engine_args: dict[str, Any] = msgspec.field(default_factory=dict)
    device: str = "auto"
    dtype: str = "auto"
    chat: bool | None = None
    template: str = ""
    logprobs: bool = False
    compare: str | os.PathLike[str] | None = None
    model_name: str = ""
    server: ServerOptions = ServerOptions()
    shard: tuple[int, int] = (1, 1)
    audit: float = 0.0
    audit_by: AuditBy = "posterior"
    autopilot: AutopilotOptions | None = None
    accepted: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    prices: tuple[float, float] = (0.0, 0.0)
    preview: int | None = None
    record_exits: ExitPlan | None = None
    rejection_memory: tuple[Validator, ...] | None = None

    def __post_init__(self) -> None:
        for name, least in (("attempts", 1), ("seed", 0), ("slots", 1), ("max_new_tokens", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} = {getattr(self, name)} must be at least {least}", where="generate")
        quota = self.accepted_per_prompt
        if quota is not None and not 1 <= quota <= self.attempts:
            what = f"accepted_per_prompt = {quota} of at most {self.attempts} attempts"
            raise InputError(what, where="generate", remedy="ask for at least 1, and for as many attempts or more")
        if quota is not None and self.compare is not None:
            raise InputError(
                "runs with a quota are not compared attempt by attempt: which attempts they make depends on the policy",
                where="compare",
                remedy="leave accepted_per_prompt out of both, or compare their tokens per accepted sample",
            )
        if self.compare is not None and (self.goals or self.preview is not None):
            raise InputError(
                "a run that ends at a goal, or is a preview, is not compared: it has not the same attempts",
                where="compare",
                remedy="leave the goal out of both runs, or compare their tokens per accepted sample",
            )
        if self.preview is not None and self.preview < FEWEST_PROMPTS:
            what = f"preview = {self.preview} prompts tell nothing of how they differ"
            raise InputError(what, where="generate", remedy=f"{FEWEST_PROMPTS} or more; 10 are of use")
        for name, known in (("engine", get_args(EngineName)), ("dtype", DTYPES), ("audit_by", get_args(AuditBy))):
            if getattr(self, name) not in known:
                raise InputError(f"unknown {name} {getattr(self, name)!r}", remedy=f"known: {', '.join(known)}")
        if self.compare is not None and not os.fspath(self.compare):
            raise InputError("no file is named to compare with", where="compare", remedy="name the output of a run")
        if self.engine_args and self.engine in ("slots", "static"):
            raise InputError("engine_args are those of vLLM", where="generate", remedy="use engine vllm")
        if self.kv_tokens is not None and (self.kv_tokens < 1 or self.server.url or self.engine in ("static", "vllm")):
            what = f"kv_tokens = {self.kv_tokens} must be at least 1, and is for models in slots"
            raise InputError(what, where="generate", remedy="leave it out: the engine looks how much memory is free")
        if not 0 <= self.audit <= 1:
            raise InputError(f"audit = {self.audit} must be from 0 to 1", where="generate", remedy="0.05 is usual")
        self._check_autopilot()
        self._check_memory()
        if "" in self.stop:
            raise InputError("a stop string is empty", where="stop", remedy="name the text that ends an attempt")
        if self.template and (PLACE not in self.template or self.chat):
            what = "goes without a chat" if self.chat else f"does not hold {PLACE}"
            raise InputError(
                f"the template {what}", where="template", remedy=f"for example: Question: {PLACE}\\nAnswer:"
            )
        if self.server.url and (self.chat is not None or (self.template and self.server.api == "chat")):
            what = "the template" if self.template else "chat"
            raise InputError(f"{what} is for models of this process", where="server", remedy="choose the server's api")
        if self.server.url and self.engine != "auto":
            raise InputError(f"the server makes the tokens, not {self.engine}", where="engine", remedy="leave one out")
        if not 1 <= self.shard[0] <= self.shard[1]:
            raise InputError(f"there is no shard {self.shard[0]} of {self.shard[1]}", where="shard", remedy="1/8 … 8/8")
        _ = self.sampling, self.goals

    def _check_autopilot(self) -> None:
        if self.autopilot is None:
            return
        others = {
            "a quota (accepted_per_prompt)": self.accepted_per_prompt is not None,
            "a comparison": self.compare is not None,
            "a preview": self.preview is not None,
            "shards": self.shard[1] > 1,
            "forced answers (record_exits)": self.record_exits is not None,
        }
        for name, given in others.items():
            if given:
                raise InputError(
                    f"an autopilot goes without {name}",
                    where="autopilot",
                    remedy="make the run without, or fit a policy first (msifr fit) and audit it",
                )

    def _check_memory(self) -> None:
        if self.rejection_memory is None:
            return
        without = {
            "what a server draws": bool(self.server.url),
            "what vLLM draws": self.engine == "vllm",
            "temperature 0, which draws nothing": self.temperature == 0,
            "a comparison attempt by attempt": self.compare is not None,
            "an autopilot": self.autopilot is not None,
        }
        for name, given in without.items():
            if given:
                what = f"a memory of rejections does not go with {name}"
                raise InputError(what, where="rejection_memory", remedy="leave one of the two out")

    @property
    def goals(self) -> RunGoals:
        """What ends the run before all its attempts are made. Raises `InputError` for goals that are none."""
        return RunGoals(self.accepted, self.max_tokens, self.max_cost, PerMillion(*self.prices))

    @property
    def sampling(self) -> Sampling:
        """What tokens are drawn from where the model has no say. Raises `InputError` for values that say nothing."""
        return self.sampling_of({})

    def sampling_of(self, model: Mapping[str, Any]) -> Sampling:
        """Return what tokens of a model with these generation settings are drawn from; `InputError` as `sampling`."""
        said = {name: getattr(self, name) for name in DRAWN}
        drawn = DRAWN | dict(model) | {name: value for name, value in said.items() if value is not None}
        more = {name: value for name, value in model.items() if name not in (*DRAWN, "stop_strings")}
        return Sampling(float(drawn["temperature"]), int(drawn["top_k"]), float(drawn["top_p"]), more)

    @property
    def follows_model(self) -> bool:
        """Whether the model's own generation settings have a say."""
        return self.generation_config and not self.server.url and self.engine != "vllm"


DEFAULTS = GenerateOptions()
