"""Randomness without a seed: what comes out differently each time cannot be compared or repeated.

XGBoost, LightGBM and CatBoost need none: unless they are told otherwise, their seed is always the same.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nbship.linting.branches import elsewhere
from nbship.linting.calls import argument, full_name, imports
from nbship.linting.cells import Cell, Source
from nbship.linting.estimators import RANDOM_ARGUMENT, is_random, passes_seed_on
from nbship.linting.finding import LintFinding


@dataclass(frozen=True)
class _Generator:
    """A generator that a whole process shares, so that one call settles what comes after it.

    Attributes:
        seed: The call.
        draws: The functions that draw from it.
    """

    seed: str
    draws: re.Pattern[str]


_LAYERS = (
    r"(Dense|Conv\w*|SeparableConv\w*|DepthwiseConv\w*|LSTM|GRU|SimpleRNN|RNN|Embedding|Dropout|\w+Dropout|Linear"
    r"|Bilinear|MultiheadAttention|MultiHeadAttention|Transformer\w*|\w+Cell|GaussianNoise)"
)
_GENERATORS = {
    "numpy": _Generator(
        "np.random.seed(seed)",
        re.compile(
            r"^numpy\.random\.(?!seed$|default_rng$|\w+_state$|[A-Z])\w+$|^scipy\.stats\.\w+(\.rvs|\.resample)$"
        ),
    ),
    "random": _Generator(
        "random.seed(seed)",
        re.compile(
            r"^random\.(random|rand(int|range|bytes)|choices?|shuffle|sample|uniform|triangular|gauss|\w+variate)$"
        ),
    ),
    "torch": _Generator(
        "torch.manual_seed(seed)",
        re.compile(
            r"^torch\.(rand(n|int|perm)?(_like)?|normal|bernoulli|multinomial|poisson)$"
            rf"|^torch\.nn\.{_LAYERS}$|^torch\.nn\.init\.(\w*(uniform|normal)_|orthogonal_)$"
            r"|^torch\.utils\.data\.(random_split|RandomSampler|WeightedRandomSampler|SubsetRandomSampler)$"
        ),
    ),
    "tensorflow": _Generator(
        "keras.utils.set_random_seed(seed)",
        re.compile(
            rf"^tensorflow\.random\.(?!set_seed$|Generator|experimental|stateless_)\w+$|^(tensorflow\.)?keras\.layers\.{_LAYERS}$"
        ),
    ),
}
# What seeds which generators; a helper that is named so seeds all.
_SEEDS = {
    "numpy.random.seed": {"numpy"},
    "random.seed": {"random"},
    "torch.manual_seed": {"torch"},
    "torch.random.manual_seed": {"torch"},
    "tensorflow.random.set_seed": {"tensorflow"},
}
_SEEDS_ALL = re.compile(
    r"(^|\.)(set|fix|init|reset)_?(all_?|random_?|global_?)*seeds?(_\w+)?$|(^|\.)(seed_(everything|all)|manual_seed)$"
)
_OWN_GENERATORS = {"numpy.random.default_rng", "numpy.random.RandomState", "random.Random"}
_TABLES = re.compile(
    r"^(pandas|polars|geopandas)\.(read_\w+|DataFrame|concat|merge|scan_\w+)$|(^|\.)load_dataset$"
)
_Place = tuple[int, int]


@dataclass(frozen=True)
class _Use:
    """A call and where it is.

    Attributes:
        name: Its full name.
        deferred: Whether it is in a function, and so runs later than what stands around it.
        settled: Whether it does not run in production, or gets its seed from the call that it is given to.
    """

    cell: Cell
    call: ast.Call
    name: str
    deferred: bool
    settled: bool

    @property
    def place(self) -> _Place:
        return self.cell.number, self.call.lineno

    @property
    def short_name(self) -> str:
        """Its name as messages show it; of a method, whatever it is called on."""
        function = self.call.func
        return function.attr if isinstance(function, ast.Attribute) else self.name.rpartition(".")[2]


def unseeded(notebook: Source) -> Iterator[LintFinding]:
    """Finds what gives another result each time; of a shared generator, the first that draws from it."""
    uses = sorted(_uses(notebook), key=lambda use: use.place)
    seeded: dict[str, _Place] = {}
    for use in uses:
        for generator in _seeds(use):
            seeded.setdefault(generator, use.place)
    told: set[str] = set()
    tables = _tables(notebook)
    for use in uses:
        generator = _drawn_from(use)
        if use.settled or any(
            keyword.arg is None for keyword in use.call.keywords
        ):  # **settings may hold a seed
            continue
        if generator:
            if generator not in told and not _is_seeded(use, generator, seeded):
                told.add(generator)
                message = f"{use.name}() without {_GENERATORS[generator].seed} above"
                yield LintFinding(notebook.name, use.cell.number, use.call.lineno, "unseeded", message)
            continue
        missing = _missing(use, tables)
        if missing and not (missing == RANDOM_ARGUMENT and _is_seeded(use, "numpy", seeded)):
            message = f"{use.short_name}() has no {missing}"
            yield LintFinding(notebook.name, use.cell.number, use.call.lineno, "unseeded", message)


def _uses(notebook: Source) -> Iterator[_Use]:
    origins = imports(notebook)
    for cell in notebook.code:
        later = {
            id(inner)
            for node in cell.nodes
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for inner in ast.walk(node)
        }
        settled = elsewhere(notebook, cell)
        calls = [(node, full_name(node.func, origins)) for node in cell.nodes if isinstance(node, ast.Call)]
        for node, name in calls:
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            settled |= {id(part) for part in given} if passes_seed_on(name) else set()
        for node, name in calls:
            yield _Use(cell, node, name, id(node) in later, id(node) in settled)


def _seeds(use: _Use) -> set[str]:
    """The generators that a call seeds."""
    if _SEEDS_ALL.search(use.name) and use.name not in _SEEDS:
        return set(_GENERATORS)
    given = [*use.call.args, *(keyword.value for keyword in use.call.keywords)]
    return _SEEDS.get(use.name, set()) if given and not _is_none(given[0]) else set()


def _is_seeded(use: _Use, generator: str, seeded: Mapping[str, _Place]) -> bool:
    """Whether a generator is seeded before a call; for one in a function, anywhere."""
    return generator in seeded and (use.deferred or seeded[generator] <= use.place)


def _drawn_from(use: _Use) -> str:
    """The shared generator that a call draws from; empty if it gets one of its own."""
    if any(keyword.arg in ("generator", "seed", RANDOM_ARGUMENT) for keyword in use.call.keywords):
        return ""
    if use.name == "torch.utils.data.DataLoader":
        shuffled = argument(use.call, 2, "shuffle")
        return "torch" if isinstance(shuffled, ast.Constant) and shuffled.value is True else ""
    return next((name for name, each in _GENERATORS.items() if each.draws.match(use.name)), "")


def _missing(use: _Use, tables: set[str]) -> str:
    """The argument that a call lacks to give the same each time; empty if it lacks none."""
    if use.name in _OWN_GENERATORS:
        seed = argument(use.call, 0, "seed", "x")
        return "seed" if seed is None or _is_none(seed) else ""
    given = {keyword.arg: keyword.value for keyword in use.call.keywords if keyword.arg}
    if RANDOM_ARGUMENT in given and not _is_none(given[RANDOM_ARGUMENT]):
        return ""
    function = use.call.func
    if isinstance(function, ast.Attribute) and function.attr == "sample":
        rows = "frac" in given or (_root(function.value) in tables and bool(use.call.args or "n" in given))
        shown = any(isinstance(n, ast.Expr) and n.value is use.call for n in use.cell.tree.body)
        return RANDOM_ARGUMENT if rows and not shown else ""
    return RANDOM_ARGUMENT if is_random(use.name, given) else ""


def _tables(notebook: Source) -> set[str]:
    """The variables that hold a data frame, as far as the code says so."""
    origins = imports(notebook)
    found: set[str] = set()
    for node in (n for cell in notebook.code for n in cell.nodes if isinstance(n, ast.Assign)):
        made = node.value
        known = isinstance(made, ast.Call) and _TABLES.search(full_name(made.func, origins))
        if known or _root(made) in found:
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def _root(node: ast.expr) -> str:
    """The variable that a chain of methods and columns begins with: `cars` of `cars[cars.mpg > 9].copy()`."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
