from hypothesis import given
from hypothesis import strategies as st

from nbship.kubeflow.resources import version_name
from nbship.project import LONGEST_NAME, NAME_PATTERN
from tests.kubeflow_rules import check_kubernetes_name

NAMES = st.from_regex(NAME_PATTERN, fullmatch=True).map(lambda name: name[:LONGEST_NAME].rstrip("-"))


@given(pipeline=NAMES, text=st.text(st.characters(exclude_categories=["Cs"])))
def test_a_version_of_any_pipeline_has_a_name_that_kubernetes_takes(pipeline, text):
    name = version_name(pipeline, text)
    check_kubernetes_name("version", name)
    assert name.startswith(f"{pipeline}-")
    assert len(name) <= 63
    assert version_name(pipeline, text) == name
    assert version_name(pipeline, f"{text} ") != name
