"""Made-up models with a reference sample, and records of what they were asked, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from nbship.monitoring.examination import Examination, examine
from nbship.monitoring.records import Records
from nbship.package import Origin, Package
from nbship.package.reference import as_json_has_it
from nbship.package.sample import Answers, ReferenceSample
from nbship.package.schema import Column, Interval, Output, describe_column

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
VERSION = "v1.0.0"


def cars(count: int, seed: int = 0, heavier: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "weight": random.normal(3000 + heavier, 500, count),
            "doors": random.integers(2, 6, count),
            "origin": random.choice(["usa", "japan", "europe"], count, p=[0.6, 0.25, 0.15]),
        }
    )


def predicted(rows: pd.DataFrame) -> np.ndarray:
    return 50 - rows["weight"].to_numpy(dtype=float) / 140


def described(rows: pd.DataFrame, kind: str = "regression") -> Package:
    typed = as_json_has_it(rows)
    output = Output(
        kind="regression" if kind == "regression" else "classification",
        target="mpg",
        classes=[] if kind == "regression" else ["no", "yes"],
        probabilities=kind != "regression",
        interval=Interval(low=-3.3, high=3.3, coverage=0.9) if kind == "regression" else None,
        reference=Column(name="mpg", type="number"),
    )
    return Package(
        name="cars",
        sha256="",
        origin=Origin(run="r", started=NOW),
        inputs=[describe_column(typed[name]) for name in typed],
        output=output,
        rows=len(rows),
        metrics={},
        libraries={},
        golden=[],
    )


def reference(count: int = 400, seed: int = 1000, error: float = 2.0) -> tuple[Package, ReferenceSample]:
    rows, held_out = cars(count, seed), cars(150, seed + 1)
    answers = predicted(held_out)
    truth = answers + np.random.default_rng(seed).normal(0, error, len(answers))
    given = Answers(answers.tolist(), [], truth.tolist(), (answers - 3.3).tolist(), (answers + 3.3).tolist())
    return described(rows), ReferenceSample(rows.to_dict("list"), given, "held out")


def records(
    inputs: pd.DataFrame,
    truth: Sequence[Any] | None = None,
    predictions: Sequence[Any] | None = None,
    begin: datetime = NOW - timedelta(days=6),
    version: str = VERSION,
    **more: Any,
) -> Records:
    index = pd.Index([f"{version}-{begin:%d}-{place:05d}" for place in range(len(inputs))], name="id")
    times = pd.to_datetime([begin + timedelta(seconds=place) for place in range(len(inputs))], utc=True)
    shown = list(predicted(inputs)) if predictions is None else list(predictions)
    numeric = all(isinstance(each, float) for each in shown)
    low, high = (([each + way * 3.3 for each in shown] if numeric else np.nan) for way in (-1, 1))
    columns = {
        "time": times,
        "version": version,
        "prediction": shown,
        "low": low,
        "high": high,
        "probabilities": None,
        "flags": None,
    }
    answers = pd.DataFrame(columns | more, index=index)
    labels = pd.DataFrame(
        {"value": list(truth or []), "arrived": times[: len(truth or [])]}, index=index[: len(truth or [])]
    )
    return Records(inputs.set_axis(index), answers, labels)


def joined(*parts: Records) -> Records:
    return Records(
        *(pd.concat([getattr(each, of) for each in parts]) for of in ("inputs", "answers", "labels"))
    )


def examined(kept: Records, days: int = 7, **more: Any) -> Examination:
    package, sample = reference()
    given: dict[str, Any] = {"version": VERSION, "reference": VERSION} | more
    return examine(package, given.pop("sample", sample), kept, NOW - timedelta(days=days), NOW, **given)
