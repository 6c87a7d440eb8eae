"""Writes `datasets/`: python saved_datasets.py FOLDER, where Hugging Face datasets is installed."""

import sys
from pathlib import Path

from datasets import Dataset, DatasetDict


def chat(question: str, answer: str, correct: bool) -> dict:
    said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": said, "correct": correct}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    train = Dataset.from_list([chat("What is 3+4?", "It is 7.", True), chat("What is 3+4?", "It is 8.", False)])
    test = Dataset.from_list([chat("What is 5+4?", "It is 9.", True)])
    DatasetDict({"train": train, "test": test}).save_to_disk(folder / "saved")
    train.to_parquet(folder / "train.parquet")


main(Path(sys.argv[1]))
