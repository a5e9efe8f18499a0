import json
import keyword
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nbship.errors import UsageError
from nbship.notebook import ARTIFACTS, Role, Variable, read_notebook, read_signature
from nbship.values import SCALARS, TYPES

NAMES = st.from_regex(r"[a-zA-Z_\u00e0-\u00f6][a-zA-Z0-9_\u00e0-\u00f6]{0,8}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name)
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
PLAIN = st.recursive(
    st.none() | st.booleans() | INTEGERS | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
DEFAULTS = {
    "bool": st.booleans(),
    "dict": st.dictionaries(TEXTS, PLAIN, max_size=3),
    "float": NUMBERS,
    "int": INTEGERS,
    "list": st.lists(PLAIN, max_size=3),
    "str": TEXTS,
}
HELP = st.text(st.characters(categories=["L", "N", "Pd", "Po", "Zs"], exclude_characters="#"), max_size=30)


@st.composite
def variables(draw, name):
    role = draw(st.sampled_from(Role))
    kinds = {Role.INPUT: ARTIFACTS, Role.OUTPUT: ARTIFACTS, Role.RESULT: SCALARS, Role.PARAMETER: TYPES}
    kind = draw(st.sampled_from(kinds[role]))
    return Variable(name, role, kind, draw(DEFAULTS.get(kind, TEXTS)), draw(HELP).strip())


SIGNATURES = st.lists(NAMES, unique=True, max_size=6).flatmap(
    lambda names: st.tuples(*(variables(name) for name in names))
)


def written(variable):
    """A variable as a person writes it: only artifact types need quotes."""
    kind = variable.declaration if variable.role is Role.PARAMETER else f'"{variable.declaration}"'
    comment = f"  # {variable.help}" if variable.help else ""
    return f"{variable.name}: {kind} = {variable.default!r}{comment}\n"


def failure(source, where="train.ipynb, cell 2"):
    with pytest.raises(UsageError) as error:
        read_signature(source, where)
    return error.value


@given(SIGNATURES)
def test_a_signature_reads_back_as_it_was_written(declared):
    source = "".join(map(written, declared))
    signature = read_signature(source)
    assert signature.variables == declared
    assert [type(v.default) for v in signature.variables] == [type(v.default) for v in declared]
    exec(source, {})  # noqa: S102 (it must run in Jupyter without nbship)


@given(SIGNATURES)
def test_every_variable_has_one_role(declared):
    signature = read_signature("".join(map(written, declared)))
    roles = [signature.inputs, signature.outputs, signature.results, signature.parameters]
    assert sorted(name for role in roles for name in role) == sorted(v.name for v in declared)


@given(
    st.text()
    | st.lists(st.sampled_from([*"x:='\"#[](){}\\\n,1", ": int", " = ", "Input[", "Dataset", "-", "\r"])).map(
        "".join
    )
)
def test_any_text_is_a_signature_or_an_error_that_says_where(source):
    try:
        read_signature(source, "train.ipynb, cell 2")
    except UsageError as error:
        assert error.message.startswith("train.ipynb, cell 2")
        assert error.hint


@given(
    SIGNATURES,
    st.sampled_from(["import os", "x = f(1)", "x: Any = 1", "for x in y: pass", "x = 1 +"]),
    st.data(),
)
def test_an_error_names_the_line(declared, wrong, data):
    lines = [written(variable) for variable in declared]
    at = data.draw(st.integers(0, len(lines)))
    source = "".join([*lines[:at], f"{wrong}\n", *lines[at:]])
    line = "".join(lines[:at]).count("\n") + 1
    assert failure(source).message.startswith(f"train.ipynb, cell 2, line {line}: ")


@pytest.mark.parametrize(
    ("source", "role", "kind", "default"),
    [
        ("x = 3", Role.PARAMETER, "int", 3),
        ("x = -2.5", Role.PARAMETER, "float", -2.5),
        ("x: float = 3", Role.PARAMETER, "float", 3.0),
        ("x: 'float' = 3", Role.PARAMETER, "float", 3.0),
        ("x = 'a' 'b'", Role.PARAMETER, "str", "ab"),
        ("x = '\\d'", Role.PARAMETER, "str", "\\d"),
        ("x = [1, [2, {'a': None}]]", Role.PARAMETER, "list", [1, [2, {"a": None}]]),
        ("x = {}", Role.PARAMETER, "dict", {}),
        ("x: ' Input [ Dataset ] ' = 'a.csv'", Role.INPUT, "Dataset", "a.csv"),
        ("x: 'Output[Metrics]' = 'a.json'", Role.OUTPUT, "Metrics", "a.json"),
        ("x: 'Output[int]' = 0", Role.RESULT, "int", 0),
        ("x: 'Output[float]' = 0", Role.RESULT, "float", 0.0),
        ("größe = 1", Role.PARAMETER, "int", 1),
    ],
)
def test_forms_that_are_understood(source, role, kind, default):
    (variable,) = read_signature(source).variables
    assert (variable.role, variable.type, variable.default) == (role, kind, default)
    assert type(variable.default) is type(default)


def test_the_comment_is_the_help_text():
    source = "\r\n".join(
        [
            "# not a variable's",
            "C: float = 1.0  #  penalty of an error ",
            "grid = [  # values to try",
            "    1,  # small",
            "    10,",
            "]",
            "names = [",
            "    'a#b',",
            "]  # columns",
            "text = 'a # b'",
        ]
    )
    helps = {v.name: v.help for v in read_signature(source).variables}
    assert helps == {"C": "penalty of an error", "grid": "values to try", "names": "columns", "text": ""}


@pytest.mark.parametrize(
    ("source", "said", "hint"),
    [
        ("x: Input[Dataset] = 'a'", "Input[Dataset] is not in quotes", 'write "Input[Dataset]"'),
        ("x: Output[int] = 1", "Output[int] is not in quotes", 'write "Output[int]"'),
        ("x: Optional[int] = 1", "unknown type 'Optional[int]'", "bool, dict, float, int, list, str"),
        ("x: int | None = 1", "unknown type 'int | None'", "bool, dict, float, int, list, str"),
        ("x: list[int] = [1]", "unknown type 'list[int]'", "did you mean 'list'?"),
        ("x: flaot = 1", "unknown type 'flaot'", "did you mean 'float'?"),
        ("x: None = 1", "unknown type 'None'", "known are"),
        ("x: 'Input[Datset]' = 'a'", "unknown type 'Input[Datset]'", "did you mean 'Dataset'?"),
        ("x: 'Input[Dataset' = 'a'", "unknown type 'Input[Dataset'", "Input[…]"),
        ("x: 'Input[int]' = 1", "unknown type 'Input[int]'", "Dataset"),
        ("x: 'Output[list]' = []", "unknown type 'Output[list]'", "Metrics"),
        ("x: 'Output' = 1", "unknown type 'Output'", "did you mean 'Output[…]'?"),
        ("x: int = 1.5", "the default of 'x' is 1.5 (float)", "it must be int"),
        ("x: int = True", "the default of 'x' is True (bool)", "it must be int"),
        ("x: float = 1e999", "the default of 'x' holds something other than", "it must be float"),
        ("x: int = 10**9", "the default of 'x' is not a plain value", "write it out"),
        ("x: int = 99999999999999999999", "the default of 'x' holds something other than", "it must be int"),
        (f"x: str = 0x{'f' * 5000}", "the default of 'x' is … (int)", "it must be str"),
        ("x = float('nan')", "the default of 'x' is not a plain value", "write it out"),
        ("x = (1, 2)", "the default of 'x' is (1, 2) (tuple)", "one of bool, dict, float, int, list, str"),
        ("x = None", "the default of 'x' is None (NoneType)", "one of bool"),
        ("x = {1, 2}", "the default of 'x' is {1, 2} (set)", "one of bool"),
        ("x = b'a'", "the default of 'x' is b'a' (bytes)", "one of bool"),
        ("x = {1: 2}", "the default of 'x' holds something other than", "dict"),
        ("x = f'{y}'", "the default of 'x' is not a plain value", "write it out"),
        ("x = y", "the default of 'x' is not a plain value", "write it out"),
        ("x: 'Input[Dataset]' = 3", "the path of 'x' is 3 (int)", "it must be str"),
        ("x: 'Output[int]' = 'a'", "the default of 'x' is 'a' (str)", "it must be int"),
        ("x: int", "'x' has no default", "x = …"),
        ("a, b = 1, 2", "only 'name: type = value'", "later cell"),
        ("a = b = 1", "only 'name: type = value'", "later cell"),
        ("a.b = 1", "only 'name: type = value'", "later cell"),
        ("a[0]: int = 1", "only 'name: type = value'", "later cell"),
        ("a += 1", "only 'name: type = value'", "later cell"),
        ("'''text'''", "only 'name: type = value'", "later cell"),
        ("await x", "only 'name: type = value'", "later cell"),
        ("%matplotlib inline", "invalid syntax", "plain lines of 'name: type = value'"),
        (f"x = {'-' * 100_000}1", "too deeply nested", "plain lines"),
    ],
)
def test_what_is_not_understood_is_an_error_that_says_what_is(source, said, hint):
    error = failure(source)
    assert said in error.message
    assert hint in error.hint


def test_a_name_declared_twice():
    assert failure("a = 1\nb = 2\na = 3").message == "train.ipynb, cell 2, line 3: 'a' is declared twice"


# Notebooks


def code(source, *tags):
    return {"cell_type": "code", "metadata": {"tags": [*tags]}, "source": source, "outputs": []}


def markdown(source):
    return {"cell_type": "markdown", "metadata": {}, "source": source}


PARAMETERS = code("seed: int = 0  # of chance", "parameters")


@pytest.fixture
def notebook(tmp_path):
    """Writes cells, or any content, as a notebook."""

    def write(*cells, **content):
        path = tmp_path / "train.ipynb"
        path.write_text(
            json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells} | content)
        )
        return path

    return write


