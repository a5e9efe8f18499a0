from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nbship.config import validate
from nbship.errors import UsageError
from nbship.graph import RECIPES as RECIPES_STEP
from nbship.graph import (
    Reference,
    build_graph,
    champion_step,
    held_out_input,
    model_input,
    read_graph,
    with_champion,
)
from nbship.notebook import Notebook, read_signature
from nbship.values import Text

NAMES = st.from_regex(r"[a-z]{3,8}", fullmatch=True)
PREPARE = """\
table: "Input[Dataset]" = "data.csv"
rows: "Output[Dataset]" = "rows.csv"
count: "Output[int]" = 0
share: "Output[float]" = 0.0
"""
TRAIN = """\
rows: "Input[Dataset]" = "rows.csv"
model: "Output[Model]" = "model.joblib"
folds: int = 5
scale: float = 1.0
grid: list = []
note: str = ""
"""
EVALUATE = """\
rows: "Input[Dataset]" = "rows.csv"
model: "Input[Model]" = "model.joblib"
losses: "Output[Dataset]" = "losses.csv"
"""


def notebook(source):
    return Notebook(Path("n.ipynb"), "title", "", read_signature(source), (), source)


def graph(sources, steps=None, **settings):
    """A pipeline of notebooks by step; `steps` is what the pipeline file says of some."""
    tree = {
        "name": "line",
        "data": {"table": {"path": "data.csv"}},
        "steps": {name: {"notebook": f"{name}.ipynb"} | (steps or {}).get(name, {}) for name in sources},
    }
    pipeline = validate(tree | settings, "line.yaml")
    return build_graph(pipeline, {name: notebook(source) for name, source in sources.items()})


def line(steps=None, **settings):
    return graph({"evaluate": EVALUATE, "train": TRAIN, "prepare": PREPARE}, steps, **settings)


def problem(make, *arguments, **settings):
    with pytest.raises(UsageError) as error:
        make(*arguments, **settings)
    return error.value


def test_inputs_are_wired_by_name():
    steps = line().steps
    assert list(steps) == ["prepare", "train", "evaluate"]
    assert steps["prepare"].inputs == {"table": Reference(None, "table")}
    assert steps["evaluate"].inputs == {
        "rows": Reference("prepare", "rows"),
        "model": Reference("train", "model"),
    }
    assert steps["evaluate"].upstream == ("prepare", "train")
    assert [str(r) for r in steps["evaluate"].inputs.values()] == ["prepare.rows", "train.model"]
    assert line().data == {"table": "data.csv"}


@st.composite
def acyclic(draw):
    """Step names in a possible order, and for every step the earlier ones that it reads from or waits for."""
    names = draw(st.lists(NAMES, min_size=1, max_size=7, unique=True))
    assume(not {"name", "data", "steps", "gate", "image", "publish"}.intersection(names))
    earlier = {
        n: st.lists(st.sampled_from(names[:at]), unique=True) if at else st.just([])
        for at, n in enumerate(names)
    }
    return names, draw(st.fixed_dictionaries(earlier)), draw(st.fixed_dictionaries(earlier))


def build(names, reads, waits):
    sources = {
        name: f'out_{name}: "Output[Dataset]" = "o"\n'
        + "".join(f'out_{other}: "Input[Dataset]" = "i"\n' for other in reads[name])
        for name in names
    }
    return graph(sources, {name: {"after": waits[name]} for name in names})


@given(acyclic(), st.data())
def test_steps_come_after_all_that_they_need_however_they_are_written(steps, data):
    names, reads, waits = steps
    built = build(data.draw(st.permutations(names)), reads, waits)
    assert sorted(built.steps) == sorted(names)
    order = list(built.steps)
    for name in names:
        assert set(built.steps[name].upstream) == {*reads[name], *waits[name]}
        assert all(order.index(other) < order.index(name) for other in built.steps[name].upstream)


@given(acyclic())
def test_ancestors_and_downstream_are_the_two_sides_of_reachability(steps):
    built = build(*steps)
    reach = {name: {name} for name in built.steps}
    for name, step in built.steps.items():
        for other in step.upstream:
            reach[name] |= reach[other]
    for name in built.steps:
        assert built.ancestors(name) == reach[name]
        assert built.downstream(name) == {other for other in built.steps if name in reach[other]}


