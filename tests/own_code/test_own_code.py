"""What of the project's own code a step uses, and what of it cannot travel."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.config import validate
from nbship.errors import UsageError
from nbship.graph import build_graph, with_champion
from nbship.notebook import Notebook, Signature, read_notebook
from nbship.own_code import OwnCode, own_code, require_portable, step_code
from tests.projects import write_notebook

INIT = "__init__"
NOTEBOOK = "notebooks/cars/train.ipynb"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "notebooks/cars").mkdir(parents=True)
    return tmp_path


def put(root: Path, **files: str) -> None:
    """Writes files whose names have `__` for `/` and `_dot_` for `.`; a package's is `_init`."""
    for name, text in files.items():
        path = root / name.replace("_init", "§").replace("__", "/").replace("_dot_", ".").replace("§", INIT)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def found(root: Path, *code: str, parameters: str = "") -> OwnCode:
    return own_code(root, read_notebook(write_notebook(root / NOTEBOOK, parameters, *code), NOTEBOOK))


def names(root: Path, *code: str, parameters: str = "") -> list[str]:
    """The files that code uses; those beside the notebook by their name alone."""
    files = found(root, *code, parameters=parameters).files
    return [path.relative_to(root).as_posix().removeprefix("notebooks/cars/") for path in files]


def problems(root: Path, *code: str) -> list[tuple[str, str]]:
    return [(where, message) for where, message, _ in found(root, *code).problems]


@pytest.mark.parametrize(
    "code",
    [
        "import helper",
        "from helper import f",
        "import helper.inner as x",
        "def f():\n    import helper as h",
        "try:\n    import helper\nexcept ImportError:\n    pass",
        "files = !ls\nimport helper",
        "%%time\nimport helper",
        "%%capture out\n%time import helper",
        "%load_ext helper",
        "%run helper.py",
        "%run -i helper 3",
        "!python helper.py",
        "!cd . && python ./helper.py > log.txt",
        "out = !python -m helper",
        "importlib.import_module('helper')",
        "__import__('helper')",
        "%%bash\npython -m helper",
        "subprocess.run(['python', 'helper.py'])",
        "subprocess.run([sys.executable, '-m', 'helper'])",
        "runpy.run_path('helper.py')",
        "exec(open('helper.py').read())",
    ],
)
def test_a_module_beside_the_notebook_is_used(root, code):
    put(root / "notebooks/cars", helper_dot_py="", other_dot_py="")
    assert names(root, code) == ["helper.py"]
    assert problems(root, code) == []


@pytest.mark.parametrize("place", ["src", ".", "notebooks/cars"])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import cars", ["__init__"]),
        ("import cars.tools", ["__init__", "tools"]),
        ("from cars import tools", ["__init__", "tools"]),
        ("from cars.deep.add import f", ["__init__", "deep/__init__", "deep/add", "tools"]),
        ("from cars import deep", ["__init__", "deep/__init__"]),
        ("import importlib\nimportlib.import_module(f'cars.deep.{kind}')", None),
    ],
)
def test_a_package_is_found_wherever_steps_look(root, place, code, expected):
    put(
        root / place,
        cars___init_dot_py="",
        cars__tools_dot_py="",
        cars__unused_dot_py="",
        cars__deep___init_dot_py="",
        cars__deep__add_dot_py="from .. import tools\nfrom ..tools import f",
    )
    expected = expected or ["__init__", "deep/__init__", "deep/add", "tools"]
    files = [path.relative_to(root / place).as_posix() for path in found(root, code).files]
    assert files == [f"cars/{name}.py" for name in expected]


def test_the_notebooks_folder_comes_before_src_and_src_before_the_project(root):
    for place in ("notebooks/cars", "src", "."):
        put(root / place, cars_dot_py="")
    assert names(root, "import cars") == ["cars.py"]
    (root / "notebooks/cars/cars.py").unlink()
    assert names(root, "import cars") == ["src/cars.py"]
    (root / "src/cars.py").unlink()
    assert names(root, "import cars") == ["cars.py"]


def test_a_package_comes_before_a_folder_of_its_name(root):
    put(root, src__cars_dot_py="", cars__add_dot_py="")
    assert names(root, "import cars") == ["src/cars.py"]
    (root / "src/cars.py").unlink()
    assert names(root, "import cars.add") == ["cars/add.py"]


def test_a_folder_without_python_is_no_module(root):
    put(root, pandas__notes_dot_txt="", docker__client__page_dot_html="")
    assert names(root, "import pandas, docker.client, json") == []
    assert problems(root, "import pandas, json, is_not_installed") == []


