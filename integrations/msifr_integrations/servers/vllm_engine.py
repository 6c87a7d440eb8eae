"""vLLM in this process: one stream per attempt, aborted as soon as it is discarded.

vLLM computes in processes of its own, started and stopped here, so that a script needs the usual guard
`if __name__ == "__main__":`. Nothing is put into vLLM: its hooks change with its releases and cannot abort.

**Seeds.** Each attempt has its own, made from its key. They give the same attempt again as far as rounding does: the
logits depend a little on who shares the batch, in half precision most.
"""

import asyncio
import math
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from msifr_integrations.engine.base import Attempt, Event, Failed, Finish, Notice, PromptInput, Sampling
from msifr_integrations.servers.async_engine import AsyncEngine, beside
from msifr_integrations.servers.chunks import token_texts
from msifr_integrations.servers.dialects import seed
from msifr_integrations.servers.faults import one_line
from msifr_policy.errors import InputError, MsifrError
from msifr_policy.extras import install
from msifr_policy.filters import Message
from msifr_policy.records.ledger import Session

# What engine and events rely on.
_OURS = frozenset({"model", "dtype", "max_num_seqs", "logprobs_mode"})
_MADE = "vllm:generation_tokens"


def start_vllm(
    model: str,
    *,
    sampling: Sampling,
    slots: int,
    stop: Sequence[str] = (),
    dtype: str = "auto",
    engine_args: Mapping[str, Any] | None = None,
) -> "VllmEngine":
    """Start vLLM with the model of this name or folder, as an engine of at most `slots` sequences side by side.

    stop: strings that end an attempt.
    dtype: as torch names it; "auto" is float32 on a CPU, the model's own on a GPU.
    engine_args: more of vLLM's, by the names of its `AsyncEngineArgs`: tensor_parallel_size, max_model_len, ….

    Raises `InputError` if vLLM is missing or does not know the model or an argument, `MsifrError` if it does not start.
    """
    if slots < 1:
        raise InputError(f"slots = {slots} must be at least 1", where="engine")
    further = dict(engine_args or {})
    if taken := sorted(_OURS & further.keys()):
        raise InputError(f"{', '.join(taken)} cannot be given among vLLM's arguments", where="vllm")
    # By default vLLM reports to standard output, where results go; its processes inherit this.
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    try:
        from vllm import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        what = f"vLLM cannot be imported: {one_line(str(error))}"
        raise InputError(what, where="engine", remedy=install("vllm")) from None
    remarks = ["vLLM: the same seed gives the same attempt only as far as rounding in another batch does"]
    if current_platform.is_cpu():
        if dtype == "auto":  # many models are float16, for which a CPU may have no fast kernel
            dtype = "float32"
        # Of the machine's memory; by default vLLM asks for all but a tenth, and does not start where others have that.
        further.setdefault("gpu_memory_utilization", 0.5)
        if further.setdefault("enable_chunked_prefill", False) is False:
            # Else its worker dies: "CPU Generator does not use offset".
            remarks.append("vLLM on a CPU: chunked prefill is off, since it does not bear seeded requests there")
    try:
        arguments = AsyncEngineArgs(
            model=model,
            dtype=dtype,
            max_num_seqs=slots,
            **({"enable_prefix_caching": True} | further),
        )
        # The context of offline generation sets batches for throughput.
        config = arguments.create_engine_config(UsageContext.LLM_CLASS)
    except Exception as error:  # a name that is none, a folder without a model, a value out of range, ...
        raise InputError(one_line(f"vLLM cannot run {model}: {error}"), where="vllm") from error
    try:
        llm = beside(lambda: AsyncLLM.from_vllm_config(config, disable_log_stats=arguments.disable_log_stats))
    except Exception as error:
        raise MsifrError(one_line(f"vLLM did not start (its own messages are above): {error}")) from error
    engine = VllmEngine(llm, sampling=sampling, slots=slots, stop=stop, remarks=remarks)
    try:
        engine.warm_up()
    except BaseException:
        engine.close()
        raise
    return engine