def problem(path):
    with pytest.raises(UsageError) as error:
        read_notebook(path, path.name)
    return error.value


def test_what_a_notebook_tells(notebook):
    path = notebook(
        markdown(["# Fit a model\n", "\n", "Learns from rows,\n", "and keeps them.\n", "\n", "More."]),
        code("import math"),
        PARAMETERS,
        markdown("## Later"),
        code(["y = [\n", "    1]"]),
    )
    read = read_notebook(path)
    assert (read.path, read.title, read.description) == (
        path,
        "Fit a model",
        "Learns from rows, and keeps them.",
    )
    assert read.code == ("import math", "y = [\n    1]")
    assert read.parameters_source == "seed: int = 0  # of chance"
    assert read.signature.parameters["seed"].help == "of chance"


@pytest.mark.parametrize(
    "metadata",
    [
        {"kernelspec": {"name": "ir", "language": "R"}},
        {"kernelspec": {"name": "julia-1.9"}, "language_info": {"name": "julia"}},
    ],
)
def test_a_notebook_in_another_language_is_refused(notebook, metadata):
    error = problem(notebook(PARAMETERS, metadata=metadata))
    assert "train.ipynb: a notebook in " in error.message
    assert "Python kernel" in error.hint


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"kernelspec": {"name": "mine"}, "language_info": {"name": "python", "version": "3"}},
        {"kernelspec": {"name": "x", "language": "python"}, "language_info": {"name": "ipython"}},
        {"kernelspec": None, "language_info": [1]},
    ],
)
def test_one_in_python_is_read_whatever_its_kernel_is_called(notebook, metadata):
    assert read_notebook(notebook(PARAMETERS, metadata=metadata)).code == ()