@pytest.mark.parametrize(
    "code",
    [
        "sys.path.append('../lib')",
        "sys.path.insert(0, '../lib')",
        "sys.path.insert(0, os.path.abspath(os.path.join(os.getcwd(), os.pardir, 'lib')))",
        "here = Path.cwd()\nsys.path.insert(0, str(here.parent / 'lib'))",
        "sys.path += [str(Path('..').resolve() / 'lib')]",
        "sys.path = ['../lib'] + sys.path",
        "sys.path[:0] = ['../lib']",
        "%cd ../lib",
        "os.chdir(Path().parents[0] / 'lib')",
    ],
)
def test_what_is_added_to_pythons_path_is_searched(root, code):
    put(root, notebooks__lib__helper_dot_py="import second", notebooks__lib__second_dot_py="")
    assert names(root, "import sys, os\nfrom pathlib import Path", code, "import helper") == [
        "notebooks/lib/helper.py",
        "notebooks/lib/second.py",
    ]
    assert problems(root, code) == []


@pytest.mark.parametrize(
    "code",
    [
        "json.load(open('lookup.json'))",
        "with open('lookup.json', 'r') as file:\n    codes = json.load(file)",
        "NAME = 'lookup.json'\nopen(NAME)",
        "codes = pd.read_json('./lookup.json')",
        "Path('lookup.json').read_text()",
        "folder = Path('.')\n(folder / 'lookup.json').read_text()",
        "open(os.path.join('..', 'cars', 'lookup.json'))",
        "open(f'{os.getcwd()}/lookup.json')",
        "for name in ['lookup.json']:\n    open(name)",
        "!cat lookup.json",
        "Path('copy.json').write_text(Path('lookup.json').read_text())",
        "json.dump(json.load(open('lookup.json')), open('copy.json', 'w'))",
        "pd.read_json('lookup.json').to_csv('copy.json')",
    ],
)
def test_a_file_that_is_read_by_its_name_is_used(root, code):
    put(root / "notebooks/cars", lookup_dot_json="{}", copy_dot_json="{}", unused_dot_json="{}")
    assert names(root, "import json, os", code) == ["lookup.json"]


@pytest.mark.parametrize(
    "code",
    [
        "df['lookup.json.gone']",
        "'''See lookup.json'''",
        "plt.savefig('plot.png')",
        "name = 'plot.png'\nplt.savefig(name)",
        "df.to_csv(Path('out') / 'plot.png')",
        "Path('plot.png').write_bytes(b'')\nopen('plot.png', 'rb')",
        "with open('plot.png', mode='wb') as file:\n    pass",
        "gzip.open('plot.png', 'wb')",
        "out = Path('out')\nout.mkdir(exist_ok=True)",
        "df['out']",
        "%%writefile plot.png\nx",
        "!date > plot.png",
        "Path('.').glob('x')",
        "'a' * 9999",
        "'\\0.json'",
    ],
)
def test_what_a_step_writes_is_none_of_its_code(root, code):
    put(root / "notebooks/cars", plot_dot_png="", out__plot_dot_png="")
    assert names(root, code) == []


@pytest.mark.parametrize(
    "code",
    [
        "queries = Path('queries')\nfor path in queries.glob('*.sql'):\n    path.read_text()",
        "glob.glob('queries/*.sql')",
        "os.listdir('queries')",
        "Environment(loader=FileSystemLoader('queries'))",
        "queries = Path('queries')\n(queries / name).read_text()",
        "list(Path('queries').iterdir())",
    ],
)
def test_the_files_of_a_folder_that_is_read_are_used(root, code):
    put(root / "notebooks/cars", queries__a_dot_sql="", queries__b_dot_sql="", queries___dot_hidden="")
    assert names(root, code) == ["queries/a.sql", "queries/b.sql"]


def test_a_module_may_read_beside_itself(root):
    put(
        root,
        src__cars___init_dot_py="",
        src__cars__a_dot_py="open(Path(__file__).parent / 'lookup.json')",
        src__cars__b_dot_py="from importlib.resources import files\nfiles('cars') / 'table.csv'",
        src__cars__lookup_dot_json="",
        src__cars__table_dot_csv="",
    )
    assert "src/cars/lookup.json" in names(root, "import cars.a")
    assert "src/cars/table.csv" in names(root, "import cars.b")


def test_a_parameter_may_name_a_file(root):
    put(root / "notebooks/cars", lookup_dot_json="")
    assert names(root, "open(codes)", parameters="codes: str = 'lookup.json'") == ["lookup.json"]


def test_what_is_no_text_is_no_obstacle(root):
    (root / "notebooks/cars/helper.py").write_bytes(b"\xff\xfe import other")
    assert names(root, "import helper") == ["helper.py"]


