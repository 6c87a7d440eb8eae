"""Writes `lm_eval/`: python lm_eval_samples.py FOLDER, where lm_eval is installed. The model answers from a list."""

import json
import os
import shutil
import sys
import tempfile
from itertools import cycle
from pathlib import Path

os.environ["HF_DATASETS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"

from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

SUMS = [(3, 4), (10, 5), (7, 8)]
ANSWERS = [" 3+4=7.\n#### 7", " It is 15.", " 7+8=16.\n#### 16", " 3+4=8.\n#### 8"]
TASK = r"""
task: pears
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
fewshot_split: test
output_type: generate_until
doc_to_text: "Question: {{question}}\nAnswer:"
doc_to_target: "{{answer}}"
num_fewshot: 1
repeats: REPEATS
generation_kwargs: {until: ["Question:"], do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true, regexes_to_ignore: [",", "(?s).*#### "]}
filter_list:
  - {name: strict-match, filter: [{function: regex, regex_pattern: "#### (\\-?[0-9]+)"}, {function: take_first}]}
  - name: last-number
    filter: [{function: regex, group_select: -1, regex_pattern: "(-?[0-9]+)"}, {function: take_first}]
"""


class Listed(LM):
    """A model that says what is in a list."""

    tokenizer_name = ""
    answers = cycle(ANSWERS)

    def generate_until(self, requests, disable_tqdm=False):  # noqa: ARG002
        return [next(self.answers) for _ in requests]

    def loglikelihood(self, requests, disable_tqdm=False):
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for repeats in (1, 2):
        with tempfile.TemporaryDirectory() as work:
            documents = Path(work) / "pears.json"
            question = "Ann has {} pears and gets {} more. How many has she?"
            rows = [{"question": question.format(a, b), "answer": f"{a}+{b}={a + b}.\n#### {a + b}"} for a, b in SUMS]
            documents.write_text("".join(json.dumps(row) + "\n" for row in rows))
            (Path(work) / "pears.yaml").write_text(
                TASK.replace("FILE", str(documents)).replace("REPEATS", str(repeats))
            )
            tracker = EvaluationTracker(output_path=f"{work}/out")
            tasks = TaskManager(include_path=work, include_defaults=False)
            results = simple_evaluate(
                model=Listed(),
                tasks=["pears"],
                task_manager=tasks,
                log_samples=True,
                bootstrap_iters=0,
                evaluation_tracker=tracker,
            )
            samples = results.pop("samples")
            tracker.save_results_aggregated(results=results, samples=samples)
            tracker.save_results_samples(task_name="pears", samples=samples["pears"])
            (written,) = Path(work).rglob("samples_pears*.jsonl")
            shutil.copy(written, folder / f"samples_pears_{repeats}.jsonl")


main(Path(sys.argv[1]))
