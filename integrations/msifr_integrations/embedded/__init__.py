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

The public names are those of the stub file beside this one, loaded when they are first used. No module here is called
`problems`: importing it would put the module in the place of the function.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
del lazy_loader
