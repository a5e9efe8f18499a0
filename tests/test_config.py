import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nbship.config import Data, Pipeline, json_schemas, load_pipeline, merge, validate
from nbship.errors import UsageError
from tests.projects import write_project

FILE = """\
name: line
data:
  table: {path: data.csv}
steps:
  prepare:
    notebook: prepare.ipynb
    parameters: {folds: 5, options: {deep: {a: 1}, b: 2}}
  train:
    notebook: train.ipynb
    after: [prepare]
gate:
  step: train
  thresholds:
    rmse: {max: 3.2}
"""
KEYS = st.sampled_from("abc")
TREES = st.recursive(
    st.integers(0, 3) | st.none() | st.lists(st.integers(0, 3), max_size=2),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
).filter(lambda tree: isinstance(tree, dict))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/line.yaml").write_text(FILE)
    return tmp_path


def written(root, text, old=None):
    """Writes a pipeline file: a text, or the usual file with a part replaced."""
    assert old is None or old in FILE
    text = FILE.replace(old, text) if old else text
    (root / "pipelines/line.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    return root


def problem(root, *settings, files=()):
    with pytest.raises(UsageError) as error:
        load_pipeline(root, "line", settings, files)
    return error.value


# Overrides


def leaves(tree, at=()):
    """Every value that is no mapping, and every empty mapping, by the keys that lead to it."""
    if not isinstance(tree, dict) or (at and not tree):
        return {at: tree}
    return {k: v for key, inner in tree.items() for k, v in leaves(inner, (*at, key)).items()}


@given(TREES)
def test_merging_nothing_changes_nothing(tree):
    assert merge(tree, {}) == merge({}, tree) == merge(tree, tree) == tree


@given(TREES, TREES)
def test_what_is_laid_over_wins_at_every_depth_and_the_rest_stays(one, two):
    merged = merge(one, two)
    assert merge(merged, two) == merged
    for at, value in leaves(two).items():
        found = merged
        for key in at:
            found = found[key]
        assert found == value or value == {}
    untouched = [at for at in leaves(one) if not any(o[: len(at)] == at[: len(o)] for o in leaves(two))]
    assert all(leaves(merged)[at] == leaves(one)[at] for at in untouched)


@given(TREES, TREES)
def test_merging_leaves_both_as_they_were(one, two):
    before = json.dumps([one, two])
    merge(one, two)
    assert json.dumps([one, two]) == before


@pytest.mark.parametrize(
    ("setting", "step", "parameter", "value"),
    [
        ("prepare.folds=7", "prepare", "folds", "7"),
        ("train.note=a=b=c", "train", "note", "a=b=c"),
        ("train.note=", "train", "note", ""),
        ("train.note= 'x' ", "train", "note", " 'x' "),
        ("steps.train.parameters.C=1e-3", "train", "C", "1e-3"),
        (" train . C =3", "train", "C", "3"),
    ],
)
def test_a_parameter_stays_as_typed_until_the_notebook_says_its_type(root, setting, step, parameter, value):
    assert load_pipeline(root, "line", [setting]).steps[step].parameters[parameter] == value


@pytest.mark.parametrize(
    ("setting", "found", "value"),
    [
        ("gate.tolerance=1e-2", lambda p: p.gate.tolerance, 0.01),
        ("gate.thresholds.rmse.max=2.5", lambda p: p.gate.thresholds["rmse"].max, 2.5),
        ("gate.thresholds.r2={min: 0.8}", lambda p: sorted(p.gate.thresholds), ["r2", "rmse"]),
        ("steps.train.cpu=2", lambda p: p.steps["train"].cpu, "2"),
        ("steps.train.cache=false", lambda p: p.steps["train"].cache, False),
        ("steps.train.after=[]", lambda p: p.steps["train"].after, []),
        ("steps.train.timeout=null", lambda p: p.steps["train"].timeout, None),
        ("steps.more={notebook: m.ipynb}", lambda p: list(p.steps), ["prepare", "train", "more"]),
        ("gate=null", lambda p: p.gate, None),
        (
            "data.table.source={url: 'https://example.org/?a=b'}",
            lambda p: p.data["table"].source.url[-3:],
            "a=b",
        ),
        (
            "prepare.options.deep.a=3",
            lambda p: p.steps["prepare"].parameters["options"],
            {"deep": {"a": 3}, "b": 2},
        ),
    ],
)
def test_any_key_can_be_set_and_what_is_beside_it_stays(root, setting, found, value):
    before = load_pipeline(root, "line")
    after = load_pipeline(root, "line", [setting])
    assert found(after) == value
    assert after != before or found(before) == value


def test_later_wins_files_before_settings(root):
    for name, folds in (("one", 6), ("two", 7)):
        (root / f"{name}.yaml").write_text(f"steps: {{prepare: {{parameters: {{folds: {folds}}}}}}}")
    files = [root / "one.yaml", root / "two.yaml"]
    assert load_pipeline(root, "line", [], files[:1]).steps["prepare"].parameters["folds"] == 6
    assert load_pipeline(root, "line", [], files).steps["prepare"].parameters["folds"] == 7
    assert load_pipeline(root, "line", ["prepare.folds=8"], files).steps["prepare"].parameters["folds"] == "8"
    settings = ["prepare.folds=8", "prepare.folds=9"]
    assert load_pipeline(root, "line", settings).steps["prepare"].parameters["folds"] == "9"
    assert load_pipeline(root, "line", settings).steps["prepare"].notebook == "prepare.ipynb"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_setting_is_understood_or_a_usage_error(tmp_path_factory, setting):
    root = tmp_path_factory.getbasetemp() / "settings-project"
    (root / "pipelines").mkdir(parents=True, exist_ok=True)
    (root / "pipelines/line.yaml").write_text(FILE)
    for text in (setting, f"train.C={setting}", f"gate.{setting}", f"gate.tolerance={setting}"):
        try:
            load_pipeline(root, "line", [text])
        except UsageError as error:
            assert error.hint


@pytest.mark.parametrize(
    ("setting", "said", "hint"),
    [
        ("train.C", "not of the form step.parameter=value", "--set train.folds=3"),
        ("train=3", "not of the form step.parameter=value", "--set train.folds=3"),
        ("train.=3", "not of the form", "--set"),
        ("=3", "not of the form", "--set"),
        ("trian.C=3", "there is no step or key 'trian'", "did you mean 'train'?"),
        ("steps.train.memroy=1Gi", "unknown key 'steps.train.memroy'", "did you mean 'memory'?"),
        ("steps.train.retries=many", "steps.train.retries: ", "docs/pipeline-file.md"),
        ("gate.tolerance=.nan", "gate.tolerance: ", "docs/pipeline-file.md"),
        ("gate.step=[a", "the value is '[a', which cannot be read", "quote it"),
        ("train.grid.C=3", "has no steps.train.parameters.grid to change", "--set 'train.grid={…}'"),
    ],
)
def test_a_setting_that_is_not_understood_is_named(root, setting, said, hint):
    error = problem(root, "prepare.folds=3", setting)
    assert error.message.startswith(f"--set {setting}: ")
    assert said in error.message
    assert hint in error.hint


def test_settings_over_a_file_without_steps_are_told_of_the_file(root):
    written(root, "name: line\nsteps:\n")
    assert problem(root, "train.C=3").message == "--set train.C=3: there is no step or key 'train'"


def test_an_override_file_is_named_with_its_line(root):
    file = root / "more.yaml"
    file.write_text("gate:\n  tolerance: -1\n")
    assert problem(root, files=[file]).message.startswith(f"{file}, line 2: gate.tolerance: ")


# The file


@pytest.mark.parametrize(
    ("old", "new", "line", "said", "hint"),
    [
        ("after:", "afetr:", 10, "unknown key 'steps.train.afetr'", "did you mean 'after'?"),
        ("gate:", "gat:", 11, "unknown key 'gat'", "did you mean 'gate'?"),
        ("max: 3.2", "maxi: 3.2", 14, "unknown key 'gate.thresholds.rmse.maxi'", "did you mean 'max'?"),
        ("path:", "pth:", 3, "'data.table.path' is missing", "add path: …"),
        ("    notebook: train.ipynb\n", "", 8, "'steps.train.notebook' is missing", "add notebook: …"),
        ("max: 3.2", "max: low", 14, "(given: 'low' (str))", "docs/pipeline-file.md"),
        ("max: 3.2", "max: .nan", 14, "should be a finite number", "docs/pipeline-file.md"),
        ("{max: 3.2}", "{}", 14, "gate.thresholds.rmse: give min, max or both", "docs/pipeline-file.md"),
        ("after: [prepare]", "after: [Prepare]", 10, "steps.train.after.0: ", "docs/pipeline-file.md"),
        ("after: [prepare]", "memory: lots", 10, "steps.train.memory: ", "docs/pipeline-file.md"),
        ("  train:", "  Train:", 8, "steps.Train: ", "docs/pipeline-file.md"),
        ("{path: data.csv}", "{path: data.csv, source: {file: a, url: b}}", 3, "source: give ", "docs"),
        ("{path: data.csv}", "{path: data.csv, source: {}}", 3, "source: give package, version and", "docs"),
        ("{path: data.csv}", "{path: data.csv, source: data.csv}", 3, "source: give package, ver", "docs"),
        ("{path: data.csv}", "{path: data.csv, source: {file: a, version: 1}}", 3, "source: give ", "docs"),
        (
            "{path: data.csv}",
            "{path: data.csv, source: {package: a, file: b}}",
            3,
            "'data.table.source.version' is missing",
            "add version: …",
        ),
        (
            "{path: data.csv}",
            "{path: data.csv, source: {sql: a, conection: b}}",
            3,
            "'data.table.source.connection' is missing",
            "add connection: …",
        ),
        (
            "{path: data.csv}",
            "{path: data.csv, source: {url: a, pakage: b}}",
            3,
            "unknown key 'data.table.source.pakage'",
            "did you mean 'package'?",
        ),
        (
            "{path: data.csv}",
            "{path: data.csv, source: {package: a, version: 1.0, file: b}}",
            3,
            "data.table.source.version: Input should be a valid string (given: 1.0 (float))",
            "docs/pipeline-file.md",
        ),
        ("name: line", "name: curve", None, "name is 'curve'", "write name: line"),
        ("  train:", "  gate:", None, "a step cannot be called 'gate'", "docs/pipeline-file.md"),
        (
            "    after: [prepare]",
            "    notebook: b",
            10,
            "key 'notebook' is written twice",
            "correct the YAML",
        ),
        ("[prepare]", "[prepare", 11, "expected ',' or ']'", "correct the YAML"),
        ("[prepare]", "{[a]: b}", 10, "found unhashable key", "correct the YAML"),
        ("name: line", "name: !!int line", None, "invalid literal", "correct the YAML"),
        ("data:", "1: a\ndata:", 2, "1: Keys should be strings", "docs"),
        (
            "train.ipynb",
            "../train.ipynb",
            9,
            "steps.train.notebook: '../train.ipynb' is not inside the project",
            "docs",
        ),
        ("train.ipynb", "a/../../train.ipynb", 9, "steps.train.notebook: ", "docs"),
        ("train.ipynb", "/train.ipynb", 9, "steps.train.notebook: ", "docs"),
        ("path: data.csv", "path: ../data.csv", 3, "data.table.path: '../data.csv' is not inside", "docs"),
        ("path: data.csv", "path: data.csv, sample: ../a.ipynb", 3, "data.table.sample: ", "docs"),
    ],
)
def test_an_error_names_file_line_and_key(root, old, new, line, said, hint):
    error = problem(written(root, new, old))
    assert error.message.startswith(f"pipelines/line.yaml{f', line {line}' if line else ''}: ")
    assert said in error.message
    assert hint in error.hint
    assert "\n" not in error.message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a mapping of keys to values"),
        (b"- a", "not a mapping of keys to values"),
        ("name: stra\u00dfe".encode("latin-1"), "not UTF-8 text"),
        (b"name: a\0b", "special characters are not allowed"),
        (b"[" * 2000, "recursion"),
        (b"name: line", "'steps' is missing"),
        (b"name: line\nsteps: {}", "steps: "),
        (b"name: line\nsteps: [a]", "steps: "),
    ],
)
def test_a_file_that_is_no_pipeline(root, content, said):
    error = problem(written(root, content))
    assert error.message.startswith("pipelines/line.yaml")
    assert said in error.message


