"""What travels with the package: a trained model, and generations recorded from it."""

from pathlib import Path

EMBEDDED_MODEL = "msifr-embedded-1m"
"""What traces and ledgers call the embedded model."""


def embedded_model_path() -> Path:
    """Return the folder of the embedded model: weights, configuration, tokenizer and training.json."""
    return Path(__file__).parent / "model"


def embedded_samples_path() -> Path:
    """Return the gzip JSON-lines file of generations recorded from the embedded model at temperature 1."""
    return Path(__file__).parent / "samples" / "traces.jsonl.gz"