@given(acyclic(), st.data())
def test_a_wire_back_closes_a_circle_that_is_shown(steps, data):
    names, reads, waits = steps
    last = data.draw(st.sampled_from(names))
    first = data.draw(st.sampled_from(sorted(build(*steps).ancestors(last))))
    error = problem(build, names, reads, waits | {first: [*waits[first], last]})
    assert error.message.startswith("pipeline 'line' has a cycle: ")
    shown = error.message.partition(": ")[2].split(" → ")
    assert shown[0] == shown[-1]
    assert {first, last} <= set(shown)
    everything = {name: {*reads[name], *waits[name]} for name in names}
    everything[first].add(last)
    assert all(one in everything[other] for one, other in pairwise(shown))


@given(st.sampled_from(["rows", "model", "table"]), st.data())
def test_a_renamed_input_gets_a_suggestion(name, data):
    letter = data.draw(st.sampled_from("xyz_"))
    at = data.draw(st.integers(1, len(name)))
    typed = f"{name[:at]}{letter}{name[at:]}"
    sources = {
        "prepare": PREPARE,
        "train": TRAIN,
        "evaluate": EVALUATE,
        "more": f'{typed}: "Input[Dataset]" = ""',
    }
    error = problem(graph, sources)
    assert error.message == f"step 'more': nothing produces its input '{typed}'"
    assert error.hint == f"did you mean '{name}'?"


def test_two_producers_need_a_word_of_the_pipeline_file():
    sources = {"prepare": PREPARE, "again": PREPARE, "train": TRAIN}
    error = problem(graph, sources)
    assert error.message == "step 'train': input 'rows' could be prepare.rows or again.rows"
    assert error.hint == "say which in steps.train.inputs: rows: prepare.rows"
    built = graph(sources, {"train": {"inputs": {"rows": "again.rows"}}})
    assert built.steps["train"].upstream == ("again",)


def test_a_data_file_and_a_step_that_produce_the_same():
    error = problem(
        graph, {"prepare": PREPARE, "train": TRAIN}, data={n: {"path": n} for n in ("table", "rows")}
    )
    assert error.message == "step 'train': input 'rows' could be prepare.rows or rows"


def test_an_output_is_not_the_input_of_its_own_step():
    error = problem(
        graph, {"prepare": 'a: "Output[Dataset]" = ""', "train": 'b: "Input[Dataset]" = ""\nb_: int = 1'}
    )
    assert error.message == "step 'train': nothing produces its input 'b'"


def test_a_parameter_may_be_another_steps_result():
    train = line({"train": {"inputs": {"folds": "prepare.count", "scale": "prepare.share"}}}).steps["train"]
    assert train.inputs["folds"] == Reference("prepare", "count")
    assert train.parameters == {"grid": [], "note": ""}
    # A whole number is a number.
    assert line({"train": {"inputs": {"scale": "prepare.count"}}}).steps["train"].upstream == ("prepare",)


@pytest.mark.parametrize(
    ("steps", "said", "hint"),
    [
        ({"inputs": {"row": "prepare.rows"}}, "train.ipynb has no input 'row'", "did you mean 'rows'?"),
        ({"inputs": {"rows": "prepare.row"}}, "step 'prepare' has no output 'row'", "did you mean 'rows'?"),
        ({"inputs": {"rows": "perpare.rows"}}, "there is no step 'perpare'", "did you mean 'prepare'?"),
        ({"inputs": {"rows": "tabel"}}, "there is no data file 'tabel'", "did you mean 'table'?"),
        ({"inputs": {"rows": ""}}, "there is no data file ''", "known are"),
        ({"inputs": {"rows": "rows"}}, "there is no data file 'rows'", "prepare.rows"),
        ({"inputs": {"rows": "prepare.count"}}, "cannot take prepare.count, a int", "steps.train.inputs"),
        ({"inputs": {"folds": "prepare.rows"}}, "cannot take prepare.rows, a Dataset", "steps.train.inputs"),
        ({"inputs": {"folds": "prepare.share"}}, "cannot take prepare.share, a float", "steps.train.inputs"),
        ({"inputs": {"folds": "table"}}, "cannot take table, a data file", "steps.train.inputs"),
        ({"inputs": {"rows": "evaluate.losses"}}, "has a cycle: ", "remove one"),
        ({"after": ["perpare"]}, "steps.train.after: there is no step 'perpare'", "did you mean 'prepare'?"),
        ({"after": ["train"]}, "has a cycle: train → train", "remove one"),
        ({"parameters": {"fold": 3}}, "train.ipynb has no parameter 'fold'", "did you mean 'folds'?"),
        ({"parameters": {"rows": "a.csv"}}, "train.ipynb has no parameter 'rows'", "known are"),
        ({"parameters": {"folds": 2.5}}, "parameter 'folds' is 2.5 (float)", "declares folds: int"),
        ({"parameters": {"folds": "3"}}, "parameter 'folds' is '3' (str)", "declares folds: int"),
        ({"parameters": {"folds": None}}, "parameter 'folds' is None (NoneType)", "declares folds: int"),
        (
            {"parameters": {"folds": 3}, "inputs": {"folds": "prepare.count"}},
            "parameter 'folds' has a value and is wired to prepare.count",
            "remove it from inputs or from parameters",
        ),
    ],
)
def test_wiring_that_is_wrong_says_what_would_be_right(steps, said, hint):
    error = problem(line, {"train": steps})
    assert "train" in error.message
    assert said in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("taken", "made", "fits"),
    [
        ("Dataset", "Dataset", True),
        ("Artifact", "Model", True),
        ("Model", "Artifact", True),
        ("Model", "Dataset", False),
        ("Dataset", "Metrics", False),
    ],
)
def test_artifacts_fit_by_type_and_a_plain_artifact_fits_all(taken, made, fits):
    sources = {"make": f'thing: "Output[{made}]" = ""', "take": f'thing: "Input[{taken}]" = ""'}
    if fits:
        assert graph(sources).steps["take"].inputs == {"thing": Reference("make", "thing")}
    else:
        assert f"Input[{taken}] cannot take make.thing, a {made}" in problem(graph, sources).message


