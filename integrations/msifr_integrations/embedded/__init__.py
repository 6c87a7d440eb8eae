"""A small language model that travels with the package, and the problems it was trained on.

The model is a Llama-architecture transformer of 1.2 million weights in half precision, trained by
`python -m msifr_integrations.embedded.train` on procedurally generated word problems. It runs offline on a CPU, really
samples and really fails: nothing about its mistakes is planted, they are what a model of this size trained this long
does at temperature 1.

Prompt format: a prompt is a `Problem.prompt`, the question ending in one newline, with no template and no special
tokens around it. `tokenizer.encode(prompt)` is the model's input; the model continues with one worked step per line,
the line "#### <answer>" and the end-of-sequence token.

    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = AutoModelForCausalLM.from_pretrained(embedded_model_path(), dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_path())
    text = tokenizer.decode(model.generate(**tokenizer(problem(0, 0).prompt, return_tensors="pt"))[0])

The weights are stored in float16; load them as float32 on a CPU, as for the recorded samples.

Importing this package loads neither torch nor transformers.
"""

from pathlib import Path

from msifr_integrations.embedded.problems import Problem as Problem
from msifr_integrations.embedded.problems import problem as problem
from msifr_integrations.embedded.problems import problems as problems
from msifr_integrations.embedded.problems import split_of as split_of

EMBEDDED_MODEL = "msifr-embedded-1m"
"""What traces and ledgers call the embedded model."""


def embedded_model_path() -> Path:
    """Return the folder of the embedded model: weights, configuration, tokenizer and training.json."""
    return Path(__file__).parent / "model"


def embedded_samples_path() -> Path:
    """Return the gzip JSON-lines file of generations recorded from the embedded model at temperature 1."""
    return Path(__file__).parent / "samples" / "traces.jsonl.gz"