def test_modules_may_import_each_other(root):
    put(root, src__a_dot_py="import b", src__b_dot_py="import a")
    assert names(root, "import a") == ["src/a.py", "src/b.py"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("importlib.import_module(name)", "imports a module whose name is known only when it runs"),
        ("sys.path.append(folder)", "adds a folder to sys.path that is known only when it runs"),
        ("sys.path.append('../../../lib')", "adds ../../../lib, outside of the project, to sys.path"),
        ("%run other.ipynb", "%run other.ipynb runs another notebook"),
        ("%run {name}.py", "%run {name}.py runs a file that is known only when it runs"),
        ("import import_ipynb", "import_ipynb imports a notebook"),
        ("open('../../../outside.json')", "uses ../../../outside.json, outside of the project"),
        ("open('.env')", "reads notebooks/cars/.env, a hidden file"),
        ("pd.read_csv('../../data.csv')", "reads data.csv, a data file, by its name"),
        ("import cars.fast", "imports cars.fast, which is compiled for this machine"),
    ],
)
def test_what_cannot_travel_is_told_with_its_cell_and_line(root, code, message):
    put(root, data_dot_csv="", data_dot_csv_dot_dvc="", src__cars___init_dot_py="")
    (root / f"src/cars/fast{EXTENSION_SUFFIXES[0]}").write_bytes(b"\x7fELF")
    (root / "notebooks/cars/.env").write_text("TOKEN=1")
    outside = root.parent / "outside.json"
    outside.write_text("")
    # The heading and the parameters cell are the first two cells.
    assert problems(root, "1", f"import sys\n{code}") == [(f"{NOTEBOOK}, cell 4, line 2", message)]
    outside.unlink()


def test_what_a_module_cannot_take_along_is_told_with_its_line(root):
    put(root, src__cars_dot_py="import importlib\n\nimportlib.import_module(name)")
    assert [where for where, _ in problems(root, "import cars")] == ["src/cars.py, line 3"]
    with pytest.raises(UsageError, match=r"^src/cars\.py, line 3: imports a module"):
        require_portable(found(root, "import cars"))


def test_a_module_found_by_its_installation_alone_is_told(root, monkeypatch, tmp_path_factory):
    put(root, lib__inside_one_dot_py="import inside_two", lib__inside_two_dot_py="")
    outside = tmp_path_factory.mktemp("outside")
    put(outside, outside_one_dot_py="")
    monkeypatch.syspath_prepend(root / "lib")
    monkeypatch.syspath_prepend(outside)
    assert names(root, "import inside_one") == ["lib/inside_one.py", "lib/inside_two.py"]
    ((_, message),) = problems(root, "import inside_one")
    assert message == "imports inside_one from lib/"
    ((_, message),) = problems(root, "import outside_one")
    assert message == f"imports outside_one from {outside}/outside_one.py, outside of the project"


def test_a_package_installed_in_another_environment_under_this_one_is_an_installed_one(
    root, monkeypatch, tmp_path_factory
):
    below = tmp_path_factory.mktemp("below") / "lib/site-packages"
    put(below, installed_below_dot_py="")
    monkeypatch.syspath_prepend(below)
    assert problems(root, "import installed_below") == []


@pytest.mark.parametrize(
    "name",
    ["src__random_dot_py", "secrets_dot_py", "src__json___init_dot_py", "notebooks__cars__queue_dot_py"],
)
def test_a_module_that_hides_pythons_own_is_refused(root, name):
    put(root, **{name: ""})
    with pytest.raises(UsageError, match=r"^\S+\.py: hides Python's own module"):
        found(root, "1")


def test_a_step_needs_the_modules_of_the_models_it_loads(root):
    put(root, src__cars_dot_py="")
    train = write_notebook(root / "train.ipynb", 'model: "Output[Model]" = "m"', "import cars")
    evaluate = write_notebook(
        root / "evaluate.ipynb",
        'model: "Input[Model]" = "m"\nlosses: "Output[Dataset]" = "l"\nmetrics: "Output[Metrics]" = "x"',
        "import joblib",
    )
    count = write_notebook(root / "count.ipynb", 'losses: "Input[Dataset]" = "l"')
    steps = {"train": train, "evaluate": evaluate, "count": count}
    tree = {"name": "p", "steps": {name: {"notebook": path.name} for name, path in steps.items()}, "gate": {}}
    graph = build_graph(validate(tree, "p"), {name: read_notebook(path) for name, path in steps.items()})
    graph = with_champion(graph, Path("champion"))

    used = {step.name: len(step_code(root, graph, step).files) for step in graph.steps.values()}

    assert used == {"train": 1, "evaluate": 1, "evaluate-champion": 1, "count": 0}


@given(st.lists(st.text(max_size=40), max_size=4))
def test_any_code_can_be_read(tmp_path_factory, code):
    root = tmp_path_factory.getbasetemp()
    notebook = Notebook(root / "n.ipynb", "", "", Signature(()), tuple(code), "", tuple(range(len(code))))
    assert isinstance(own_code(root, notebook), OwnCode)
