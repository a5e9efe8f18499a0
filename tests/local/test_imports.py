"""Which libraries a notebook imports, and which files beside it are part of its code."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.local.imports import libraries, local_files


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def names(folder: Path, *code: str) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in local_files(code, folder)]


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


@pytest.mark.parametrize(
    "code",
    [
        "import helper",
        "from helper import f",
        "def f():\n    import helper as h",
        "try:\n    import helper\nexcept ImportError:\n    pass",
        "files = !ls\nimport helper",
        "%run helper.py",
        "!python helper.py",
        "importlib.import_module('helper')",
        "%%bash\npython -m helper",
    ],
)
def test_a_file_that_the_code_mentions_is_part_of_it(tmp_path, code):
    write(tmp_path, helper="", other="")
    assert names(tmp_path, code) == ["helper.py"]


def test_files_that_files_mention_are_part_of_it_too(tmp_path):
    write(
        tmp_path,
        first="import second",
        second="from package import core",
        package__in____init__="from .inner import thing",
        package__in__core="",
        package__in__inner="import first",
        package__in__unused="",
    )
    expected = ["first.py", "package/__init__.py", "package/core.py", "package/inner.py", "second.py"]
    assert names(tmp_path, "import first") == expected


def test_a_name_with_a_hyphen_is_found(tmp_path):
    write(tmp_path, **{"clean-up": ""})
    assert names(tmp_path, "%run clean-up.py") == ["clean-up.py"]
    assert names(tmp_path, "clean(x)") == []


def test_a_file_that_is_no_text_is_no_obstacle(tmp_path):
    (tmp_path / "helper.py").write_bytes(b"\xff\xfe import other")
    assert names(tmp_path, "import helper") == ["helper.py"]


@given(st.lists(st.text(max_size=40), max_size=4))
def test_any_code_can_be_read(tmp_path_factory, code):
    folder = tmp_path_factory.getbasetemp()
    assert isinstance(libraries(code, [folder]), list)
    assert isinstance(local_files(code, folder), list)
