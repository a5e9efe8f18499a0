"""Setting parameters in a pipeline file, and nothing else."""

import difflib
from textwrap import dedent

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nbship.config.edit import set_parameters
from nbship.config.layers import merge
from nbship.errors import NbshipError
from nbship.values import parse_yaml

HEAD = "# a comment\nname: a   # another\nsteps:\n"
LAYOUTS = [
    "  train:\n    notebook: t.ipynb\n",
    "  train:\n    notebook: t.ipynb  # here\n\n  other: {notebook: o.ipynb}\n# the end\n",
    "  train:\n    notebook: t.ipynb\n    parameters:\n      C: 1  # penalty\n      kind: rbf\n    cpu: 1\n",
    "  train:\n    parameters: {C: 1, kind: rbf}\n    notebook: t.ipynb",
    "  train: {notebook: t.ipynb}\n",
    "  train: {notebook: t.ipynb, parameters: {C: 0.5}}\n",
    "  train:\n    notebook: t.ipynb\n    parameters:\n    cpu: 1\n",
    "  train:\n    notebook: t.ipynb\n    parameters: {}\n",
    "  train:\n    parameters:\n      text: |\n        lines\n        more\n    notebook: t.ipynb\n",
    '  "train":\n    notebook: t.ipynb\n    parameters:\n        C: "quoted # no comment"   # comment\n',
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_what_is_meant_changes(layout):
    text = HEAD + layout
    edited = set_parameters(text, "train", {"C": 3.0, "gamma": 0.1}, "a.yaml")
    assert parse_yaml(edited)["steps"]["train"]["parameters"].items() >= {"C": 3.0, "gamma": 0.1}.items()
    removed = [
        line for line in difflib.ndiff(text.splitlines(), edited.splitlines()) if line.startswith("- ")
    ]
    assert len(removed) <= 2
    assert [c for c in text.splitlines() if "#" in c and "C" not in c] == [
        c for c in edited.splitlines() if "#" in c and "C" not in c
    ]


def test_a_value_is_replaced_where_it_stands():
    text = HEAD + LAYOUTS[2]
    assert set_parameters(text, "train", {"C": 3}, "a.yaml") == text.replace(
        "C: 1  # penalty", "C: 3  # penalty"
    )


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)


@given(
    layout=st.sampled_from(LAYOUTS),
    values=st.dictionaries(st.sampled_from(["C", "kind", "n"]), VALUES, min_size=1),
)
def test_it_says_what_was_meant_or_refuses(layout, values):
    text = HEAD + layout
    try:
        edited = set_parameters(text, "train", values, "a.yaml")
    except NbshipError:
        return
    assert parse_yaml(edited) == merge(parse_yaml(text), {"steps": {"train": {"parameters": values}}})


def test_what_cannot_be_edited_safely_is_left_alone():
    text = dedent("""\
        name: a
        steps:
          train: &same {notebook: t.ipynb, parameters: {C: 1}}
          other: *same
    """)
    with pytest.raises(NbshipError, match=r"a\.yaml: steps\.train\.parameters cannot be edited") as error:
        set_parameters(text, "train", {"C": 2}, "a.yaml")
    assert error.value.details == "C: 2"
    assert yaml.safe_load(text)["steps"]["other"]["parameters"] == {"C": 1}
