"""Small projects for tests: notebooks and a pipeline file in a folder."""

import hashlib
import json
from pathlib import Path
from textwrap import dedent

from nbship.config import load_pipeline
from nbship.graph import Graph, read_graph
from nbship.kubeflow.compile import compile_graph
from nbship.versions.dvc import Tracked, tracking_text

TABLE = "x,y\n1,2\n2,4\n3,6\n4,9\n"
TABLE_MD5 = hashlib.md5(TABLE.encode()).hexdigest()  # noqa: S324 (the hash that DVC uses)
METADATA = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
PREPARE = dedent("""\
    table: "Input[Dataset]" = "data.csv"  # points, one row each
    rows: "Output[Dataset]" = "build/rows.csv"  # rows to learn from
    count: "Output[int]" = 0  # how many there are
    most: int = 3  # rows to keep
    names: list = [1, 2]  # list of numbers
    options: dict = {"deep": {"flags": [True, 0.5]}}  # nested
    C: float = 1.0  # penalty
    note: str = ""  # empty unless set
    strict: bool = False  # a switch
""")
TRAIN = dedent("""\
    rows: "Input[Dataset]" = "build/rows.csv"  # rows to learn from
    model: "Output[Model]" = "build/model.json"  # the slope
    metrics: "Output[Metrics]" = "build/metrics.json"  # how it does
    scale: float = 1.0  # divides the slope
""")
PREPARE_CODE = dedent("""\
    import csv
    lines = list(csv.reader(open(table)))
    with open(rows, "w") as file:
        csv.writer(file).writerows(lines[: most + 1])
    count = min(most, len(lines) - 1)
    assert all(type(name) is int for name in names), names
    print(f"{{kept}} {count}", '''quoted''')
""")
TRAIN_CODE = dedent("""\
    import csv, json
    points = [(float(p["x"]), float(p["y"])) for p in csv.DictReader(open(rows))]
    slope = sum(x * y for x, y in points) / sum(x * x for x, y in points) / scale
    json.dump(slope, open(model, "w"))
    json.dump({"slope": slope, "rows": len(points), "kind": "line"}, open(metrics, "w"))
""")
PIPELINE = """\
name: line
description: Fits a line
kubeflow: {repository: https://git.example.org/line.git}
data: {table: {path: data.csv, description: Points, source: {file: elsewhere.csv}}}
steps:
  prepare: {notebook: notebooks/prepare.ipynb, parameters: {most: 4}}
  train-line: {notebook: notebooks/train.ipynb, inputs: {scale: prepare.count}}
"""


def write_notebook(path: Path, parameters: str, *code: str, title: str = "A step", text: str = "") -> Path:
    """Writes a notebook with a heading, a parameters cell and code cells that look as if they had run."""
    cells = [
        {"cell_type": "markdown", "id": "heading", "metadata": {}, "source": f"# {title}\n\n{text}"},
        _code("parameters", parameters, ["parameters"]),
        *(_code(f"cell-{number}", source, []) for number, source in enumerate(code)),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}))
    return path


def write_project(root: Path, pipeline: str = PIPELINE) -> Path:
    """Writes a project whose pipeline `line` has two steps: they keep some rows, and fit a slope."""
    write_notebook(
        root / "notebooks/prepare.ipynb", PREPARE, PREPARE_CODE, title="Prepare", text="Keeps the first rows."
    )
    write_notebook(root / "notebooks/train.ipynb", TRAIN, TRAIN_CODE, title="Fit the line")
    (root / "data.csv").write_text(TABLE)
    (root / "elsewhere.csv").write_text(TABLE)
    (root / "data.csv.dvc").write_text(tracking_text(root / "data.csv", Tracked(TABLE_MD5, len(TABLE))))
    (root / "pipelines").mkdir()
    (root / "pipelines/line.yaml").write_text(pipeline)
    return root


def graph_of(root: Path, *overrides: str) -> Graph:
    """Reads the project's pipeline."""
    return read_graph(root, load_pipeline(root, "line", overrides))


def compiled_text(root: Path, *overrides: str) -> str:
    """Compiles the project's pipeline."""
    return compile_graph(graph_of(root, *overrides), {"table": TABLE_MD5})


def _code(identifier: str, source: str, tags: list[str]) -> dict[str, object]:
    return {
        "cell_type": "code",
        "id": identifier,
        "metadata": {"tags": tags, "collapsed": True},
        "source": source,
        "execution_count": 7,
        "outputs": [{"output_type": "stream", "name": "stdout", "text": "from before"}],
    }