def test_without_a_heading_the_file_gives_the_title(notebook):
    read = read_notebook(notebook(markdown("Some text"), PARAMETERS))
    assert (read.title, read.description) == ("train", "")


@given(
    before=st.lists(st.sampled_from(["x = 1", "", "%time y = 2", "# text"]), max_size=3),
    source=st.sampled_from(["x: int = 'a'", "x: Dataset = 1", "x ="]),
)
def test_an_error_names_notebook_cell_and_line(before, source, tmp_path_factory):
    path = tmp_path_factory.mktemp("notebook") / "train.ipynb"
    cells = [*map(code, before), markdown("# Title"), code(f"a = 1\n{source}", "parameters")]
    path.write_text(json.dumps({"nbformat": 4, "cells": cells}))
    assert problem(path).message.startswith(f"train.ipynb, cell {len(cells)}, line 2: ")


@pytest.mark.parametrize(
    "source",
    [
        "",
        "# only a comment",
        "%matplotlib inline\nimport math",
        "!ls *.csv\nfiles = !ls",
        "%%bash\nfor f in *; do echo $f; done",
        "%%html\n<p>not Python",
        "math?",
        "await something()",
        "async with x as y:\n    pass",
        "    indented = 1",
        "x = '\\d' is 'a'",
        "print(1)\r\nprint(2)",
    ],
)
def test_cells_that_run_in_jupyter_are_accepted_in_silence(notebook, source, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = read_notebook(notebook(PARAMETERS, code(source)))
    assert read.code == (source,)
    assert capfd.readouterr() == ("", "")


def test_a_syntax_error_in_any_cell_is_found_before_a_run(notebook):
    error = problem(notebook(PARAMETERS, code("x = 1\ny = (")))
    assert error.message == "train.ipynb, cell 2, line 2: '(' was never closed"
    assert "must run in Jupyter" in error.hint


@given(st.text(max_size=30) | st.lists(st.sampled_from([*"%!?=(['\"\\\n\x0bx"]), max_size=12).map("".join))
@example("x =%'''")
def test_any_cell_is_accepted_or_an_error(tmp_path_factory, source):
    path = tmp_path_factory.mktemp("notebook") / "train.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "cells": [PARAMETERS, code(source)]}))
    try:
        assert read_notebook(path).code == (source,)
    except UsageError as error:
        assert "train.ipynb, cell 2" in error.message


def test_an_empty_parameters_cell_is_a_signature_without_variables(notebook):
    assert read_notebook(notebook(code("", "parameters"))).signature.variables == ()


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([], "no cell tagged 'parameters'"),
        ([code("x = 1")], "no cell tagged 'parameters'"),
        ([markdown("x") | {"metadata": {"tags": ["parameters"]}}], "no cell tagged 'parameters'"),
        ([PARAMETERS, PARAMETERS], "2 cells tagged 'parameters'"),
    ],
)
def test_exactly_one_cell_is_the_signature(notebook, cells, said):
    error = problem(notebook(*cells))
    assert error.message == f"train.ipynb: {said}"
    assert "tag exactly one code cell" in error.hint


