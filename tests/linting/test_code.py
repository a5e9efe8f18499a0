"""Paths, undeclared files, missing seeds and secrets in the code of a notebook."""

import inspect
import json

import pytest
import sklearn.cluster
import sklearn.datasets
import sklearn.feature_selection
import sklearn.inspection
from sklearn.utils import all_estimators

from nbship.linting import check_notebook, estimators
from tests.linting.notebooks import findings, rules, write_cells

STEP = 'table: "Input[Dataset]" = "data.csv"'
SKLEARN = """\
import numpy as np, pandas as pd, random, scipy.stats, sklearn.ensemble
try:
    import catboost, lightgbm, tensorflow as tf, torch, xgboost
    from imblearn.over_sampling import SMOTE
    from lightning import seed_everything
    from tensorflow import keras
    from torch.utils.data import DataLoader
except ImportError:
    pass
from sklearn import svm
from sklearn.cluster import KMeans as Clusters
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier, ExtraTreesRegressor, HistGradientBoostingClassifier, RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, train_test_split
from sklearn.utils import shuffle
frame = rng = settings = x = None
"""


@pytest.mark.parametrize(
    "path", ["/home/ada/cars.csv", "~/cars.csv", "C:\\cars.csv", "D:/cars.csv", "/mnt", "file:///cars.csv"]
)
def test_paths_of_one_machine(tmp_path, path):
    assert rules(tmp_path, f"place = {path!r}") == ["absolute-path"]


@pytest.mark.parametrize(
    "text",
    [
        "/v1/models/cars:predict",
        "/tmp/scratch.csv",
        "build/cars.csv",
        "../cars.csv",
        "/",
        "a/tmp/b",
        "https://a.org/data",
        "~",
    ],
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
        "import sqlite3\nsqlite3.connect('cars.db')",
        "from sqlalchemy import create_engine\ncreate_engine('sqlite:///cars.db')",
        "from joblib import load\nload(filename='m.joblib')",
        "import os.path\nopen(os.path.join('data', 'more.csv'))",
        "import os\nif os.path.exists('more.csv'):\n    open('more.csv')",
        "import urllib.request\nurllib.request.urlretrieve('https://example.org/a', 'a')\nopen('a')",
    ],
)
def test_a_step_reads_a_file_that_it_does_not_declare(tmp_path, source):
    assert rules(tmp_path, f"print(table)\n{source}", parameters=STEP) == ["undeclared-input"]
    assert rules(tmp_path, source) == []  # an exploration may read what it likes


@pytest.mark.parametrize(
    "source",
    [
        "open('log.txt', 'w')",
        "open('log.txt', mode='a')",
        "import pandas as pd\npd.DataFrame().to_csv('x.csv')",
        "import pandas as pd\nNAME = 'x.csv'\npd.DataFrame().to_csv(path_or_buf=NAME)",
        "from pathlib import Path\nPath('log.txt').write_text('')",
        "from pathlib import Path\n(Path('a') / 'log.txt').open('w')",
        "import joblib\njoblib.dump(1, 'model.joblib')\njoblib.load('model.joblib')",
        "import matplotlib.pyplot as plt\nplt.savefig('plot.png')",
        "import numpy as np\nnp.save('x.npy', [1])",
        "figure = model = None\nfigure.savefig('plot.png')",
        "model = None\nmodel.save('model.keras')",
    ],
)
def test_a_step_writes_a_file_that_it_does_not_declare(tmp_path, source):
    assert rules(tmp_path, f"print(table)\n{source}", parameters=STEP) == ["undeclared-output"]
    assert rules(tmp_path, source) == []


@pytest.mark.parametrize(
    "source",
    [
        "open(table)",
        "print(table, 'more.csv')",
        "import sqlite3\nsqlite3.connect(':memory:')",
        "from sqlalchemy import create_engine\ncreate_engine('sqlite://')",
        "import pandas as pd\npd.read_sql('select 1', table)",
        "def fetch(*_): ...\nfetch('https://example.org/a', 'a.csv')\nopen('a.csv')",
        "!wget -O a.csv https://example.org/a\nopen('a.csv')",
        "NAME = 'a.csv'\nNAME = table\nopen(NAME)",
        "import pandas as pd\npd.DataFrame().to_csv()\npd.DataFrame().to_csv(table)",
        "import google.colab as c\nIN_COLAB = c\nif IN_COLAB:\n    open('a.csv')",
    ],
)
def test_declared_files_and_files_that_the_step_makes(tmp_path, source):
    assert rules(tmp_path, f"print(table)\n{source}", parameters=STEP) == []