def test_the_pipeline_files_values_stand_over_the_notebooks():
    values = {"folds": Text("7"), "scale": 2, "grid": Text("[1e-3]"), "note": Text("7")}
    parameters = line({"train": {"parameters": values}}).steps["train"].parameters
    assert parameters == {"folds": 7, "scale": 2.0, "grid": [0.001], "note": "7"}
    assert [type(value) for value in parameters.values()] == [int, float, list, str]
    assert line().steps["train"].parameters == {"folds": 5, "scale": 1.0, "grid": [], "note": ""}


# The gate and what is published


def test_the_champion_is_judged_as_the_candidate_is():
    judged = with_champion(line(gate={"step": "evaluate"}), Path("models/line/model.joblib"))
    step = judged.steps["evaluate-champion"]
    assert list(judged.steps)[-1] == step.name == champion_step("evaluate")
    assert step.notebook == judged.steps["evaluate"].notebook
    assert {n: str(r) for n, r in step.inputs.items()} == {"rows": "prepare.rows", "model": "champion"}
    assert judged.data["champion"] == "models/line/model.joblib"
    assert step.upstream == ("prepare",)
    assert judged.ancestors(step.name) == {"prepare", step.name}


def test_without_a_gate_no_champion_is_judged():
    assert with_champion(line(), Path("model.joblib")) == line()


def test_the_input_that_is_the_model():
    steps = line().steps
    assert model_input(steps["evaluate"]) == "model"
    assert problem(model_input, steps["train"]).message == (
        "the gate's step 'train' has no inputs of type Input[Model]"
    )


@pytest.mark.parametrize(
    ("settings", "said", "hint"),
    [
        ({"gate": {"step": "evalute"}}, "gate.step: there is no step 'evalute'", "did you mean 'evaluate'?"),
        ({"gate": {"step": "train"}}, "'train' has no inputs of type Input[Model]", "exactly one"),
        ({"gate": {"losses": "loss"}}, "step 'evaluate' has no output 'loss'", "did you mean 'losses'?"),
        (
            {"gate": {}, "data": {"table": {"path": "a"}, "champion": {"path": "b"}}},
            "data.champion: that name is reserved for the gate",
            "another name",
        ),
        (
            {"publish": {"reference": "prepare.row", "target": "y"}},
            "publish.reference: no step has an Output[Dataset] 'prepare.row'",
            "did you mean 'prepare.rows'?",
        ),
        (
            {"publish": {"model": "prepare.rows", "target": "y"}},
            "publish.model: no step has an Output[Model] 'prepare.rows'",
            "known are: train.model",
        ),
    ],
)
def test_a_gate_or_publication_that_names_something_unknown(settings, said, hint):
    error = problem(line, **settings)
    assert said in error.message
    assert hint in error.hint


