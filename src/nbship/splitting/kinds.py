"""What a variable is, and how it goes from one step to the next: as a file of some format, or as a value.

What it is comes from running the notebook once, or is inferred from the code that makes it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbship.linting.calls import full_name
from nbship.splitting.statements import Statement, literal, root_name

RESULTS = ("bool", "float", "int", "str")
UNKNOWN = "unknown"
OTHER = "other"
AGAIN = "again"
# By kind: the suffix of its file and its type as an artifact.
FORMATS: Mapping[str, tuple[str, str]] = {
    "table": (".csv", "Dataset"),
    "series": (".csv", "Dataset"),
    "array": (".npz", "Dataset"),
    "index": (".npz", "Dataset"),
    "sparse": (".npz", "Dataset"),
    "model": (".joblib", "Model"),
    "object": (".joblib", "Artifact"),
    "json": (".json", "Artifact"),
    UNKNOWN: (".joblib", "Artifact"),
}
KINDS = (*FORMATS, *RESULTS, AGAIN)
_SAME = re.compile(
    r"copy|drop\w*|fillna|ffill|bfill|reset_index|set_index|head|tail|sample|assign|astype|query|rename|replace"
    r"|sort_\w+|merge|join|round|clip|interpolate|reindex|isin|where|mask|to_frame|add_\w+|nlargest|nsmallest"
)
_TO_ARRAY = re.compile(r"to_numpy|predict\w*|fit_predict|decision_function|ravel|reshape")
_TRANSFORMS = re.compile(r"transform|fit_transform")
_DENSE = re.compile(r"Scaler$|PCA$|SimpleImputer$|Normalizer$|TSNE$|OrdinalEncoder$|LabelEncoder$|UMAP$")
_NUMBERS = re.compile(r"sklearn\.metrics\.\w*(score|error|loss|auc)|len|float|int|round|sum|min|max|abs")
_MODELS = re.compile(
    r"(sklearn|xgboost|lightgbm|catboost|imblearn)\.(.*\.)?([A-Z]\w+|make_pipeline|make_column_transformer)"
)
_OTHERS = re.compile(
    r"logging\.getLogger|open|requests\.Session|(\w+\.)*(connect|create_engine|MongoClient|Lock|Thread|Session)"
)
_TABLES = re.compile(
    r"pandas\.(read_\w+|DataFrame|concat|merge|get_dummies|pivot_table|crosstab)|seaborn\.load_dataset"
)


@dataclass(frozen=True)
class Fact:
    """What a variable was after a cell had run.

    Attributes:
        kind: One of `FORMATS` or `RESULTS`, or `other`.
        type: Its class, with the module.
        size: Bytes, about.
        shape: Rows and columns, in words.
        options: How its file keeps it as it is: `index`, `dtype`, `dates`, `texts`, `nameless`, `make`.
        why: Why it is of no kind that can be stored.
    """

    kind: str
    type: str = ""
    size: int = 0
    shape: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""


def infer(name: str, statements: Sequence[Statement], origins: Mapping[str, str], depth: int = 8) -> str:
    """Returns the kind of a variable as its code tells it; `unknown` if that takes running it.

    Args:
        name: The variable.
        statements: Those before the place where it is asked for.
        origins: What imported names stand for.
        depth: How many assignments to follow back.
    """
    made = next((s for s in reversed(statements) if name in s.binds), None)
    if made is None or not depth:
        return UNKNOWN
    before = [s for s in statements if s.position < made.position]

    def kind_of(node: ast.expr) -> str:
        return _kind(node, before, origins, depth - 1)

    if made.value is not None:
        kind = kind_of(made.value)
        filled = kind == "json" and any(name in s.changes for s in statements if s.position > made.position)
        return UNKNOWN if filled else kind  # with nobody knows what
    node = made.node
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Tuple):
        names = [getattr(target, "id", "") for target in node.targets[0].elts]
        place = names.index(name) if name in names else 0
        if isinstance(node.value, ast.Tuple) and len(node.value.elts) == len(names):
            return kind_of(node.value.elts[place])
        called = full_name(node.value.func, origins) if isinstance(node.value, ast.Call) else ""
        if called == "sklearn.model_selection.train_test_split" and isinstance(node.value, ast.Call):
            given = node.value.args
            return kind_of(given[place // 2]) if place // 2 < len(given) else UNKNOWN
    if isinstance(node, ast.AugAssign):
        return infer(name, before, origins, depth - 1)
    return UNKNOWN


def is_made_of_models(s: Statement, origins: Mapping[str, str]) -> bool:
    """Whether a statement gives a name to an estimator that is not fitted, or to several of them."""
    if not isinstance(s.value, ast.Call | ast.Dict | ast.List):
        return False
    inner = [part for part in ast.walk(s.value) if isinstance(part, ast.Call)]
    own = isinstance(s.value, ast.Call) and _MODELS.fullmatch(full_name(s.value.func, origins))
    fitted = any(isinstance(part.func, ast.Attribute) and part.func.attr.startswith("fit") for part in inner)
    several = not isinstance(s.value, ast.Call) and any(
        _MODELS.fullmatch(full_name(part.func, origins)) for part in inner
    )
    return bool(own or several) and not fitted


def is_handle(s: Statement, origins: Mapping[str, str]) -> bool:
    """Whether a statement makes something that is made again in each step: a logger, a connection."""
    return s.value is not None and _kind(s.value, (), origins, 1) == OTHER and s.reads <= origins.keys()


def _kind(node: ast.expr, before: Sequence[Statement], origins: Mapping[str, str], depth: int) -> str:
    value = literal(node)
    if value is not ...:
        kind = type(value).__name__
        return kind if kind in RESULTS else "json" if kind in ("list", "dict") else UNKNOWN
    if isinstance(node, ast.Name):
        return infer(node.id, before, origins, depth)
    if isinstance(node, ast.JoinedStr):
        return "str"
    if isinstance(node, ast.GeneratorExp):
        return OTHER
    if isinstance(node, ast.Call):
        return _kind_of_call(node, before, origins, depth)
    if isinstance(node, ast.Attribute):
        return _kind_of_attribute(node, before, origins, depth)
    if isinstance(node, ast.Subscript):
        return _kind_of_part(node, before, origins, depth)
    if isinstance(node, ast.BinOp):
        kinds = [_kind(side, before, origins, depth) for side in (node.left, node.right)]
        return next((k for k in ("table", "series", "array") if k in kinds), UNKNOWN)
    return UNKNOWN


def _kind_of_attribute(
    node: ast.Attribute, before: Sequence[Statement], origins: Mapping[str, str], depth: int
) -> str:
    known = {"values": "array", "columns": "index", "best_estimator_": "model"}
    if node.attr in known:
        return known[node.attr]
    whole = _kind(node.value, before, origins, depth)
    column = whole == "table" and node.attr not in ("T", "index", "dtypes", "size", "empty", "loc", "iloc")
    return "series" if column else whole if node.attr == "T" else UNKNOWN


# Calls whose result their names tell.
_CALLS = (
    (_TABLES, "table"),
    (re.compile(r"pandas\.Series"), "series"),
    (re.compile(r"len|int"), "int"),
    (_NUMBERS, "float"),
    (re.compile(r"str"), "str"),
    (_OTHERS, OTHER),
    (_MODELS, "model"),
    (re.compile(r"numpy\.(?!(mean|sum|std|median|max|min|percentile)$).*"), "array"),
)
_METHODS = ((_TO_ARRAY, "array"), (re.compile(r"score"), "float"), (re.compile(r"tolist"), "json"))


def _kind_of_call(node: ast.Call, before: Sequence[Statement], origins: Mapping[str, str], depth: int) -> str:
    name = full_name(node.func, origins)
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if owner is not None and method == "fit":
        return _kind(owner, before, origins, depth)
    known = next((kind for pattern, kind in _CALLS if pattern.fullmatch(name)), "")
    if known or owner is None or root_name(owner) in origins:
        return known or UNKNOWN
    if _TRANSFORMS.fullmatch(method):  # what other transforms give may be sparse, or a table
        made = next((s for s in reversed(before) if root_name(owner) in s.binds), None)
        maker = full_name(made.value.func, origins) if made and isinstance(made.value, ast.Call) else ""
        return "array" if _DENSE.search(maker) else UNKNOWN
    known = next((kind for pattern, kind in _METHODS if pattern.fullmatch(method)), "")
    return known or (_kind(owner, before, origins, depth) if _SAME.fullmatch(method) else UNKNOWN)


def _kind_of_part(
    node: ast.Subscript, before: Sequence[Statement], origins: Mapping[str, str], depth: int
) -> str:
    at_place = isinstance(node.value, ast.Attribute) and node.value.attr in ("loc", "iloc")
    whole = _kind(node.value.value if at_place else node.value, before, origins, depth)  # type: ignore[attr-defined]
    if whole != "table":
        return whole if whole in ("array", "series") and isinstance(node.slice, ast.Slice) else UNKNOWN
    index = node.slice
    if at_place and isinstance(index, ast.Tuple) and len(index.elts) == 2:
        rows, columns = index.elts
        if isinstance(rows, ast.Constant):
            return UNKNOWN
        one = isinstance(columns, ast.Constant | ast.UnaryOp)
        return "series" if one else "table"
    if at_place:
        return UNKNOWN if isinstance(index, ast.Constant) else "table"
    kind = infer(index.id, before, origins, depth) if isinstance(index, ast.Name) else ""
    if isinstance(index, ast.Constant) or kind == "str":
        return "series"
    plain = isinstance(index, ast.List | ast.Compare | ast.BinOp | ast.UnaryOp | ast.Call | ast.ListComp)
    return "table" if plain or kind in ("json", "index", "series") else UNKNOWN


def file_name(name: str, kind: str, parquet: bool) -> str:
    """Returns what the file of a variable is called."""
    suffix = FORMATS[kind][0]
    return f"{name}{'.parquet' if parquet and kind in ('table', 'series') else suffix}"


def save(name: str, kind: str, path: str, options: Mapping[str, Any], parquet: bool) -> str:
    """Returns the line that writes a variable to a file.

    Args:
        name: The variable.
        kind: One of `FORMATS`.
        path: The variable that holds the path.
        options: Those of its `Fact`.
        parquet: Whether tables are written as Parquet.
    """
    if kind in ("table", "series"):
        column = "'value'" if options.get("nameless") else ""
        frame = f"{name}.to_frame({column})" if kind == "series" else name
        index = "" if options.get("index", True) else "index=False"
        return (
            f"{frame}.to_parquet({path})"
            if parquet
            else f"{frame}.to_csv({', '.join(filter(None, [path, index]))})"
        )
    if kind in ("array", "index"):
        array = f"np.asarray({name})" if kind == "index" else name
        return f"np.savez({path}, value={array}{'.astype(str)' if options.get('texts') else ''})"
    if kind == "sparse":
        return f"sparse.save_npz({path}, {name})"
    if kind == "json":
        plain = f"list({name})" if options.get("make") == "set" else name
        return f"Path({path}).write_text(json.dumps({plain}, default=lambda value: value.item()))"
    return f"joblib.dump({name}, {path})"


def load(name: str, kind: str, path: str, options: Mapping[str, Any], parquet: bool) -> str:
    """Returns the line that reads a variable from its file; see `save` for the arguments."""
    if kind in ("table", "series"):
        last = (
            ".iloc[:, 0]" + (".rename(None)" if options.get("nameless") else "") if kind == "series" else ""
        )
        if parquet:
            return f"{name} = pd.read_parquet({path}){last}"
        arguments = [
            path,
            *(["index_col=0"] if options.get("index", True) else []),
            'float_precision="round_trip"',
        ]
        if options.get("dtype"):
            arguments.append(f"dtype={dict(options['dtype'])!r}")
        if options.get("dates"):
            arguments.append(f"parse_dates={list(options['dates'])!r}")
        last += f".asfreq({options['freq']!r})" if options.get("freq") else ""
        if options.get("texts", True):  # "NA" and "None" are texts, and nothing is a gap
            arguments.append("keep_default_na=False, na_values=['']")
        return f"{name} = pd.read_csv({', '.join(arguments)}){last}"
    if kind in ("array", "index"):
        array = f'np.load({path})["value"]' + (".astype(object)" if options.get("texts") else "")
        return f"{name} = {f'pd.Index({array})' if kind == 'index' else array}"
    if kind == "sparse":
        return f"{name} = sparse.load_npz({path})"
    if kind == "json":
        value = f"json.loads(Path({path}).read_text())"
        make = options.get("make")
        return f"{name} = {make}({value})" if make else f"{name} = {value}"
    return f"{name} = joblib.load({path})"


_NEEDED = {
    "pd.": "import pandas as pd",
    "to_csv": "",
    "np.": "import numpy as np",
    "joblib.": "import joblib",
    "json.": "import json",
    "sparse.": "from scipy import sparse",
    "Path(": "from pathlib import Path",
}


def needed_imports(lines: Sequence[str]) -> list[str]:
    """Returns the imports that lines of `save` and `load` need."""
    text = "\n".join(lines)
    return [
        line for mark, line in _NEEDED.items() if line and re.search(rf"(?<![\w.]){re.escape(mark)}", text)
    ]
