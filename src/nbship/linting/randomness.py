"""Randomness without a seed: what comes out differently each time cannot be compared or repeated."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping

from nbship.linting.cells import Source
from nbship.linting.files import dotted
from nbship.linting.finding import Finding

Arguments = Mapping[str, ast.expr]


def _constant(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else ...


def _always(_: Arguments) -> bool:
    return True


def _is(name: str, *values: object) -> Callable[[Arguments], bool]:
    """Random only if an argument is written as one of some values."""
    return lambda given: _constant(given.get(name)) in values


def _unless(name: str, value: object) -> Callable[[Arguments], bool]:
    """Random unless an argument is written as a value."""
    return lambda given: _constant(given.get(name)) != value


_ALWAYS = """
    AdaBoostClassifier AdaBoostRegressor BaggingClassifier BaggingRegressor BayesianGaussianMixture
    BernoulliRBM DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier ExtraTreeRegressor
    ExtraTreesClassifier ExtraTreesRegressor FastICA GaussianMixture GaussianRandomProjection
    GradientBoostingClassifier GradientBoostingRegressor GroupShuffleSplit HalvingGridSearchCV
    HalvingRandomSearchCV IsolationForest IterativeImputer KMeans LatentDirichletAllocation
    MLPClassifier MLPRegressor MiniBatchKMeans Nystroem RBFSampler RandomForestClassifier
    RandomForestRegressor RandomTreesEmbedding RandomizedSearchCV RepeatedKFold
    RepeatedStratifiedKFold SGDClassifier SGDRegressor ShuffleSplit SparseRandomProjection
    StratifiedShuffleSplit TSNE make_blobs make_circles make_classification make_friedman1
    make_moons make_multilabel_classification make_regression make_s_curve permutation_importance
    permutation_test_score resample shuffle
"""
# What of scikit-learn takes `random_state`, and when it matters; what is not here has no chance in it.
_RANDOM: Mapping[str, Callable[[Arguments], bool]] = {
    **dict.fromkeys(_ALWAYS.split(), _always),
    **dict.fromkeys(["KFold", "StratifiedKFold", "StratifiedGroupKFold"], _is("shuffle", True)),
    **dict.fromkeys(["SVC", "NuSVC"], _is("probability", True)),
    **dict.fromkeys(["LinearSVC", "LinearSVR"], _is("dual", True)),
    **dict.fromkeys(
        ["LogisticRegression", "LogisticRegressionCV"], _is("solver", "liblinear", "sag", "saga")
    ),
    **dict.fromkeys(["Ridge", "RidgeClassifier"], _is("solver", "sag", "saga")),
    **dict.fromkeys(["Lasso", "ElasticNet", "LassoCV", "ElasticNetCV"], _is("selection", "random")),
    **dict.fromkeys(
        ["HistGradientBoostingClassifier", "HistGradientBoostingRegressor"], _unless("early_stopping", False)
    ),
    "PCA": _is("svd_solver", "randomized", "arpack"),
    "TruncatedSVD": _unless("algorithm", "arpack"),
    "train_test_split": _unless("shuffle", False),
}
# Functions of the shared generators, which one call of `seed` above settles.
_NUMPY = re.compile(
    r"^(np|numpy)\.random\.(?!seed$|default_rng$|RandomState$|Generator$|get_state$|set_state$|[A-Z])\w+$"
)
_STANDARD = re.compile(
    r"^random\.(random|randint|randrange|choice|choices|shuffle|sample|uniform|gauss|normalvariate|betavariate)$"
)
_TORCH = re.compile(r"^torch\.(rand|randn|randint|randperm|normal|bernoulli|multinomial)$")
_GENERATORS = {"default_rng", "RandomState"}


def unseeded(notebook: Source) -> Iterator[Finding]:
    """Finds what gives another result each time."""
    origins = _imports(notebook)
    calls = [
        (cell, node, _full_name(node.func, origins))
        for cell in notebook.code
        for node in ast.walk(cell.tree)
        if isinstance(node, ast.Call)
    ]
    seeded = {name.rpartition(".")[0] for _, call, name in calls if _seeds(name, call)}
    for cell, call, name in calls:
        reason = _reason(call, name, seeded)
        if reason:
            yield Finding(notebook.name, cell.number, call.lineno, "unseeded", reason)


def _seeds(name: str, call: ast.Call) -> bool:
    return name in ("numpy.random.seed", "random.seed", "torch.manual_seed") and bool(
        call.args or call.keywords
    )


def _reason(call: ast.Call, name: str, seeded: set[str]) -> str:
    """Why a call is random without a seed; empty if it is not."""
    last = name.rpartition(".")[2]
    if any(keyword.arg is None for keyword in call.keywords):  # **settings may hold a seed
        return ""
    if (name.startswith("numpy.random.") and last in _GENERATORS) or name == "random.Random":
        return f"{last}() has no seed" if not _given(call, "seed") else ""
    for pattern, module in ((_NUMPY, "numpy.random"), (_STANDARD, "random"), (_TORCH, "torch")):
        if pattern.match(name):
            return "" if module in seeded else f"{name}() without a seed"
    arguments = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    if (
        last == "sample"
        and isinstance(call.func, ast.Attribute)
        and not name.startswith(("random.", "numpy."))
    ):
        rows = "frac" in arguments or "n" in arguments  # of a data frame
        return "sample() has no random_state" if rows and not _settled(arguments) else ""
    if (
        name.startswith("sklearn.")
        and last in _RANDOM
        and _RANDOM[last](arguments)
        and not _settled(arguments)
    ):
        return f"{last}() has no random_state" if "random.numpy" not in seeded else ""
    return ""


def _given(call: ast.Call, keyword: str) -> bool:
    values = [*call.args[:1], *(k.value for k in call.keywords if k.arg == keyword)]
    return bool(values) and not _is_none(values[0])


def _settled(arguments: Arguments) -> bool:
    given = arguments.get("random_state")
    return given is not None and not _is_none(given)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _imports(notebook: Source) -> dict[str, str]:
    """What each imported name stands for: `RF` for `sklearn.ensemble.RandomForestClassifier`."""
    origins: dict[str, str] = {}
    for cell in notebook.code:
        for node in ast.walk(cell.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    origins[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                origins |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return origins


def _full_name(function: ast.expr, origins: Mapping[str, str]) -> str:
    first, dot, rest = dotted(function).partition(".")
    return f"{origins[first]}{dot}{rest}" if first in origins else f"{first}{dot}{rest}"
