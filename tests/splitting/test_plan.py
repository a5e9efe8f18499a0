"""Where notebooks are cut, what crosses each cut, and what will hurt: all of it from the code alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nbship.errors import UsageError
from nbship.linting.cells import read_source
from nbship.splitting.kinds import Fact
from nbship.splitting.plan import SplitPlan
from nbship.splitting.proposal import propose, read
from nbship.splitting.wishes import Wishes, ranges, read_wishes
from nbship.splitting.writing import write as write_plan
from tests.notebook_steps import ROOT
from tests.splitting.notebooks import ALL, write


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SplitPlan]:
    folder = tmp_path_factory.mktemp("plans")
    return {name: plan_of(folder / f"{name}.ipynb", text) for name, text in ALL.items()}


def plan_of(path: Path, text: str, wishes: Wishes | None = None, **facts: Fact) -> SplitPlan:
    """The plan of a notebook that is written first; facts are those of its last cell."""
    source = read_source(write(path, text), f"exploration/{path.name}")
    seen = {source.code[-1].number: facts} if facts else {}
    wishes = wishes or Wishes()
    return propose(read(source, wishes), path.stem, wishes, seen)


def texts_of(path: Path, text: str, wishes: Wishes | None = None) -> dict[str, str]:
    """All code of each step that is written, and of the module."""
    source = read_source(write(path, text), f"exploration/{path.name}")
    wishes = wishes or Wishes()
    notebook = read(source, wishes)
    plan = propose(notebook, path.stem, wishes, {})
    data = {file.variable: f"data/{Path(file.path).name}" for file in plan.files if not file.writers}
    return {Path(name).name: code_of(text) for name, text in write_plan(plan, notebook, data).items()}


def code_of(text: str) -> str:
    if not text.startswith("{"):
        return text
    return "\n".join("".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "code")


def steps(plan: SplitPlan) -> list[str]:
    return [step.name for step in plan.steps]


def crossing(plan: SplitPlan) -> dict[str, dict[str, str]]:
    """By step, what it takes, and from where."""
    return {step.name: dict(step.takes) for step in plan.steps if step.takes}


def rules(plan: SplitPlan) -> set[tuple[str, int]]:
    return {(concern.rule, concern.cell) for concern in plan.concerns}


def test_kale_tags_make_the_steps_and_their_order(plans):
    plan = plans["kale-titanic"]
    assert plan.by == "tags"
    models = ["random-forest", "logistic-regression", "naive-bayes", "decision-tree"]
    assert steps(plan) == ["load-data", "data-preprocessing", "feature-engineering", *models, "results"]
    assert plan.skipped == (6,)
    assert set(plan.parameters) == {"N_TREES", "MAX_ITER"}
    for model in models:
        assert crossing(plan)[model] == dict.fromkeys(["train_df", "train_labels"], "feature-engineering")
    assert set(crossing(plan)["results"].values()) == set(models)
    assert plan.steps[-1].metrics == ()  # what `pipeline-metrics` prints is another step's


def test_kale_steps_that_hand_on_numbers_and_wait(plans):
    plan = plans["kale-candies"]
    assert steps(plan) == ["sack", "kid1", "kid2", "kid3"]
    assert crossing(plan)["kid3"] == {"candies": "sack", "kid1": "kid1", "kid2": "kid2"}
    assert all(step.module == ("get_handful",) for step in plan.steps[1:])
    assert not plan.problems


def test_kale_metrics_and_functions_that_use_parameters(plans):
    plan = plans["kale-metrics"]
    assert steps(plan) == ["read", "fit", "score"]
    assert plan.steps[-1].metrics == ("error",)
    assert {step.name: step.parameters for step in plan.steps} == {
        "read": ("FOLDS",),
        "fit": ("ALPHA", "FOLDS"),
        "score": ("FOLDS",),
    }
    assert not plan.module  # fold_of uses a parameter, so each step has it; rmse is one step's
    assert crossing(plan)["score"] == {"flats": "read", "models": "fit"}


def test_a_textbook_whose_functions_keep_data_as_defaults(plans):
    plan = plans["textbook-regression"]
    assert steps(plan) == ["the-validation-set", "cross-validation", "the-bootstrap", "exercises"]
    assert crossing(plan)["exercises"] == {
        "Auto": "the-validation-set",
        "cv_error": "cross-validation",
        "mse": "the-validation-set",
    }
    assert plan.steps[-1].module == ("boot_SE", "boot_fn")


def test_kale_steps_that_follow_without_taking_anything(tmp_path):
    text = "# %% step:a\nprint(1)\n# %% step:b prev:a\nprint(2)\n"
    assert [step.after for step in plan_of(tmp_path / "a.ipynb", text).steps] == [(), ("a",)]


def test_headings_make_the_steps(plans):
    plan = plans["soorgeon-ml"]
    assert plan.by == "headings"
    assert steps(plan) == ["load", "clean", "split", "linear-regression", "random-forest", "comparison"]
    assert {name: v.default for name, v in plan.parameters.items()} == {"SEED": 42}
    assert plan.parameters["SEED"].help == "of the split"
    assert [(f.variable, f.readers, f.writers) for f in plan.files] == [("flats_csv", ("load",), ())]
    kinds = {c.name: c.kind for c in plan.crossings if c.source == "split"}
    assert kinds == {"X_train": "table", "X_test": "table", "y_train": "series", "y_test": "series"}
    assert plan.steps[3].metrics == ("mae_linear",)
    assert plan.steps[-1].cells[-1] == 19  # the conclusion, which has no code


def test_functions_go_along_with_the_globals_that_they_use(plans):
    plan = plans["soorgeon-globals"]
    assert steps(plan) == ["read-the-database", "features", "model", "check"]
    assert crossing(plan)["check"]["threshold"] == "read-the-database"
    copied = {step.name: step.copies for step in plan.steps}
    assert copied["check"]  # is_large, which uses threshold, is no function of a module
    module = {name for step in plan.steps for name in step.module}
    assert module == {"shout", "Ratio"}  # of two steps; a class that is stored by its name


def test_connections_and_loggers_are_made_again(plans, tmp_path):
    again = {c.name for c in plans["soorgeon-globals"].crossings if c.kind == "again"}
    assert again == {"logger"}
    texts = texts_of(tmp_path / "rents.ipynb", ALL["soorgeon-globals"])
    for step in ("features", "model"):
        assert 'logger = logging.getLogger("rents")\nlogger.setLevel' in texts[f"{step}.ipynb"]
    assert "sqlite3" not in texts["model.ipynb"]


def test_what_cannot_be_stored_is_an_error_with_a_way_out(tmp_path):
    text = "# %%\nimport os\n# %% [markdown]\n## A\n# %%\nrows = list(os.environ)\nx = iter(rows)\n"
    text += "# %% [markdown]\n## B\n# %%\nprint(next(x))\n"
    source = read_source(write(tmp_path / "a.ipynb", text), "a.ipynb")
    notebook = read(source, Wishes())
    facts = {3: {"x": Fact("other", "list_iterator", why="it is of this moment")}}
    (problem,) = propose(notebook, "a", Wishes(), facts).problems
    assert "'x' (list_iterator) crosses from 'a' to 'b'" in problem.message
    assert "store: {x: object}" in problem.hint
    wishes = Wishes(store={"x": "object"})
    assert not propose(read(source, wishes), "a", wishes, facts).problems


def test_files_that_one_part_leaves_for_the_next(plans):
    plan = plans["elyra-weather"]
    files = {f.variable: (f.readers, f.writers) for f in plan.files}
    first, second, third = steps(plan)
    assert files == {
        "weather_csv": ((first,), ()),
        "weather_clean_csv": ((second,), (first,)),
        "forecast_json": ((), (third,)),
    }


def test_a_textbook_with_headings_of_the_first_level(plans):
    plan = plans["textbook-housing"]
    assert plan.by == "headings"
    assert steps(plan)[0] == "get-the-data"
    assert ("seed", 3) in rules(plan)
    assert crossing(plan)[steps(plan)[-1]].keys() >= {"strat_test_set", "full_pipeline", "final_model"}
    assert next(f for f in plan.files if f.variable == "my_model_pkl").type == "Model"


def test_without_cuts_the_flow_says_where(plans):
    for name in ("kaggle-flow", "handbook-iris"):
        assert plans[name].by == "flow"
        assert steps(plans[name]) == ["load", "prepare", "train", "evaluate"]
        assert plans[name].steps[-1].metrics == ("accuracy",)
    cells = {step.name: ranges(step.cells) for step in plans["kaggle-flow"].steps}
    assert cells == {"load": "1-4", "prepare": "5-8", "train": "9-11", "evaluate": "12-14"}


def test_what_will_hurt_is_said(plans):
    assert {("shell", 1), ("leak", 7)} <= rules(plans["kaggle-flow"])
    messy = rules(plans["messy"])
    assert {("shell", 2), ("read-often", 26), ("overwritten", 44), ("overwritten", 45)} <= messy
    assert 57 not in {concern.cell for concern in plans["messy"].concerns}  # it is skipped


def test_cells_that_were_never_run_are_said(tmp_path):
    path = write(tmp_path / "a.ipynb", "# %%\nx = len('a')\n# %%\nprint(x)\n")
    content = json.loads(path.read_text())
    content["cells"][0]["execution_count"] = 1
    path.write_text(json.dumps(content))
    plan = propose(read(read_source(path, "a"), Wishes()), "a", Wishes(), {})
    assert ("never-run", 2) in rules(plan)


def test_a_name_that_no_cell_defines_is_a_problem(tmp_path):
    plan = plan_of(tmp_path / "a.ipynb", "# %%\nprint(undefined)\n")
    assert [(p.rule, p.cell) for p in plan.problems] == [("hidden-state", 1)]


def test_sixty_cells(plans):
    plan = plans["messy"]
    assert sum(len(step.cells) for step in plan.steps) > 50
    assert crossing(plan)["compare"] == {
        "X": "model-two",
        "df": "model-one",
        "model": "model-two",
        "other": "model-two",
    }


def test_words_that_a_pipeline_needs_for_itself(plans):
    assert steps(plans["text-classification"]) == ["data-step", "vectors", "gate-step", "data-step-2"]


@pytest.mark.parametrize("name", ALL)
def test_what_is_written_is_python_that_has_all_its_names(name, tmp_path):
    from nbship.linting import check_notebook

    source = read_source(
        write(tmp_path / f"exploration/{name}.ipynb", ALL[name]), f"exploration/{name}.ipynb"
    )
    notebook = read(source, Wishes())
    plan = propose(notebook, name, Wishes(), {})
    data = {file.variable: f"data/{Path(file.path).name}" for file in plan.files if not file.writers}
    for path, text in write_plan(plan, notebook, data).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    for step in plan.steps:
        found = check_notebook(tmp_path / f"notebooks/{name}/{step.name}.ipynb")
        assert not [f for f in found if f.rule in ("hidden-state", "syntax", "unused-input", "unused-output")]


def test_constants_become_parameters_and_leave_the_cells(tmp_path):
    text = "# %%\nn, m = 1, 2\n# %%\n"  # what comes after code is no parameter
    assert plan_of(tmp_path / "a.ipynb", text + "k = 3\nprint(k, n)\n").parameters == {}
    texts = texts_of(
        tmp_path / "b.ipynb", '# %%\nimport os\nname: str = "a"  # who\nsize = 2\n# %%\nprint(name, size)\n'
    )
    code = next(text for name, text in texts.items() if name.endswith(".ipynb"))
    assert 'name: str = "a"  # who\nsize: int = 2\n' in code
    assert code.count("name") == 2


def test_a_constant_beside_other_statements_does_not_undo_its_parameter(tmp_path):
    texts = texts_of(tmp_path / "a.ipynb", "# %%\nimport os; size = 2; print(os.name, size)\n")
    code = next(text for name, text in texts.items() if name.endswith(".ipynb"))
    assert "size: int = 2" in code
    assert "import os; pass; print" in code


def test_a_changed_variable_comes_in_and_goes_out(tmp_path):
    text = "# %% step:a\nrows = [1]\n# %% step:b prev:a\nrows.append(2)\n# %% step:c prev:b\nprint(rows)\n"
    plan = plan_of(tmp_path / "a.ipynb", text)
    assert crossing(plan) == {"b": {"rows": "a"}, "c": {"rows": "b"}}
    texts = texts_of(tmp_path / "a.ipynb", text)
    assert "rows = json.loads(Path(rows_before).read_text())" in texts["b.ipynb"]
    assert "joblib.dump(rows, rows_file)" in texts["b.ipynb"]  # a list of nobody knows what by now
    assert "b.rows_file" in texts["a.yaml"]
    assert "a.rows_file" in texts["a.yaml"]


def test_a_function_that_changes_its_argument(tmp_path):
    text = "# %%\ndef add(rows):\n    rows.append(1)\n# %% step:a\nrows = [1]\n# %% step:b\nadd(rows)\n"
    plan = plan_of(tmp_path / "a.ipynb", text + "# %% step:c prev:b\nprint(rows)\n")
    assert crossing(plan)["c"] == {"rows": "b"}


def test_parallel_branches_take_from_what_they_follow(tmp_path):
    text = "# %% step:a\nx = len('a')\n# %% step:b prev:a\nx = x + 1\n# %% step:c prev:a\nprint(x)\n"
    plan = plan_of(tmp_path / "a.ipynb", text)
    assert crossing(plan) == {"b": {"x": "a"}, "c": {"x": "a"}}
    again = plan_of(tmp_path / "a.ipynb", text, Wishes.model_validate(plan.as_wishes()))
    assert (again.steps, again.by) == (plan.steps, "plan")


def test_magics_and_imports_that_are_tried(tmp_path):
    text = "# %%\ntry:\n    import json\nexcept ImportError:\n    json = None\n"
    text += "# %% step:a\n%time x = json.dumps([1])\n"
    texts = texts_of(tmp_path / "a.ipynb", f"{text}# %% step:b\nprint(json.loads(x))\n")
    assert "except ImportError" in texts["b.ipynb"]
    assert "%time x = json.dumps([1])" in texts["a.ipynb"]


def test_a_plan_is_edited_and_given_back(tmp_path):
    path = tmp_path / "a.ipynb"
    plan = plan_of(path, ALL["soorgeon-ml"])
    assert Wishes.model_validate(plan.as_wishes()).steps.keys() == {step.name for step in plan.steps}
    wishes = read_wishes(
        "steps: {all: {cells: 4-8}, rest: {cells: '9-18', title: The rest}}\nparameters: []", "plan"
    )
    edited = plan_of(path, ALL["soorgeon-ml"], wishes)
    assert (edited.by, steps(edited), edited.parameters) == ("plan", ["all", "rest"], {})
    assert crossing(edited) == {"rest": {"df": "all"}}
    again = plan_of(path, ALL["soorgeon-ml"], Wishes.model_validate(edited.as_wishes()))
    assert (again.steps, again.crossings) == (edited.steps, edited.crossings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: {a: {cells: 4-8}, b: {cells: 8}}", "cell 8 is in 'a' as well"),
        ("steps: {a: {cells: 99}}", "there is no cell 99"),
        ("steps: {a: {cells: 4, after: [b]}}", "there is no step 'b'"),
        ("steps: {a: {cells: 4-8}}", "is in no step"),
        ("steps: {a: {cells: x}}", "'x' is neither the number"),
        ("store: {df: pickle}", "'pickle' is not a storage format"),
        ("parameters: [SIID]", "no constant 'SIID'"),
        ("gate: {model: nothing, held_out: df, target: rent}", "no step has a variable 'nothing'"),
        ("gates: {}", "gates"),
        ("[", "not valid YAML"),
    ],
)
def test_plans_that_cannot_be_followed(tmp_path, text, message):
    with pytest.raises(UsageError, match=message) as error:
        plan_of(tmp_path / "a.ipynb", ALL["soorgeon-ml"], read_wishes(text, "plan.yaml"))
    assert error.value.hint


@pytest.mark.parametrize(("text", "message"), [("# %%\nimport os\n", "no code"), ("# %%\nx = (\n", "cell 1")])
def test_notebooks_that_are_no_pipeline(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        plan_of(tmp_path / "a.ipynb", text)


def test_the_exploration_of_this_project():
    source = read_source(ROOT / "notebooks/auto-mpg/experiment.ipynb", "notebooks/auto-mpg/experiment.ipynb")
    plan = propose(read(source, Wishes()), "cars", Wishes(), {})
    assert len(plan.steps) == 10
    assert not plan.problems
    assert crossing(plan)["tuning"] == {"cars": "the-data"}  # estimators go along as the code that makes them
    assert set(plan.parameters) == {"test_fraction", "split_by", "folds", "repeats", "seed"}
    assert [(f.variable, f.declared, f.readers) for f in plan.files] == [("table", True, ("the-data",))]


def test_a_gate_has_the_rows_written_where_they_are_all_known(tmp_path):
    yaml = """
    gate:
      model: rf
      held_out: X_test.assign(rent=y_test)
      learnt_from: "df[[c for c in df if c != 'district']]"
      target: rent
      thresholds: {rmse: {max: 90}}
    """
    path = tmp_path / "a.ipynb"
    wishes = read_wishes(yaml, "plan.yaml")
    plan = plan_of(path, ALL["soorgeon-ml"], wishes)
    assert {step.name: list(step.rows) for step in plan.steps if step.rows} == {
        "clean": ["learnt_rows"],
        "split": ["held_out_rows"],
    }
    texts = texts_of(path, ALL["soorgeon-ml"], wishes)
    assert "(X_test.assign(rent=y_test)).to_csv(held_out_rows, index=False)" in texts["split.ipynb"]
    assert "test_set: split.held_out_rows" in texts["a.yaml"]
    assert "model: random-forest.rf_file" in texts["a.yaml"]
    assert Wishes.model_validate(plan.as_wishes()).gate == wishes.gate


def test_what_a_parameters_cell_declares_stays_declared(tmp_path):
    text = """