class VllmEngine(AsyncEngine):
    """Attempts as requests to an `AsyncLLM`, which it owns: `close` shuts it down.

    It takes token ids, texts, and messages if the tokenizer has a chat template. Events have ids, texts and
    log-probabilities. settings: what shapes the tokens. remarks: what a user should know. waiting: attempts that have
    begun and have no token yet.
    """

    name = "vllm"
    logprobs = True

    def __init__(
        self, llm: Any, *, sampling: Sampling, slots: int, stop: Sequence[str], remarks: Sequence[str]
    ) -> None:
        super().__init__(slots)
        self._llm = llm
        self._sampling = sampling
        self._stop = list(stop)
        self._tokenizer = llm.get_tokenizer()
        # vLLM's connections belong to one event loop, so that it lives as long as they do.
        self._runner = asyncio.Runner()
        self._run_loop = self._runner.run
        self._probe = 0
        self._arrived = 0
        self._answered = False  # by a token of any attempt
        self._failed = 0
        self._made_before = self._made()
        self.remarks = list(remarks)
        self.settings = _settings(llm.vllm_config, sampling, stop)

    @property
    def has_chat_template(self) -> bool:
        """Whether it takes messages."""
        return bool(getattr(self._tokenizer, "chat_template", None))

    def warm_up(self) -> None:
        """Make two tokens: what is loaded and compiled at the first would hold up those of attempts.

        Raises `MsifrError` if none can be made.
        """
        notices: list[Notice] = []
        self.submit(Attempt("warm-up", "Hello", bytes(16), 2))
        self.drain(notices.extend)
        for notice in notices:
            if isinstance(notice, Failed):
                raise MsifrError(f"vLLM makes no tokens: {notice.why}")
        self._probe, self._arrived, self._answered = self._arrived, 0, False

    def submit(self, attempt: Attempt) -> None:
        """Queue an attempt. Raises `InputError` for messages that there is no template for, or a limit of no token."""
        where = f"attempt {attempt.id!r}"
        if attempt.max_new_tokens < 1:
            raise InputError(f"max_new_tokens = {attempt.max_new_tokens} must be at least 1", where=where)
        if _messages(attempt.prompt) and not self.has_chat_template:
            raise InputError("the tokenizer has no chat template", where=where, remedy="leave chat off")
        super().submit(attempt)

    async def _stream(self, attempt: Attempt) -> AsyncGenerator[Sequence[Notice], None]:
        self.waiting += 1
        waits = True
        try:
            # With its type, as vLLM's own front end would have it: other forms are to go.
            prompt = {"type": "token", "prompt_token_ids": self._tokens(attempt.prompt)}
            request = prompt, self._parameters(attempt), attempt.id
            # Leaving the block early aborts the request, and returns once vLLM's worker has been told.
            async with aclosing(self._llm.generate(*request)) as outputs:
                async for output in outputs:
                    self.waiting -= waits
                    waits, self._answered = False, True
                    events = self._events(attempt.id, output.outputs[0])
                    self._arrived += sum(event.tokens for event in events)
                    yield events
        except Exception as error:
            yield [self._fault(attempt.id, error)]
        finally:
            self.waiting -= waits

    def _tokens(self, prompt: PromptInput) -> list[int]:
        if isinstance(prompt, str):
            return list(self._tokenizer.encode(prompt))
        if messages := _messages(prompt):
            told = [{"role": message.role, "content": message.content} for message in messages]
            text = self._tokenizer.apply_chat_template(told, tokenize=False, add_generation_prompt=True)
            # The template writes whatever special tokens there are.
            return list(self._tokenizer.encode(text, add_special_tokens=False))
        return [token for token in prompt if isinstance(token, int)]

    def _parameters(self, attempt: Attempt) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=self._sampling.temperature,
            top_k=self._sampling.top_k,
            top_p=self._sampling.top_p,
            min_p=0.0,
            seed=seed(attempt.key),
            max_tokens=attempt.max_new_tokens,
            stop=self._stop,
            logprobs=0,  # of the sampled token alone
            output_kind=RequestOutputKind.DELTA,
        )

    def _events(self, attempt_id: str, delta: Any) -> list[Event]:
        """Return one event per token of what vLLM hands over, which is several where we read late."""
        finish = _finish(delta.finish_reason, delta.stop_reason)
        if not delta.token_ids:
            return [Event(attempt_id, -1, math.nan, math.nan, finish, delta.text, 0)]
        told = [by_id[token] for by_id, token in zip(delta.logprobs, delta.token_ids, strict=True)]
        texts = token_texts([(entry.decoded_token or "", None) for entry in told], delta.text)
        finishes = [""] * (len(texts) - 1) + [finish]
        return [
            Event(attempt_id, token, entry.logprob, self._drawn(entry.logprob), finish, text)
            for token, entry, text, finish in zip(delta.token_ids, told, texts, finishes, strict=True)
        ]

    def _drawn(self, logprob: float) -> float:
        """Return the log-probability in the distribution that was drawn from, where it follows from the model's own."""
        if self._sampling.temperature == 0:
            return 0.0
        return logprob if self._sampling == Sampling() else math.nan

    def _fault(self, attempt_id: str, error: Exception) -> Failed:
        """Return what is wrong with one attempt. Raises `MsifrError` if it is with vLLM, or with every attempt."""
        # vLLM hides what went wrong in there behind an error without a word.
        told = error if str(error) or error.__cause__ is None else error.__cause__
        why = one_line(str(told) or type(told).__name__)
        self._failed += 1
        if self._llm.errored:
            raise MsifrError(f"vLLM has died: {why} (what is done is kept: start again to go on)") from error
        # A run that cannot work should not fill a file with errors.
        if not self._answered and self._failed >= max(8, self.slots):
            raise MsifrError(f"vLLM took none of the first {self._failed} attempts: {why}") from error
        return Failed(attempt_id, why)

    def _made(self) -> int | None:
        """Return vLLM's count of the tokens it made, None if it keeps none."""
        from vllm.v1.metrics.reader import get_metrics_snapshot

        counts = [metric.value for metric in get_metrics_snapshot() if metric.name == _MADE]
        return sum(counts) if counts else None

    def spent(self) -> Session:
        """Return the tokens of the warm-up, those that arrived, and those that vLLM counted.

        It does not count what it had under way when it was told to abort: at most a step of the batch.
        """
        made = self._made()
        made = None if made is None or self._made_before is None else made - self._made_before
        return Session(probe=self._probe, arrived=self._arrived, made=made)

    def close(self) -> None:
        """Stop vLLM and its processes."""
        super().close()
        if self._llm is not None:
            self._llm.shutdown()
            self._llm = None
            beside(self._runner.close)


def _messages(prompt: PromptInput) -> list[Message]:
    return [] if isinstance(prompt, str) else [part for part in prompt if isinstance(part, Message)]


def _finish(reason: str | None, stop: int | str | None) -> Finish:
    """Return the word for vLLM's: a stop that names a string is a stop string's, else a token's."""
    if reason == "stop":
        return "stop" if isinstance(stop, str) else "end"
    return reason or ""


def _settings(config: Any, sampling: Sampling, stop: Sequence[str]) -> dict[str, Any]:
    from vllm import __version__ as version

    return {
        "vllm": version,
        "device": config.device_config.device_type,
        "dtype": str(config.model_config.dtype).removeprefix("torch."),
        "quantization": config.model_config.quantization,
        "max_model_len": config.model_config.max_model_len,
        "prefix_caching": bool(config.cache_config.enable_prefix_caching),
        "chunked_prefill": bool(config.scheduler_config.enable_chunked_prefill),
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": 0.0,
        "stop": list(stop),
    }
