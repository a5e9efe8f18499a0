"""The project's modules and files go with a notebook: in the compiled file, its currency, and a run."""

from __future__ import annotations

import json

import pytest
import yaml

from nbship.errors import UsageError
from nbship.kubeflow.component import json_literal, literal
from nbship.workflow.compile import compile_pipeline
from tests.engine import nbship
from tests.kubeflow.conftest import run_here
from tests.projects import write_notebook
from tests.repositories import git

MODEL = 'model: "Output[Model]" = "build/model.pkl"'
METRICS = 'model: "Input[Model]" = "m.pkl"\nmetrics: "Output[Metrics]" = "build/metrics.json"'
PIPELINE = """\
name: cars
steps:
  train: {notebook: notebooks/cars/train.ipynb}
  evaluate: {notebook: notebooks/cars/evaluate.ipynb}
"""
TRAIN = """\
import pickle
from cars.features import Doubled
from helper import start
pickle.dump(Doubled(start()), open(model, "wb"))
"""
EVALUATE = """\
import json, pickle
made = pickle.load(open(model, "rb"))
seen = !python -m cars.shout
money = "$$ $(HOME) $$(HOME)"
json.dump({"value": made.value(), "said": seen[0], "money": money}, open(metrics, "w"))
"""
FEATURES = """\
from importlib.resources import files
from .base import Base


class Doubled(Base):
    def value(self):
        table = json.loads((files("cars") / "table.json").read_text())
        return 2 * self.number + table["added"]
"""


pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def root(tmp_path):
    """A project with a package in `src`, a module in its folder, and one beside the notebook."""
    root = tmp_path / "project"
    write_notebook(root / "notebooks/cars/train.ipynb", MODEL, TRAIN)
    write_notebook(root / "notebooks/cars/evaluate.ipynb", METRICS, EVALUATE)
    for name, text in {
        "pipelines/cars.yaml": PIPELINE,
        "notebooks/cars/helper.py": "from settings import START\nimport json\n\n\n"
        "def start():\n    return START + json.load(open('lookup.json'))['more']\n",
        "notebooks/cars/lookup.json": '{"more": 5, "text": "$$ $(HOME) {{x}} größer"}',
        "settings.py": "START = 10\n",
        "src/cars/__init__.py": "",
        "src/cars/base.py": "class Base:\n    def __init__(self, number):\n        self.number = number\n",
        "src/cars/features.py": f"import json\n{FEATURES}",
        "src/cars/table.json": '{"added": 100}',
        "src/cars/shout.py": 'print("shouted")\n',
        "src/cars/unused.py": "",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(root, "init", "--quiet")
    return root


def carried(text: str) -> dict[str, str]:
    """What the compiled file says that goes with each step: paths in one line."""
    executors = next(yaml.safe_load_all(text))["deploymentSpec"]["executors"]
    sources = {name: str(each["container"]["command"][-1]) for name, each in executors.items()}
    found = {}
    for name, source in sources.items():
        _, files, rest = source.partition("files=r'''")
        found[name.removeprefix("exec-")] = " ".join(json.loads(rest.partition("'''")[0])) if files else ""
    return found


def test_what_a_notebook_uses_goes_with_it(root):
    package = "src/cars/__init__.py src/cars/base.py src/cars/features.py"
    beside = "notebooks/cars/helper.py notebooks/cars/lookup.json settings.py"
    text = compile_pipeline(root, "cars").text
    assert carried(text) == {
        "train": f"{beside} {package} src/cars/table.json",
        # It loads an object whose class is in the package.
        "evaluate": f"{beside} {package} src/cars/shout.py src/cars/table.json",
    }
    assert "class Doubled(Base):" in text


@pytest.mark.parametrize(
    ("path", "reasons"),
    [
        ("src/cars/base.py", ["evaluate, train: src/cars/base.py"]),
        ("src/cars/shout.py", ["evaluate: src/cars/shout.py"]),
        ("src/cars/table.json", ["evaluate, train: src/cars/table.json"]),
        ("src/cars/unused.py", []),
    ],
)
def test_a_compiled_file_is_stale_when_it_changes(root, path, reasons):
    compile_pipeline(root, "cars").write()
    assert compile_pipeline(root, "cars").stale == ()
    (root / path).write_text('{"added": 1}\n')
    assert list(compile_pipeline(root, "cars").stale) == reasons


@pytest.mark.e2e
def test_it_runs_on_kubeflow_as_it_does_here(root, submit):
    here = run_here(root, "cars")["evaluate"]
    assert here == {"value": 130, "said": "shouted", "money": "$$ $(HOME) $$(HOME)"}
    folder = submit(root, "cars")
    assert json.loads((folder / "evaluate/metrics").read_text()) == here


@pytest.mark.e2e
def test_what_cannot_be_carried_readably_is_packed(root, submit):
    (root / "src/cars/base.py").write_text((root / "src/cars/base.py").read_text() + "# long\n" * 30_000)
    (root / "src/cars/blob.bin").write_bytes(bytes(range(256)))
    folder = submit(root, "cars")
    assert json.loads((folder / "evaluate/metrics").read_text())["value"] == 130


def test_what_cannot_be_carried_at_all_is_refused(root):
    numbers = range(40_000)
    (root / "src/cars/table.json").write_text(json.dumps([n * n * 7919 % 1_000_003 for n in numbers]))
    with pytest.raises(UsageError, match=r"with its \d files, the largest of which is src/cars/table\.json;"):
        compile_pipeline(root, "cars")


def test_a_file_that_git_ignores_is_refused(root):
    (root / ".gitignore").write_text("lookup.json\n")
    with pytest.raises(UsageError, match=r"^notebooks/cars/helper\.py, line 6: uses .*, which Git ignores"):
        compile_pipeline(root, "cars")


def test_what_cannot_travel_ends_compile_with_2(root):
    write_notebook(root / "notebooks/cars/train.ipynb", MODEL, "1", "name = model\n\n%run a.ipynb")
    done = nbship("compile", "cars", cwd=root)
    assert done.returncode == 2
    told = " ".join(done.stderr.split())
    assert "notebooks/cars/train.ipynb, cell 4, line 3: %run a.ipynb runs another notebook" in told


@pytest.mark.parametrize("text", ["$$", "$(HOME)", "$$(HOME)", "$$$", "$", "US$ 5", "{{$.x}}$$"])
def test_nothing_that_kubernetes_would_expand_is_left(text):
    for source in (literal(text), json_literal([text])):
        assert "$$" not in source
        assert "$(" not in source
    assert eval(literal(text)) == text  # noqa: S307
    assert json.loads(eval(json_literal([text]))) == [text]  # noqa: S307
