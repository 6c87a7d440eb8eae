"""A policy beside a streaming client: what it discards is not read on. Arguments: base URL, model, policy file."""

import asyncio
import sys

from openai import AsyncOpenAI

from msifr_policy import Action, PolicyFile


async def attempt(prompt: str, url: str, model: str, policy_file: str) -> str:
    run, text = PolicyFile.load(policy_file).policy().start(prompt), ""
    async with AsyncOpenAI(base_url=url, api_key="none") as client:
        async for chunk in await client.completions.create(model=model, prompt=prompt, max_tokens=200, stream=True):
            text += chunk.choices[0].text
            decision = run.feed(chunk.choices[0].text, tokens=1)
            if decision is not None and decision.action is Action.DISCARD:
                return f"discarded for its {decision.reason}: {text}"
    return f"finished: {text}"


print(asyncio.run(attempt("Tell a story.", *sys.argv[1:])))
