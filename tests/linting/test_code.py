"""Paths, undeclared files, missing seeds and secrets in the code of a notebook."""

import pytest

from tests.linting.notebooks import findings, rules

STEP = 'table: "Input[Dataset]" = "data.csv"'
SKLEARN = """\
import numpy as np, random, sklearn.ensemble
from sklearn import svm
from sklearn.cluster import KMeans as Clusters
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, train_test_split
from sklearn.utils import shuffle
frame = rng = settings = x = None
"""


@pytest.mark.parametrize(
    "path", ["/home/ada/cars.csv", "~/cars.csv", "C:\\cars.csv", "D:/cars.csv", "/tmp", "file:///cars.csv"]
)
def test_paths_of_one_machine(tmp_path, path):
    assert rules(tmp_path, f"place = {path!r}") == ["absolute-path"]


@pytest.mark.parametrize(
    "text",
    ["/v1/models/cars:predict", "build/cars.csv", "../cars.csv", "/", "a/tmp/b", "https://a.org/data", "~"],
)
def test_other_texts_are_no_such_paths(tmp_path, text):
    assert rules(tmp_path, f"place = {text!r}") == []


@pytest.mark.parametrize(
    "source",
    [
        "import pandas as pd\npd.read_csv('more.csv')",
        "open('more.csv')",
        "open('more.csv', 'rb')",
        "from pathlib import Path\nPath('a', ).read_text()",
        "from pathlib import Path\n(Path('a') / 'b').exists(), open(Path('a') / 'b')",
        "import joblib\nMODEL = 'm.joblib'\njoblib.load(MODEL)",
        "import pandas as pd\npd.read_parquet('https://example.org/a.parquet')",
    ],
)
def test_a_step_reads_a_file_that_it_does_not_declare(tmp_path, source):
    assert rules(tmp_path, f"print(table)\n{source}", parameters=STEP) == ["undeclared-input"]
    assert rules(tmp_path, source) == []  # an exploration may read what it likes


@pytest.mark.parametrize(
    "source", ["open(table)", "open('out.csv', 'w')", "open('log.txt', mode='a')", "print(table, 'more.csv')"]
)
def test_declared_files_and_files_that_are_written(tmp_path, source):
    assert rules(tmp_path, f"print(table)\n{source}", parameters=STEP) == []


def test_a_signature_that_the_code_does_not_keep(tmp_path):
    signature = (
        STEP + '\nmodel: "Output[Model]" = "m"\nrows: "Output[int]" = 0\ndepth: int = 3\nused: int = 1'
    )
    found = findings(tmp_path, "print(used, rows)", parameters=signature)
    assert [(f.rule, f.line) for f in found] == [
        ("unused-input", 1),
        ("unused-output", 2),
        ("unused-output", 3),
        ("unused-parameter", 4),
    ]
    assert rules(tmp_path, "rows = used\n!cp {table} {model} {depth}", parameters=signature) == []


@pytest.mark.parametrize(
    "call",
    [
        "np.random.rand(3)",
        "np.random.default_rng()",
        "np.random.default_rng(None)",
        "random.shuffle([1])",
        "random.Random()",
        "frame.sample(frac=1)",
        "RandomForestClassifier()",
        "RandomForestClassifier(random_state=None)",
        "sklearn.ensemble.ExtraTreesRegressor(10)",
        "train_test_split(x)",
        "KFold(5, shuffle=True)",
        "svm.SVC(probability=True)",
        "LogisticRegression(solver='saga')",
        "Clusters(3)",
        "HistGradientBoostingClassifier()",
        "shuffle(x)",
    ],
)
def test_chance_without_a_seed(tmp_path, call):
    assert rules(tmp_path, f"{SKLEARN}{call}") == ["unseeded"]


@pytest.mark.parametrize(
    "call",
    [
        "np.random.seed(0)\nnp.random.rand(3)",
        "np.random.default_rng(0)",
        "np.random.default_rng(seed=x)",
        "random.seed(1)\nrandom.shuffle([1])",
        "random.Random(3)",
        "frame.sample(frac=1, random_state=0)",
        "rng.sample()",
        "RandomForestClassifier(random_state=x)",
        "RandomForestClassifier(**settings)",
        "train_test_split(x, shuffle=False)",
        "KFold(5)",
        "svm.SVC()",
        "LogisticRegression()",
        "PCA(2)",
        "HistGradientBoostingClassifier(early_stopping=False)",
    ],
)
def test_no_alarm_where_nothing_is_left_to_chance(tmp_path, call):
    assert rules(tmp_path, f"{SKLEARN}{call}") == []


@pytest.mark.parametrize(
    "source",
    [
        "k = 'AKIA" + "ABCDEFGHIJKLMNOP'",
        "t = 'glpat-" + "x1" * 10 + "'",
        "t = 'ghp_" + "a1" * 18 + "'",
        "u = 'postgresql://ada:lovelace1@db/cars'",
        "password = 'hunter2!'",
        "settings = {'api_key': 'q8w7e6r5t4'}",
        "aws_secret_access_key: str = 'abc/def+ghi1'",
        "'''-----BEGIN RSA PRIVATE KEY-----'''",
        "connect(password='hunter2!')\ndef connect(password): print(password)",
    ],
)
def test_secrets_are_found_and_not_shown(tmp_path, source):
    found = [f for f in findings(tmp_path, source) if f.rule == "secret"]
    assert len(found) == 1
    secret = source.rsplit("'", 2)[1].strip("'") or "RSA"
    assert secret not in found[0].message


@pytest.mark.parametrize(
    "source",
    [
        "import os\ntoken = os.environ['NBSHIP_GIT_TOKEN']",
        "password = ''",
        "password = '<password>'",
        "token = 'your-token-here'",
        "secret_name = 'nbship'",
        "TOKEN_VARIABLE = 'NBSHIP_GIT_TOKEN'",
        "tokens = ['a', 'b']",
        "url = 'https://example.org/a:b@c'",
        "max_tokens = '1000'",
        "tokenizer = 'bert-base'",
    ],
)
def test_what_only_looks_like_a_secret(tmp_path, source):
    assert rules(tmp_path, source) == []


def test_a_finding_is_silenced_where_it_is(tmp_path):
    assert rules(tmp_path, "a = '/tmp/a'  # nbship: ignore[absolute-path]\nb = '/tmp/b'") == ["absolute-path"]
    assert rules(tmp_path, "# nbship: ignore[absolute-path, hidden-state]\na = '/tmp/a'\ngone") == []
    assert rules(tmp_path, "gone  # nbship: ignore[absolute-path]") == ["hidden-state"]


def test_a_cell_that_is_no_python(tmp_path):
    (finding,) = findings(tmp_path, "x = 1\nx = = 2")
    assert (finding.rule, finding.line) == ("syntax", 2)
    assert rules(tmp_path, "%%bash\nls | wc", "%%html\n<b>") == []