def test_an_old_notebook_format(notebook):
    error = problem(notebook(nbformat=3, worksheets=[{"cells": []}]))
    assert (error.message, error.hint) == ("train.ipynb: notebook format 3 is too old", "save it in Jupyter")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"\xff\xfe",
        b"{}",
        b'{"nbformat": "4", "cells": []}',
        b'{"nbformat": 4}',
        b'{"nbformat": 4, "cells": [3]}',
        b'{"nbformat": 4, "cells": [{"cell_type": "code"}]}',
        b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": 3}]}',
        b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": "", "metadata": 3}]}',
        b'{"nbformat": 4, "cells": ' + b"[" * 100_000,
    ],
)
def test_a_file_that_is_no_notebook(tmp_path, content):
    path = tmp_path / "train.ipynb"
    path.write_bytes(content)
    assert problem(path).message == "train.ipynb: not a notebook (nbformat 4 JSON)"


def test_a_missing_notebook_is_told_with_the_nearest_one(notebook):
    path = notebook(PARAMETERS)
    error = problem(path.with_name("trian.ipynb"))
    assert (error.message, error.hint) == (
        "trian.ipynb: there is no such notebook",
        "did you mean 'train.ipynb'?",
    )


def test_a_folder_with_the_name_of_a_notebook(tmp_path):
    (tmp_path / "train.ipynb").mkdir()
    assert problem(tmp_path / "train.ipynb").message == "train.ipynb: Is a directory"


def test_plain_notebooks_are_read_without_jupyter(notebook):
    path = notebook(PARAMETERS, code("print('hello')"))
    script = (
        "import sys; from pathlib import Path; from nbship.notebook import read_notebook;"
        "read_notebook(Path(sys.argv[1]));"
        "print({'IPython', 'nbformat', 'papermill'} & set(sys.modules))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    result = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=True, env=environment
    )
    assert result.stdout == "set()\n"