def test_a_file_of_the_project_is_part_of_the_steps_code_unless_dvc_tracks_it(tmp_path):
    (tmp_path / "pipelines").mkdir()
    for name in ("lookup.json", "more.csv", "more.csv.dvc", ".env"):
        (tmp_path / name).write_text("")
    source = "print(table), open('../lookup.json'), open('../more.csv'), open('../.env'), open('../gone.csv')"
    found = findings(tmp_path / "notebooks", source, parameters=STEP)
    assert {finding.message.split("'")[1] for finding in found} == {"../more.csv", "../.env", "../gone.csv"}


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
        "few = frame.sample(frac=1)",
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
        "np.random.rand(3)\nnp.random.seed(0)\nnp.random.rand(3)",
        "np.random.seed()\nRandomForestClassifier()",
        "random.seed(0)\nRandomForestClassifier()",
        "for _ in x:\n    random.random(), random.random()",
        "cars = pd.read_csv('a')\nfew = cars[cars.mpg > 9].sample(5)",
        "torch.rand(3)",
        "torch.nn.Linear(3, 1)",
        "class Net(torch.nn.Module):\n    def __init__(self):\n        self.layer = torch.nn.Conv2d(3, 1, 3)",
        "DataLoader(x, shuffle=True)",
        "keras.layers.Dense(3)",
        "tf.random.normal([3])",
        "scipy.stats.norm.rvs(size=3)",
        "SMOTE()",
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
        "np.random.seed(0)\nRandomForestClassifier()",
        "def draw():\n    return np.random.rand(3)\nnp.random.seed(0)\ndraw()",
        "cars = pd.read_csv('a')\ncars.sample(5)",
        "x.sample(1000)",
        "torch.manual_seed(0)\ntorch.rand(3)\nDataLoader(x, shuffle=True)\ntorch.nn.Linear(3, 1)",
        "DataLoader(x, shuffle=True, generator=rng)",
        "DataLoader(x)",
        "torch.nn.ReLU()",
        "keras.utils.set_random_seed(0)\nkeras.layers.Dense(3)\nnp.random.rand(3)",
        "tf.random.set_seed(0)\ntf.random.normal([3])",
        "seed_everything(0)\ntorch.rand(3)\nnp.random.rand(3)",
        "xgboost.XGBClassifier(subsample=0.5)",
        "lightgbm.LGBMClassifier(subsample=0.5, subsample_freq=1)",
        "catboost.CatBoostClassifier()",
        "BaggingClassifier(ExtraTreesRegressor(), random_state=0)",
        "smoke_test = x\nif smoke_test:\n    torch.rand(3)",
        "import os\nif 'CI' in os.environ:\n    torch.rand(3)",
        "smoke_test = x\nif not smoke_test:\n    x = 1\nelse:\n    torch.rand(3)",
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
        "k = 'sk-" + "a1B2" * 8 + "'",
        "k = 'sk-or-v1-" + "a1b2" * 8 + "'",
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
        "css = 'sk-estimator-doc-link-fitted-2'",
    ],
)
def test_what_only_looks_like_a_secret(tmp_path, source):
    assert rules(tmp_path, source) == []


def test_a_finding_is_silenced_where_it_is(tmp_path):
    assert rules(tmp_path, "a = '/mnt/a'  # nbship: ignore[absolute-path]\nb = '/mnt/b'") == ["absolute-path"]
    assert rules(tmp_path, "# nbship: ignore[absolute-path, hidden-state]\na = '/mnt/a'\ngone") == []
    assert rules(tmp_path, "gone  # nbship: ignore[absolute-path]") == ["hidden-state"]


def test_a_cell_that_is_no_python(tmp_path):
    (finding,) = findings(tmp_path, "x = 1\nx = = 2")
    assert (finding.rule, finding.line) == ("syntax", 2)
    assert rules(tmp_path, "%%bash\nls | wc", "%%html\n<b>") == []
    assert rules(tmp_path, "%%time\nx = 1\nx = = 2") == ["syntax"]


def test_a_notebook_in_another_language_is_not_read_as_python(tmp_path):
    path = write_cells(tmp_path / "a.ipynb", "x <- 1\ny")
    content = json.loads(path.read_text())
    for metadata in (
        {"kernelspec": {"name": "ir", "language": "R", "display_name": "R"}},
        {"language_info": {"name": "julia"}},
        {"jupytext": {"main_language": "R"}},
    ):
        path.write_text(json.dumps(content | {"metadata": metadata}))
        assert check_notebook(path) == []


LONG = [" + ".join(["'a'"] * terms) for terms in (600, 950, 3000)] + ["a" + ".a" * 600]


@pytest.mark.parametrize(
    "source", ["x = {}", "if {}:\n    x = 1", "open({})", "if x == 'colab' and {}:\n    pass", "del [{}][0]"]
)
@pytest.mark.parametrize("long", LONG, ids=len)
def test_very_long_expressions_do_not_stop_the_check(tmp_path, source, long):
    found = rules(tmp_path, "a = 1\nx = ''", source.format(long), parameters=STEP)
    assert set(found) <= {"unused-input", "undeclared-input"} | ({"syntax"} if len(long) > 10_000 else set())


def test_what_scikit_learn_leaves_to_chance_is_known():
    """Everything there with `random_state=None` is in the table, or needs none and is listed here."""
    settled = {
        *(
            "KBinsDiscretizer",
            "QuantileTransformer",
            "quantile_transform",
            "PartialDependenceDisplay",
        ),  # many rows
        *(
            "LocallyLinearEmbedding",
            "locally_linear_embedding",
            "SpectralEmbedding",
            "spectral_embedding",
        ),  # a start
        *("TheilSenRegressor", "TunedThresholdClassifierCV", "check_cv", "dict_learning"),
    }
    modules = [sklearn.cluster, sklearn.datasets, sklearn.feature_selection, sklearn.inspection]
    modules += [sklearn.metrics, sklearn.model_selection, sklearn.utils]
    found = {n: each for module in modules for n, each in vars(module).items() if inspect.isfunction(each)}
    found |= dict(all_estimators())
    signatures = {name: inspect.signature(each).parameters for name, each in found.items()}
    random = {n for n, p in signatures.items() if "random_state" in p and p["random_state"].default is None}
    assert random - settled - set(estimators.SKLEARN) == set()