# %% parameters
table: "Input[Dataset]" = "../data/flats.csv"  # flats
model: "Output[Model]" = "build/model.joblib"  # the model
count: "Output[int]" = 0  # how many
alpha: float = 1.0  # penalty
# %% [markdown]
## Read
# %%
import pandas as pd
LIMIT = 5
rows = pd.read_csv(table)
count = len(rows)
# %% [markdown]
## Fit
# %%
import joblib
from sklearn.linear_model import Ridge
joblib.dump(Ridge(alpha).fit(rows[["area"]], rows.rent), model)
# %% [markdown]
## Use
# %%
print(joblib.load(model).coef_, LIMIT)
"""
    plan = plan_of(tmp_path / "a.ipynb", text)
    assert set(plan.parameters) == {"alpha"}  # no other constant: they say what they are
    assert {f.variable: (f.readers, f.writers) for f in plan.files} == {
        "table": (("read",), ()),
        "model": (("use",), ("fit",)),
    }
    assert plan.steps[0].results == ("count",)
    texts = texts_of(tmp_path / "a.ipynb", text)
    assert 'table: "Input[Dataset]" = "../../data/flats.csv"  # flats' in texts["read.ipynb"]
    assert 'count: "Output[int]" = 0  # how many' in texts["read.ipynb"]
    assert "alpha: float = 1.0  # penalty" in texts["fit.ipynb"]
    assert "LIMIT = 5" in texts["use.ipynb"]


def test_a_notebook_that_calls_a_variable_metrics(tmp_path):
    text = "# %%\nfrom sklearn import metrics\na, b = [1], [0]\nerror = metrics.mean_absolute_error(a, b)\n"
    texts = texts_of(tmp_path / "a.ipynb", text)
    code = next(code for name, code in texts.items() if name.endswith(".ipynb"))
    assert 'metrics_file: "Output[Metrics]"' in code
    assert "Path(metrics_file).write_text" in code


def test_names_that_would_clash_are_a_problem(tmp_path):
    text = "# %% step:a\nx = [len('a')]\nx_file = 1\n# %% step:b prev:a\nprint(x, x_file)\n"
    assert [p.rule for p in plan_of(tmp_path / "a.ipynb", text).problems] == ["name"]


def test_paths_still_lead_where_they_did(tmp_path):
    (tmp_path / "data").mkdir()
    text = 'import os\nfolder = "../data"\nname = len(folder)\n'
    text += 'open(f"../data/{name}.txt")\nos.listdir(folder)\n'
    path = write(tmp_path / "exploration/a.ipynb", f"# %%\n{text}")
    notebook = read(read_source(path, "exploration/a.ipynb"), Wishes(), lambda p: (path.parent / p).exists())
    plan = propose(notebook, "a", Wishes(), {})
    written = write_plan(plan, notebook, {})
    code = "\n".join(code_of(each) for each in written.values())
    assert 'folder: str = "../../data"' in code
    assert "open(f'../../data/{name}.txt')" in code
    assert {c.rule for c in plan.concerns} == {"undeclared-file"}


def test_numbers_of_numpy_stay_what_they_are(tmp_path):
    text = "# %% step:a\nx = float('1')\n# %% step:b prev:a\nprint(x.round(1))\n"
    source = read_source(write(tmp_path / "a.ipynb", text), "a.ipynb")
    notebook = read(source, Wishes())
    plan = propose(notebook, "a", Wishes(), {1: {"x": Fact("float", "numpy.float64")}})
    code = code_of(write_plan(plan, notebook, {})["notebooks/a/b.ipynb"])
    assert "x: float = 0.0" in code
    assert "x = np.float64(x)" in code


def test_one_object_under_two_names_is_told(tmp_path):
    text = (
        "# %% step:a\nx = y = list('ab')\n# %% step:b prev:a\ny.append(1)\n# %% step:c prev:b\nprint(x, y)\n"
    )
    source = read_source(write(tmp_path / "a.ipynb", text), "a.ipynb")
    both = {"x": Fact("array"), "y": Fact("array")}
    plan = propose(read(source, Wishes()), "a", Wishes(), {1: both, 2: both})
    assert [(c.rule, c.cell) for c in plan.concerns] == [("alias", 2)]


def test_a_default_that_is_a_variable(tmp_path):
    text = "# %% step:a\nn = len('a')\n# %%\ndef f(x=n):\n    return x\n"
    text += "# %% step:b prev:a\nn = f() + 1\nprint(f())\n"
    assert ("default", 2) in rules(plan_of(tmp_path / "a.ipynb", text))


def test_a_branch_that_may_not_run_keeps_what_was_there(tmp_path):
    text = "# %% step:a\nn = m = len('a')\n# %% step:b prev:a\nif m > 1:\n    n = 2\n"
    end = "# %% step:c prev:b\nprint(n)\n"
    plan = plan_of(tmp_path / "a.ipynb", text + end)
    assert crossing(plan) == {"b": {"m": "a", "n": "a"}, "c": {"n": "b"}}
    plan = plan_of(tmp_path / "b.ipynb", f"{text}else:\n    n = 3\n{end}")
    assert crossing(plan) == {"b": {"m": "a"}, "c": {"n": "b"}}


def test_functions_that_declare_globals_and_names_that_are_deleted(tmp_path):
    text = "# %% step:a\nn = m = len('a')\n# %% step:b\ndef add():\n    global n\n    n += 1\nadd()\n"
    plan = plan_of(tmp_path / "a.ipynb", f"{text}# %% step:c\ndel m\nprint(n)\n")
    assert crossing(plan) == {"b": {"n": "a"}, "c": {"m": "a", "n": "b"}}


def test_stars_and_lines_about_display(tmp_path):
    text = "# %%\nfrom math import *\n%matplotlib inline\n# %% [markdown]\n## One\n# %%\nprint(pi)\n"
    path = tmp_path / "a.ipynb"
    text += "# %% [markdown]\n## Two\n# %%\nx = len('a')\n"
    assert steps(plan_of(path, text)) == ["one", "two"]
    texts = texts_of(path, text)
    assert "from math import *" in texts["one.ipynb"]
    assert "math" not in texts["two.ipynb"]
