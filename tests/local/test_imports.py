"""Which libraries notebooks import."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nbship.local.imports import libraries


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_libraries_are_the_imports_at_the_top(tmp_path):
    code = [
        "import pandas as pd, numpy\nfrom sklearn.svm import SVR",
        "%%time\n%matplotlib inline\n!ls\nimport joblib",
        "this is no Python",
        "from . import sibling\ndef f():\n    import late",
    ]
    assert libraries(code, [tmp_path]) == ["pandas", "numpy", "sklearn.svm", "sklearn.svm.SVR", "joblib"]


def test_what_lies_beside_a_notebook_hides_a_library_of_its_name(tmp_path):
    write(tmp_path / "one", utils="")
    write(tmp_path / "two", tools__in__core="")
    code = ["import utils, tools.core, json"]
    assert libraries(code, [tmp_path / "one", tmp_path / "two"]) == ["json"]


@given(st.lists(st.text(max_size=40), max_size=4))
def test_any_code_can_be_read(tmp_path_factory, code):
    folder = tmp_path_factory.getbasetemp()
    assert isinstance(libraries(code, [folder]), list)