def test_a_step_may_not_take_the_champions_name():
    sources = {"prepare": PREPARE, "train": TRAIN, "evaluate": EVALUATE, "evaluate-champion": "x = 1"}
    error = problem(graph, sources, gate={})
    assert error.message == "steps.evaluate-champion: that name is reserved for the gate"


def test_a_missing_notebook_is_called_as_the_pipeline_file_calls_it(tmp_path):
    pipeline = validate(
        {"name": "line", "steps": {"train": {"notebook": "notebooks/train.ipynb"}}}, "line.yaml"
    )
    assert (
        problem(read_graph, tmp_path, pipeline).message == "notebooks/train.ipynb: there is no such notebook"
    )


# What a champion adds

RECIPES = """\
rows: "Input[Dataset]" = "rows.csv"
table: "Input[Dataset]" = "table.csv"
candidate: "Input[Model]" = "candidate.joblib"
champion: "Input[Model]" = "champion.joblib"
refits: "Output[Artifact]" = "refits.json"
most_rows: int = 7
seed: int = 3
folds: int = 5
"""
GATE = {"step": "evaluate", "recipes": "recipes.ipynb"}


def comparing(recipes=RECIPES, **settings):
    tree = {
        "name": "line",
        "data": {"table": {"path": "data.csv"}},
        "steps": {
            "prepare": {"notebook": "prepare.ipynb"},
            "train": {"notebook": "train.ipynb"},
            "evaluate": {
                "notebook": "evaluate.ipynb",
                "cpu": 2,
                "parameters": {"seed": 9},
                "after": ["train"],
            },
        },
        "gate": {**GATE, **settings},
    }
    sources = {"prepare": PREPARE, "train": TRAIN, "evaluate": f"{EVALUATE}seed: int = 1\n"}
    notebooks = {name: notebook(source) for name, source in sources.items()}
    return build_graph(validate(tree, "line.yaml"), notebooks, notebook(recipes))


def test_recipes_are_compared_where_there_is_a_champion():
    plain = comparing()
    assert RECIPES_STEP not in plain.steps
    judged = with_champion(plain, Path("models/line/model.joblib"))
    assert list(judged.steps) == ["prepare", "train", "evaluate", "evaluate-champion", RECIPES_STEP]
    step = judged.steps[RECIPES_STEP]
    assert {name: str(origin) for name, origin in step.inputs.items()} == {
        "rows": "prepare.rows",
        "table": "table",
        "candidate": "train.model",
        "champion": "champion",
    }
    # Those of the gate's step by the same name, the gate's limit, and the notebook's own.
    assert step.parameters == {"seed": 9, "most_rows": 2000, "folds": 5}
    assert (step.settings.cpu, step.settings.after) == ("2", [])
    assert step.notebook is not judged.steps["evaluate"].notebook


def test_recipes_are_not_compared_where_that_is_turned_off():
    judged = with_champion(comparing(recipes_rows=0), Path("model.joblib"))
    assert RECIPES_STEP not in judged.steps
    assert (
        with_champion(comparing(recipes_rows=50), Path("m")).steps[RECIPES_STEP].parameters["most_rows"] == 50
    )


@pytest.mark.parametrize(
    ("recipes", "said"),
    [
        (RECIPES.replace("champion:", "old:"), "gate.recipes: recipes.ipynb does not compare two models"),
        (RECIPES.replace("refits:", "folds_:"), "gate.recipes: recipes.ipynb does not compare two models"),
        (
            f'{RECIPES}more: "Input[Dataset]" = "m"\n',
            "step 'compare-recipes': nothing produces its input 'more'",
        ),
    ],
)
def test_a_notebook_that_compares_no_recipes(recipes, said):
    with pytest.raises(UsageError) as error:
        comparing(recipes)
    assert error.value.message == said


def test_the_held_out_rows_are_the_only_data_set_of_the_gates_step_or_the_one_it_names():
    assert held_out_input(comparing()) == Reference("prepare", "rows")
    assert held_out_input(line()) is None
    sources = {"prepare": PREPARE, "train": TRAIN, "evaluate": f'{EVALUATE}table: "Input[Dataset]" = "t"\n'}
    assert held_out_input(graph(sources, gate=dict(GATE))) is None
    assert held_out_input(graph(sources, gate={**GATE, "held_out": "table"})) == Reference(None, "table")
    error = problem(graph, sources, gate={**GATE, "held_out": "tabel"})
    assert error.message == "gate.held_out: step 'evaluate' has no Input[Dataset] 'tabel'"
