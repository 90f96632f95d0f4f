"""Execute the notebooks of `examples/` and store them with their outputs.

    python -m scripts.notebooks [NAME...]

Without a name all notebooks are executed. A notebook's first code cell has the tag `parameters` and assigns its
settings, as for papermill; the tests insert a cell with smaller settings after it, and append a cell that checks the
results. Stored notebooks hold no times and no description of the machine.
"""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
SECONDS = 600
"""The longest time that a cell may take."""


def read(path: Path) -> NotebookNode:
    """Read a notebook of format 4."""
    return nbformat.read(path, as_version=4)  # type: ignore[no-any-return, no-untyped-call]


def execute(path: Path, folder: Path, *, parameters: Mapping[str, Any] | None = None, check: str = "") -> NotebookNode:
    """Execute a notebook with a working directory and return it with its outputs; the file isn't changed.

    `parameters` override the settings of the cell with the tag `parameters`; `check` is code that runs at the end.
    Raises CellExecutionError if a cell fails, the last one included.
    """
    notebook = read(path)
    cells = notebook.cells
    (index,) = (index for index, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    if check:
        cells.append(new_code_cell(check))  # type: ignore[no-untyped-call]
    if parameters:
        source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
        cells.insert(index + 1, new_code_cell(source))  # type: ignore[no-untyped-call]
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=SECONDS, coalesce_streams=True, resources=resources).execute()
    return notebook


def clean(notebook: NotebookNode) -> NotebookNode:
    """Remove what differs between two machines, apart from the results, and reduce pictures to 256 colours."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})  # type: ignore[no-untyped-call]
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = nbformat.from_dict({"tags": cell.metadata.tags} if "tags" in cell.metadata else {})  # type: ignore[no-untyped-call]
        for output in cell.get("outputs", []):
            if picture := output.get("data", {}).get("image/png"):
                output.data["image/png"] = _in_256_colours(picture)
    return notebook


def _in_256_colours(picture: str) -> str:
    """Return a PNG, in base64, as a PNG with a palette, which takes about a third of the bytes."""
    smaller = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(smaller, "PNG", optimize=True)
    return base64.b64encode(smaller.getvalue()).decode()


def main(names: list[str]) -> None:
    """Execute the named notebooks, or all, and write them back."""
    for path in [EXAMPLES / f"{name.removesuffix('.ipynb')}.ipynb" for name in names] or sorted(
        EXAMPLES.glob("*.ipynb")
    ):
        print(path.name)
        nbformat.write(clean(execute(path, EXAMPLES)), path)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main(sys.argv[1:])
