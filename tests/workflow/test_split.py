"""Splitting a notebook: run once, written, run as a pipeline, and the same shown by every cell."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nbship.cli.main import app
from nbship.config import load_pipeline
from nbship.errors import NbshipError, UsageError
from nbship.graph import read_graph
from nbship.workflow.run import RunRequest, run
from nbship.workflow.split import check, proposal, split
from tests.notebook_steps import ROOT, real_data
from tests.splitting.notebooks import ALL, write, write_tables

# Variables of every kind, and what must come out again as it went in.
KINDS = """
# %%
import logging
import numpy as np
import pandas as pd

logger = logging.getLogger("kinds")

def half(x):
    return x / 2
# %% [markdown]
## Make
# %%
days = pd.date_range("2024-01-01", periods=4, freq="D")
table = pd.DataFrame({"code": ["01", "NA", " ", "x,y"], "n": [1, 2, 3, 4], "x": [0.1, np.nan, 1 / 3, 1e300]})
dated = pd.DataFrame({"day": days, "kind": pd.Categorical(["a", "b", "a", "b"]), "small": np.int8(range(4))})
daily = pd.DataFrame({"value": [1.5, 2.5, 3.5, 4.5]}, index=days)
gaps = table[table.n > 1]
nested = daily.assign(group=["a", "a", "b", "b"]).set_index("group", append=True)
named, nameless = table["x"], pd.Series([1, 2, 3])
# %%
array, texts = np.arange(6).reshape(2, 3), table["code"].iloc[:2].to_numpy()
columns = table.columns
pair, several, figures = (1, "a"), {"b", "a"}, {"rmse": np.float64(0.5), "names": ["a"]}
number, scalar, word, flag, nothing = 3, table.n.mean(), "two\\nlines", True, None
# %%
from scipy import sparse
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
matrix = sparse.csr_matrix(array)
model = LinearRegression().fit(table[["n"]], [2, 4, 6, 8])
models = {"line": LinearRegression().fit(table[["n"]], [1, 2, 3, 4])}
piped = make_pipeline(FunctionTransformer(half), LinearRegression()).fit(table[["n"]], [2, 4, 6, 8])
other = table
other["n"] = other["n"] + 0
metrics = model.score(table[["n"]], [2, 4, 6, 8])
# %%
text = open("../data/" + "flats" + ".csv").readline()
name = "tita" + "nic"
more = len(open(f"../data/{name}.csv").read())
# %% [markdown]
## Show
# %%
print(table, table.dtypes, dated, dated.dtypes, daily, daily.index.freq, gaps, nested, sep="\\n")
# %%
print(named, nameless, sep="\\n")
# %%
print(array, texts, texts.dtype, columns, pair, sorted(several), figures, sep="\\n")
# %%
print(number + 1, scalar.round(1), word, flag, nothing, matrix.toarray(), text, more, sep="\\n")
# %%
logger.warning("shown")
piped.predict(table[["n"]]).round(6), logger.name, half(number)
# %%
model.predict(table[["n"]]).round(6), models["line"].coef_.round(6), round(metrics, 6)
"""


@pytest.fixture
def notebooks(project: Path) -> Path:
    """A project with tables and a folder of explorations."""
    write_tables(project)
    return project / "exploration"


def all_files(root: Path) -> dict[str, bytes]:
    apart = {".git", ".dvc", "runs", ".nbship", "__pycache__"}
    files = (path for path in root.rglob("*") if path.is_file() and not apart & set(path.parts))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_every_kind_of_variable_comes_out_as_it_went_in(project, notebooks):
    proposed = proposal(project, write(notebooks / "kinds.ipynb", KINDS))
    kinds = {c.name: c.kind for c in proposed.plan.crossings}
    assert kinds["table"] == kinds["dated"] == kinds["daily"] == kinds["gaps"] == "table"
    assert kinds["nested"] == "object"  # no CSV keeps two levels; it is told
    assert any("'nested'" in concern.message for concern in proposed.plan.undecided)
    assert (kinds["scalar"], kinds["word"], kinds["flag"], kinds["number"]) == ("float", "str", "bool", "int")
    assert (kinds["pair"], kinds["several"], kinds["figures"], kinds["nothing"]) == ("json",) * 4
    assert (kinds["array"], kinds["texts"], kinds["columns"], kinds["matrix"]) == (
        *("array", "array", "index", "sparse"),
    )
    assert (kinds["model"], kinds["models"], kinds["logger"]) == ("model", "object", "again")
    assert proposed.plan.steps[1].module == ("half",)  # the model is stored with its name
    undeclared = [c.cell for c in proposed.plan.concerns if c.rule == "undeclared-file"]
    assert set(undeclared) == {6}  # the name is made up; that of the line above is not
    split(project, proposed)
    checked = check(project, proposed)
    assert checked.differences == ()
    assert checked.same == 10
    assert checked.record.steps["make"].metrics == {"metrics": 1.0}


def test_flows_functions_and_files_give_the_notebooks_results(project, notebooks):
    for name in ("kaggle-flow", "kale-candies"):
        path = write(notebooks / f"{name}.ipynb", ALL[name])
        before = path.read_bytes()
        proposed = proposal(project, path)
        assert {c.kind for c in proposed.plan.crossings} <= {"table", "array", "model", "int"}
        split(project, proposed)
        checked = check(project, proposed)
        assert checked.differences == ()
        assert checked.same >= 4
        assert path.read_bytes() == before
    record = run(project, RunRequest("kaggle-flow"))[0]
    assert {str(step.state) for step in record.steps.values()} == {"cached"}
    assert set(record.steps["evaluate"].outputs) == {"submission_csv", "metrics"}
    assert "evaluate.accuracy" in record.metrics


def test_the_exploration_becomes_a_pipeline_that_passes_its_gate(project, tmp_path):
    shutil.copy(real_data("auto-mpg", "table"), project / "data.csv")
    path = project / "notebooks/auto-mpg/experiment.ipynb"
    path.parent.mkdir(parents=True)
    shutil.copy(ROOT / "notebooks/auto-mpg/experiment.ipynb", path)
    (tmp_path / "plan.yaml").write_text(
        "gate: {model: fitted, held_out: 'everything[position < test_fraction]', target: mpg,\n"
        "  thresholds: {rmse: {max: 3.8}, r2: {min: 0.75}}}\n"
    )
    proposed = proposal(project, path, "cars", tmp_path / "plan.yaml", run_first=False)
    split(project, proposed)
    assert len(proposed.plan.steps) == 10
    # Of its ten steps those that the verdict needs, with less cross-validation.
    light = ("what-it-looks-at.repeats=1", "what-it-looks-at.folds=2")
    record, _ = run(project, RunRequest("cars", light, only="judge"))
    assert record.verdict is not None
    assert record.verdict.passed
    assert record.steps["judge"].metrics["rows"] > 50


def test_a_cell_that_shows_something_else_is_told(project, notebooks):
    text = "# %% step:a\nx = [2]\n# %% step:b prev:a\nimport os, random\nprint(len(x), random.random())\n"
    text += "# %%\nos.environ.setdefault('SEEN', os.path.basename(os.getcwd()))\n"
    proposed = proposal(project, write(notebooks / "a.ipynb", text))
    split(project, proposed)
    checked = check(project, proposed)
    assert [d.cell for d in checked.differences] == [3]
    assert "exploration" in checked.differences[0].before
    assert checked.random == (2,)


def test_a_notebook_that_fails_names_its_cell(project, notebooks):
    path = write(notebooks / "a.ipynb", "# %% [markdown]\n# A\n# %%\nx = 1\n# %%\nx / 0\n")
    with pytest.raises(NbshipError, match=r"exploration/a\.ipynb, cell 3: ZeroDivisionError") as error:
        proposal(project, path)
    assert "--no-run" in error.value.hint


def test_nothing_is_overwritten_without_force(project, notebooks):
    proposed = proposal(project, write(notebooks / "ml.ipynb", ALL["soorgeon-ml"]), run_first=False)
    written = split(project, proposed)
    assert written[-1] == "pipelines/ml.yaml"
    assert (project / "data/flats.csv.dvc").exists()
    steps = read_graph(project, load_pipeline(project, "ml")).steps
    assert set(steps) == {step.name for step in proposed.plan.steps}
    before = all_files(project)
    with pytest.raises(UsageError, match="already exists"):
        split(project, proposed)
    assert all_files(project) == before
    assert split(project, proposed, force=True) == written


def test_a_notebook_outside_of_the_project_brings_its_table(project, tmp_path):
    write_tables(project)
    (tmp_path / "elsewhere/data").mkdir(parents=True)
    shutil.move(project / "data/flats.csv", tmp_path / "elsewhere/data/flats.csv")
    path = write(tmp_path / "elsewhere/notebook/ml.ipynb", ALL["soorgeon-ml"])
    proposed = proposal(project, path, run_first=False)
    assert split(project, proposed)[0] == "data/flats.csv"
    assert (project / "data/flats.csv.dvc").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('# %%\nimport pandas as pd\nx = pd.read_csv("gone.csv")\n', "gone.csv: is read, and is not there"),
        ("# %%\nprint(undefined)\n", "no cell before it defines it"),
    ],
)
def test_a_plan_with_problems_writes_nothing(project, notebooks, text, message):
    proposed = proposal(project, write(notebooks / "a.ipynb", text), run_first=False)
    before = all_files(project)
    with pytest.raises(UsageError, match=message) as error:
        split(project, proposed)
    assert error.value.hint
    assert all_files(project) == before


def test_parquet_where_it_can_be_read(project, notebooks):
    (project / "requirements.lock").write_text("pyarrow==21.0.0\n")
    proposed = proposal(project, write(notebooks / "ml.ipynb", ALL["soorgeon-ml"]), run_first=False)
    split(project, proposed)
    text = (project / "notebooks/ml/clean.ipynb").read_text()
    assert "df = pd.read_parquet(df_before)" in text
    assert "df.to_parquet(df_file)" in text


def command(*arguments: str) -> int:
    code = app(["split", *arguments], standalone_mode=False)
    return code if isinstance(code, int) else 0


def test_the_command_shows_the_plan_and_takes_it_back(project, notebooks, monkeypatch, capsys):
    write(notebooks / "ml.ipynb", ALL["soorgeon-ml"])
    monkeypatch.chdir(project)
    before = all_files(project)
    shown = {}
    for form in ("text", "mermaid", "svg", "yaml"):
        assert command("exploration/ml.ipynb", "--no-run", "--plan", "--format", form) == 0
        shown[form] = capsys.readouterr().out
    assert "cells 4-5" in shown["text"]
    assert 'step_clean["clean"]' in shown["mermaid"]
    assert shown["svg"].startswith("<svg")
    assert all_files(project) == before
    plan = project / "plan.yaml"
    plan.write_text(shown["yaml"].replace("clean:", "wash:"))
    assert command("exploration/ml.ipynb", "--no-run", "--by", "plan.yaml", "--name", "flats", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert "notebooks/flats/wash.ipynb" in told["written"]


def test_options_that_exclude_each_other(project, notebooks, monkeypatch):
    write(notebooks / "ml.ipynb", ALL["soorgeon-ml"])
    monkeypatch.chdir(project)
    for options in (["--plan", "--check"], ["--format", "yaml"], ["--name", "No Name", "--plan", "--no-run"]):
        with pytest.raises(UsageError):
            command("exploration/ml.ipynb", *options)
