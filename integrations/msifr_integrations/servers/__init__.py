"""Other people's engines: OpenAI-compatible servers, and vLLM in this process."""
