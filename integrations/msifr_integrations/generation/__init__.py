"""One run: prompts in, attempts through an engine under a policy, accepted samples and a ledger out."""