def test_a_byte_order_mark_does_no_harm(root):
    written(root, b"\xef\xbb\xbf" + FILE.encode())
    assert load_pipeline(root, "line").name == "line"


def test_a_missing_pipeline_is_told_with_the_nearest(root):
    with pytest.raises(UsageError) as error:
        load_pipeline(root, "lien")
    assert (error.value.message, error.value.hint) == (
        "there is no pipeline 'lien' in pipelines/",
        "did you mean 'line'?",
    )


def test_a_missing_override_file(root):
    assert problem(root, files=[Path("gone.yaml")]).message == "gone.yaml: No such file or directory"


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from([*Pipeline.model_fields, "notebook", "thresholds", "max", "path", "a"]), x
            )
        ),
        max_leaves=12,
    )
)
def test_any_content_is_a_pipeline_or_a_usage_error(tree):
    text = yaml.safe_dump(tree)
    try:
        validate(tree if isinstance(tree, dict) else {"name": tree}, "line.yaml", text)
    except UsageError as error:
        assert error.message.startswith("line.yaml")
        assert error.hint


@pytest.mark.parametrize(
    "given_",
    [
        {"package": "p", "version": "1", "file": "f"},
        {"url": "https://example.org"},
        {"file": "f"},
        {"sql": "SELECT 1", "connection": "DATABASE"},
    ],
)
def test_a_source_is_exactly_one_kind(given_):
    every = dict.fromkeys(("package", "version", "url", "file", "sql", "connection"))
    kind = Data(path="data.csv", source=every | given_).source
    assert kind.model_dump() == given_
    rest = {"package": "p", "url": "u", "sql": "s", "connection": "c"}
    for key in rest.keys() - given_:
        if {*given_, key} != {"package", "file"}:  # a package without its version
            with pytest.raises(
                ValueError, match="give package, version and file; or url; or file; or sql an"
            ):
                Data(path="data.csv", source={**given_, key: rest[key]})
    if len(given_) > 1:
        for key in given_:
            less = {k: v for k, v in given_.items() if k != key}
            if less.keys() != {"file"}:
                with pytest.raises(ValueError, match=f"give package|{key}\n  Field required"):
                    Data(path="data.csv", source=less)


