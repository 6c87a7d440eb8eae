"""Writes `distilabel/`: python distilabel_rows.py FOLDER, where distilabel is installed. The model counts on from 6."""

import shutil
import sys
from pathlib import Path

from distilabel.models.llms.base import LLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration

QUESTIONS = [{"instruction": "What is 3+4?", "gold": "7"}, {"instruction": "What is 5+4?", "gold": "9"}]


class Listed(LLM):
    """A model that says the next number each time."""

    def load(self) -> None:
        super().load()

    @property
    def model_name(self) -> str:
        return "listed"

    def generate(self, inputs, num_generations: int = 1):
        texts = [f"The answer is {6 + i}." for i in range(num_generations)]
        statistics = {"input_tokens": [7], "output_tokens": [5 + i for i in range(num_generations)]}
        return [{"generations": texts, "statistics": statistics} for _ in inputs]


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for grouped in (True, False):
        with Pipeline(name="sums") as pipeline:
            rows = LoadDataFromDicts(data=QUESTIONS)
            rows >> TextGeneration(llm=Listed(), num_generations=3, group_generations=grouped)
        found = pipeline.run(use_cache=False)
        if grouped:
            shutil.rmtree(folder / "saved", ignore_errors=True)
            found.save_to_disk(folder / "saved", save_card=False, save_pipeline_config=False, save_pipeline_log=False)
        else:
            found["default"]["train"].to_json(folder / "rows.jsonl")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
