"""What a notebook takes for granted of the machine that it runs on."""

import pytest

from tests.linting.notebooks import findings, rules


@pytest.mark.parametrize(
    "source",
    [
        "!pip install lightgbm",
        "! pip3 -q install lightgbm",
        "%pip install lightgbm",
        "%conda install -y lightgbm",
        "!conda install -y lightgbm",
        "!python -m pip install lightgbm",
        "!cd .. && pip install lightgbm",
        "import sys\n!{sys.executable} -m pip install lightgbm",
        "!apt-get -y install graphviz",
        "%%bash\nset -e\npip install lightgbm",
        "import os\nos.system('pip install lightgbm')",
        "import subprocess, sys\nsubprocess.check_call([sys.executable, '-m', 'pip', 'install', 'lightgbm'])",
        "pip install lightgbm",
        "INSTALL = False\nINSTALL = True\nif INSTALL:\n    !pip install lightgbm",
    ],
)
def test_packages_that_the_notebook_installs(tmp_path, source):
    assert rules(tmp_path, source) == ["install"]


@pytest.mark.parametrize(
    "source",
    [
        "# !pip install lightgbm",
        "!pip list",
        "%pip freeze",
        "print('pip install lightgbm')",
        "!echo to use it, call pip install lightgbm",
        "import sys\nif 'google.colab' in sys.modules:\n    !pip install lightgbm\n    %cd elsewhere",
        "INSTALL = False\nif INSTALL:\n    !pip install lightgbm",
        "if False:\n    %pip install lightgbm",
    ],
)
def test_nothing_is_installed(tmp_path, source):
    assert rules(tmp_path, source) == []


@pytest.mark.parametrize(
    "source",
    [
        "import not_there",
        "import not_there.part as p",
        "from not_there.part import a",
        "def f():\n    import not_there",
    ],
)
def test_a_module_that_is_not_installed_is_told_once(tmp_path, source):
    (finding,) = findings(tmp_path, source, source)
    assert (finding.rule, finding.cell) == ("missing-module", 1)
    assert finding.message == "'not_there' is not installed in this environment"


@pytest.mark.parametrize(
    "source",
    [
        "import json, sys, pandas, __main__",
        "try:\n    import not_there\nexcept ImportError:\n    not_there = None",
        "try:\n    import not_there\nexcept (KeyError, ModuleNotFoundError):\n    pass",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import not_there",
        "%%writefile not_there.py\nx = 1\n",
        "import sys\nsys.path.append('../lib')\nimport not_there",
    ],
)
def test_a_module_that_may_be_there(tmp_path, source):
    assert rules(tmp_path, source, "from not_there import *" if source.startswith("%%") else "") == []


def test_a_module_may_be_missing_where_the_notebook_installs_something(tmp_path):
    assert rules(tmp_path, "%pip install anything", "import not_there") == ["install"]


@pytest.mark.parametrize(
    "place", ["notebooks/cars/own.py", "src/own/__init__.py", "src/own/inner/part.py", "own.py"]
)
def test_modules_of_the_project_are_there(tmp_path, place):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("")
    assert rules(tmp_path / "notebooks" / "cars", "import own") == []


@pytest.mark.parametrize("source", ["%cd ..", "cd ..", "import os\nos.chdir('..')", "%pushd /"])
def test_another_folder(tmp_path, source):
    assert rules(tmp_path, source) == ["working-directory"]


@pytest.mark.parametrize(
    "source", ["!cd ..", "import os\nos.getcwd()", "%pwd", "cd = 1\ncd", "run = 1\nrun -1"]
)
def test_the_same_folder(tmp_path, source):
    assert rules(tmp_path, source) == []