@pytest.mark.parametrize(("cpu", "text"), [(2, "2"), (0.5, "0.5"), ("500m", "500m")])
def test_a_quantity_may_be_a_number(cpu, text):
    tree = {"name": "line", "steps": {"train": {"notebook": "n.ipynb", "cpu": cpu}}}
    assert validate(tree, "line.yaml").steps["train"].cpu == text


def test_the_schema_knows_every_key_and_forbids_others():
    schema = json_schemas()["schema.json"]
    assert set(schema["properties"]) == set(Pipeline.model_fields)
    models = [schema, *schema["$defs"].values()]
    assert all(model["additionalProperties"] is False for model in models)
    assert all("description" in field for model in models for field in model["properties"].values())


@pytest.mark.parametrize("key", ["publish.store", "deploy.stages.staging.storage"])
def test_keys_in_the_address_of_a_store_are_refused_and_not_shown(tmp_path, key):
    root = write_project(tmp_path)
    settings = ["publish.target=y", "deploy.stages.staging.namespace=cars", f"{key}=s3://AKIA:hush@models"]
    with pytest.raises(UsageError, match="must not hold credentials") as failed:
        load_pipeline(root, "line", settings)
    assert key in failed.value.message
    assert "hush" not in f"{failed.value}{failed.value.details}"


@pytest.mark.parametrize("address", ["abfs://box@acme.dfs.core.windows.net/x", "ssh://ada@host/x"])
def test_the_address_of_a_store_may_name_a_user(tmp_path, address):
    root = write_project(tmp_path)
    loaded = load_pipeline(root, "line", ["publish.target=y", f"publish.store={address}"])
    assert loaded.publish.store == address


def test_labels_cannot_be_joined_by_a_column_that_is_left_out():
    tree = {"name": "cars", "steps": {"train": {"notebook": "train.ipynb"}}}
    monitor = {"private": {"plate": "drop"}, "label": {"key": "plate"}}
    with pytest.raises(UsageError, match=r"label\.key: 'plate' is left out"):
        validate({**tree, "monitor": monitor}, "cars.yaml")
