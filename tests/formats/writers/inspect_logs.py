"""Writes `inspect_ai/`: python inspect_logs.py FOLDER, where inspect_ai is installed. The model answers from a list."""

import gzip
import sys
import tempfile
from pathlib import Path

from inspect_ai import Task
from inspect_ai import eval as evaluate
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import includes, match
from inspect_ai.solver import generate, system_message

ANSWERS = ["3+4=7. " * 20 + "\n7", "10+5=16.\n16", "I think 7", "It is\n15"]
SUMS = [(3, 4), (10, 5)]


def answers():
    for answer in ANSWERS:
        output = ModelOutput.from_content("mockllm/model", answer)
        output.usage = ModelUsage(input_tokens=20, output_tokens=8, total_tokens=28)
        yield output


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    questions = [
        Sample(input=f"Ann has {a} pears and gets {b} more. How many has she?", target=str(a + b), id=i)
        for i, (a, b) in enumerate(SUMS)
    ]
    for kind in ("eval", "json"):
        with tempfile.TemporaryDirectory() as work:
            task = Task(
                dataset=MemoryDataset(questions, name="pears"),
                solver=[system_message("Be brief."), generate()],
                scorer=[match(numeric=True), includes()],
                epochs=2,
                name="pears",
            )
            model = get_model("mockllm/model", custom_outputs=list(answers()))
            evaluate(task, model=model, log_dir=work, log_format=kind, display="none", max_connections=1, max_samples=1)
            (written,) = Path(work).glob(f"*.{kind}")
            if kind == "eval":
                (folder / "pears.eval").write_bytes(written.read_bytes())
            else:
                (folder / "pears.json.gz").write_bytes(gzip.compress(written.read_bytes(), mtime=0))


main(Path(sys.argv[1]))
