"""Small random models of many architectures: what the engines are held to, and what the documents say of them."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM

WINDOW = 5
"""Positions that layers with a window see: fewer than any sequence of the tests has."""

_ENDS = {"vocab_size": 97, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
_WILD = _ENDS | {"initializer_range": 0.3}  # weights large enough for models to have opinions
_PLAIN = _WILD | {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 256,
}  # fmt: skip
_LLAMA = _PLAIN | {"num_key_value_heads": 2}
_NARROW = _LLAMA | {"head_dim": 8}
_GPT = _WILD | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
_SLIDING = {"sliding_window": WINDOW}
_MIXED = _SLIDING | {"layer_types": ["sliding_attention", "full_attention"]}
_LATER = _SLIDING | {"use_sliding_window": True, "max_window_layers": 1}
_LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
_ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "first_k_dense_replace": 1}
_GROUPS = {"n_group": 1, "topk_group": 1}
_LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 12,
    "num_key_value_heads": 4,
}  # fmt: skip
_LINEAR = {
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
_GEMMA = _NARROW | {"query_pre_attn_scalar": 8}
_ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}}


class Architecture(NamedTuple):
    """A model: its type as transformers names it, what is special about it, and the options of its configuration.

    why_static: what the probe says of it, "" for a model that runs in slots.
    """

    kind: str
    special: str
    options: dict[str, Any]
    why_static: str = ""

    @property
    def name(self) -> str:
        return " ".join([self.kind, self.special.replace(", ", "-").replace(" ", "-")]).strip()


ARCHITECTURES = (
    Architecture("apertus", "", _NARROW | _ROPE),
    Architecture("arcee", "", _LLAMA),
    Architecture("biogpt", "", _PLAIN),
    Architecture("codegen", "", _GPT | {"rotary_dim": 4}),
    Architecture("cohere", "", _LLAMA),
    Architecture("cohere2", "windows", _LLAMA | _MIXED),
    Architecture(
        "deepseek_v2", "latent attention, experts", _LLAMA | _ROUTED | _GROUPS | _LATENT | {"topk_method": "greedy"}
    ),
    Architecture("deepseek_v3", "latent attention, experts", _LLAMA | _ROUTED | _GROUPS | _LATENT),
    Architecture("ernie4_5", "", _NARROW),
    Architecture("exaone4", "windows", _LLAMA | _MIXED),
    Architecture("falcon", "", _PLAIN | {"multi_query": True}),
    Architecture("gemma", "", _NARROW),
    Architecture("gemma2", "windows, capped scores", _GEMMA | _MIXED | {"attn_logit_softcapping": 5.0}),
    Architecture("gemma3_text", "windows", _GEMMA | _MIXED),
    Architecture("glm", "", _NARROW),
    Architecture("glm4", "", _NARROW),
    Architecture("glm4_moe", "experts", _NARROW | _ROUTED | _GROUPS),
    Architecture("gpt2", "", _GPT),
    Architecture("gpt_neox", "", _PLAIN),
    Architecture("gpt_oss", "windows, sinks, experts", _NARROW | _MIXED | _LOCAL | _ROPE),
    Architecture("gptj", "", _GPT | {"rotary_dim": 4}),
    Architecture("granite", "scaled attention", _LLAMA | {"attention_multiplier": 0.2, "residual_multiplier": 0.7}),
    Architecture("granitemoe", "experts", _LLAMA | _LOCAL),
    Architecture("helium", "", _NARROW),
    Architecture("hunyuan_v1_dense", "", _NARROW),
    Architecture("llama", "", _LLAMA),
    Architecture(
        "llama4_text",
        "chunks, experts",
        _NARROW
        | {
            "num_local_experts": 2,
            "intermediate_size_mlp": 48,
            "attention_chunk_size": WINDOW,
            "no_rope_layers": [1, 0],
        },
    ),
    Architecture("ministral", "windows", _NARROW | _MIXED),
    Architecture("mistral", "", _LLAMA | {"sliding_window": None}),
    Architecture("mistral", "windows", _LLAMA | _SLIDING),
    Architecture("mixtral", "windows, experts", _LLAMA | _SLIDING | _LOCAL),
    Architecture("mpt", "biased attention", _WILD | {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 256}),
    Architecture("nemotron", "", _LLAMA),
    Architecture("olmo", "", _LLAMA),
    Architecture("olmo2", "", _LLAMA),
    Architecture("olmo3", "windows", _LLAMA | _MIXED),
    Architecture("olmoe", "experts", _LLAMA | _EXPERTS),
    Architecture(
        "opt",
        "",
        _ENDS
        | {
            "init_std": 0.3,
            "hidden_size": 32,
            "ffn_dim": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 256,
            "word_embed_proj_dim": 32,
        },
    ),
    Architecture("persimmon", "", _PLAIN),
    Architecture("phi", "", _LLAMA),
    Architecture("phi3", "windows", _LLAMA | _SLIDING),
    Architecture("phimoe", "windows, experts", _LLAMA | _SLIDING | _LOCAL),
    Architecture("qwen2", "", _LLAMA),
    Architecture("qwen2", "windows", _LLAMA | _LATER),
    Architecture("qwen2_moe", "experts", _LLAMA | _EXPERTS | {"shared_expert_intermediate_size": 24}),
    Architecture("qwen3", "", _NARROW),
    Architecture("qwen3", "windows", _NARROW | _LATER),
    Architecture("qwen3_moe", "experts", _NARROW | _EXPERTS),
    Architecture("seed_oss", "", _NARROW),
    Architecture("smollm3", "", _LLAMA),
    Architecture("stablelm", "", _LLAMA),
    Architecture("starcoder2", "windows", _LLAMA | _SLIDING),
    Architecture(
        "bloom", "biased attention", _WILD | {"hidden_size": 32, "n_layer": 2, "n_head": 4}, "decoding in slots fails"
    ),
    Architecture(
        "gpt_neo",
        "windows",
        _ENDS
        | {
            "initializer_range": 0.3,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "max_position_embeddings": 256,
            "attention_types": [[["global", "local"], 1]],
            "window_size": WINDOW,
            "intermediate_size": 48,
        },
        "other logits",
    ),
    Architecture(
        "jamba",
        "recurrent layers, experts",
        _LLAMA | {"num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1},
        "LinearAttentionLayer",
    ),
    Architecture(
        "mamba", "recurrent layers", _ENDS | {"hidden_size": 32, "num_hidden_layers": 2}, "LinearAttentionLayer"
    ),
    Architecture(
        "qwen3_next",
        "recurrent layers, experts",
        _NARROW | _EXPERTS | _LINEAR | {"shared_expert_intermediate_size": 24},
        "LinearAttentionLayer",
    ),
)


def table() -> str:
    """The table of the documents: `python tests/architectures.py` prints it."""
    rows: dict[tuple[str, bool], list[str]] = {}
    for one in sorted(ARCHITECTURES, key=lambda one: (bool(one.why_static), one.special, one.kind)):
        rows.setdefault((one.special or "nothing else", not one.why_static), []).append(f"`{one.kind}`")
    lines = [
        f"| {special} | {'yes' if slots else 'no'} | {', '.join(kinds)} |" for (special, slots), kinds in rows.items()
    ]
    return "\n".join(["| beside attention to all positions | slots | model types |", "| --- | --- | --- |", *lines])


@cache
def model(architecture_name: str) -> Any:
    """A random model of two layers, the same in every process."""
    one = next(each for each in ARCHITECTURES if each.name == architecture_name)
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(one.kind, **one.options)).eval()


if __name__ == "__main__":
    print(table())
