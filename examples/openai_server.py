"""Attempts of an OpenAI-compatible server under a policy, with a filter of one's own. Arguments: URL, policy file."""

import sys

from msifr_integrations import GenerateOptions, ServerOptions, generate
from msifr_policy import PolicyFile, Prompt


def about_the_prompt(prompt: Prompt, text: str) -> bool:
    return prompt.prompt.split()[-1].rstrip(".") in text


prompts = [Prompt(prompt_id=f"fox-{n}", prompt=f"Tell {n} sentences about a fox.") for n in range(4)]
options = GenerateOptions(attempts=2, server=ServerOptions(url=sys.argv[1]), final_filter=about_the_prompt)
policy = PolicyFile.load(sys.argv[2]).policy()
result = generate(None, prompts, policy, "served.jsonl", options)
print(f"{result.accepted} of {result.attempts} attempts accepted, {result.tokens} tokens")
