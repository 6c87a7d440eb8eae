"""The outputs stored in the notebooks are those they give. To refresh them: `python tests/test_notebooks.py`."""

from copy import deepcopy
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def executed(notebook):
    """Return the notebook with fresh outputs."""
    resources = {"metadata": {"path": str(FOLDER)}}
    return nbclient.NotebookClient(deepcopy(notebook), timeout=300, resources=resources, record_timing=False).execute()


def shown(notebook):
    """Return what each code cell shows: its lines of text, and of images, which vary by machine, the kinds."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return ["".join(map(text_of, cell.outputs)).splitlines() for cell in code]


def text_of(output):
    if output.output_type == "stream":
        return output.text if output.name == "stdout" else ""
    images = sorted(kind for kind in output.data if kind.startswith("image/"))
    return "\n".join(images or [output.data["text/plain"]]) + "\n"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_fresh(path):
    stored = nbformat.read(path, as_version=4)
    assert shown(stored) == shown(executed(stored)), "to refresh what is stored: python tests/test_notebooks.py"


def refresh():
    """Write fresh outputs into every notebook, and change nothing else."""
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        for cell, fresh in zip(notebook.cells, executed(notebook).cells, strict=True):
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = fresh.outputs, fresh.execution_count
        nbformat.write(notebook, path)


if __name__ == "__main__":
    refresh()
