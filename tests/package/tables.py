"""Small tables of every kind, with a model for each: for tests that ask whatever can be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)

from nbship import package
from nbship.config import ColumnSettings
from tests.package.packages import ORIGIN

Fitted = tuple[Any, pd.DataFrame]
_ROWS = 240
NASTY = [
    'a "quoted" name',
    "back\\slash",
    "line\nbreak\tand tab",
    "\x01\x1f",
    "label",
    "é 日本 🚀",
    "{x}$(Y)<b>",
]


def _columns() -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "n": random.normal(size=_ROWS).round(3),
            "gaps": random.exponential(size=_ROWS).round(3),
            "whole": random.integers(1, 9, _ROWS),
            "flag": random.random(_ROWS) < 0.3,
            "color": random.choice(["red", "green", "blue"], _ROWS),
            "town": [f"town {i}" for i in random.integers(0, 90, _ROWS)],
            "text": [" ".join(random.choice(["good", "bad", "ugly", "plot"], 4)) for _ in range(_ROWS)],
            "day": pd.date_range("2020-01-01", periods=_ROWS).strftime("%Y-%m-%d"),
            "id": random.integers(2**55, 2**60, _ROWS),
        }
    )
    frame.loc[::9, "gaps"] = np.nan
    frame.loc[::11, "color"] = np.nan
    frame["y"] = frame["n"] + frame["whole"] + (frame["color"] == "red") + random.normal(0, 0.1, _ROWS)
    frame["kind"] = np.where(frame["y"] > 5, "yes", "no")
    return frame


def _one_hot(**settings: Any) -> OneHotEncoder:
    return OneHotEncoder(**({"handle_unknown": "ignore", "sparse_output": False} | settings))


def _regressor() -> Any:
    return HistGradientBoostingRegressor(max_iter=8, random_state=0)


def _classifier() -> Any:
    return HistGradientBoostingClassifier(max_iter=8, random_state=0)


def _words() -> Fitted:
    """As `nbship new` wrote it: two columns of words, one of them with many."""
    words = _one_hot(max_categories=20, handle_unknown="infrequent_if_exist")
    features = make_column_transformer(("passthrough", ["n", "gaps"]), (words, ["town", "color"]))
    return make_pipeline(features, _regressor()), _columns()[["n", "gaps", "town", "color", "y"]]


def _vote() -> Fitted:
    line = make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), ["n", "gaps", "whole"]),
            (make_pipeline(TargetEncoder(random_state=0), StandardScaler()), ["town"]),
            (make_pipeline(SimpleImputer(strategy="most_frequent"), _one_hot()), ["color"]),
            (_one_hot(), ["flag"]),
        ),
        LogisticRegression(),
    )
    trees = make_pipeline(
        make_column_transformer(
            ("passthrough", ["n", "gaps", "whole", "flag"]),
            (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["town", "color"]),
        ),
        _classifier(),
    )
    vote = VotingClassifier([("line", line), ("trees", trees)], voting="soft")
    return vote, _columns()[["n", "gaps", "whole", "flag", "town", "color", "kind"]]


def _texts() -> Fitted:
    features = make_column_transformer((TfidfVectorizer(), "text"), ("passthrough", ["n"]))
    return make_pipeline(features, LogisticRegression()), _columns()[["text", "n", "kind"]]


def _hashed() -> Fitted:
    ravel = make_pipeline(FunctionTransformer(np.ravel), HashingVectorizer(n_features=32))
    features = make_column_transformer((ravel, ["text"]), ("passthrough", ["n"]), sparse_threshold=0)
    return make_pipeline(features, _classifier()), _columns()[["text", "n", "kind"]]


def _series() -> Fitted:
    return make_pipeline(TfidfVectorizer(), LogisticRegression()), _columns()[["text", "kind"]]


def _dates() -> Fitted:
    read = FunctionTransformer(pd.DataFrame.apply, kw_args={"func": pd.to_datetime})
    seconds = FunctionTransformer(pd.DataFrame.astype, kw_args={"dtype": "int64"})
    features = make_column_transformer((make_pipeline(read, seconds), ["day"]), ("passthrough", ["n"]))
    return make_pipeline(features, _regressor()), _columns()[["day", "n", "y"]]


def _refusing() -> Fitted:
    """Refuses what it has not seen, and what has no logarithm."""
    logarithm = make_pipeline(FunctionTransformer(np.log), StandardScaler())
    words = OneHotEncoder(handle_unknown="error", sparse_output=False)
    features = make_column_transformer((logarithm, ["whole"]), (words, ["town", "color"]))
    return make_pipeline(features, Ridge()), _columns()[["whole", "town", "color", "y"]]


def _around() -> Fitted:
    splines = make_pipeline(SimpleImputer(), SplineTransformer(), Ridge())
    target = TransformedTargetRegressor(splines, func=np.log, inverse_func=np.exp)
    return target, _columns()[["n", "gaps", "whole", "y"]].assign(y=lambda rows: rows["y"].clip(0.1))


def _identifiers() -> Fitted:
    return RandomForestRegressor(5, random_state=0), _columns()[["id", "n", "flag", "y"]]


def _neighbours() -> Fitted:
    return make_pipeline(StandardScaler(), KNeighborsClassifier()), _columns()[["n", "whole", "flag", "kind"]]


def _nasty() -> Fitted:
    """Names of columns, classes and the target that need care wherever they are written."""
    names = dict(zip(["n", "gaps", "whole", "flag", "color", "town", "kind"], NASTY, strict=True))
    rows = _columns()[list(names)].rename(columns=names)
    target = NASTY[-1]
    rows[target] = np.array(['say "no"', "ye\\s\n"])[(rows[target] == "yes").astype(int)]
    features = make_column_transformer(("passthrough", NASTY[:4]), (_one_hot(), NASTY[4:6]))
    return make_pipeline(features, _classifier()), rows


def _empty() -> Fitted:
    """With a column that never had a value."""
    rows = _columns()[["n", "whole", "y"]].assign(empty=np.nan)[["n", "whole", "empty", "y"]]
    boosted = make_pipeline(SimpleImputer(keep_empty_features=True), _regressor())
    return VotingRegressor([("trees", boosted), ("same", boosted)]), rows


def _clusters() -> Fitted:
    return make_pipeline(StandardScaler(), KMeans(3, random_state=0)), _columns()[["n", "whole"]]


def _anomalies() -> Fitted:
    return IsolationForest(n_estimators=5, random_state=0), _columns()[["n", "whole"]]


TABLES: Mapping[str, Callable[[], Fitted]] = {
    "words": _words,
    "vote": _vote,
    "texts": _texts,
    "hashed": _hashed,
    "series": _series,
    "dates": _dates,
    "refusing": _refusing,
    "around": _around,
    "identifiers": _identifiers,
    "neighbours": _neighbours,
    "nasty": _nasty,
    "empty": _empty,
    "clusters": _clusters,
    "anomalies": _anomalies,
}


def publish(folder: Path, name: str) -> None:
    """Fits the model of a table, and packages it."""
    estimator, rows = TABLES[name]()
    target = "found" if name in ("clusters", "anomalies") else str(rows.columns[-1])
    inputs = rows.drop(columns=target, errors="ignore")
    truth = rows.get(target)
    estimator.fit(inputs["text"] if name == "series" else inputs, truth)
    joblib.dump(estimator, folder / "fitted.joblib")
    rows.to_csv(folder / "rows.csv", index=False)
    paths = {"model": folder / "fitted.joblib", "reference": folder / "rows.csv"}
    about: dict[str, Any] = {"target": target, "origin": ORIGIN, "metrics": {}, "verdict": None}
    if "color" in inputs:
        about["columns"] = {"color": ColumnSettings(aliases={"0": "red", "unseen": "blue"})}
    package.build(folder, name="m", **paths, **about)
