"""Dates in a compiled model: read and taken apart as pandas does."""

from operator import attrgetter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer

from nbship.package import converters

PARTS = ("year", "month", "dayofyear", "dayofweek", "hour", "minute")
FORMATS = ("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y %H:%M", "%Y-%m-%dT%H:%M:%S")


def calendar(format_, parts=PARTS, **options):
    options = {"errors": "coerce", "format": format_, **options}
    read = FunctionTransformer(pd.DataFrame.apply, kw_args={"func": pd.to_datetime, **options})
    taken = [FunctionTransformer(pd.DataFrame.apply, kw_args={"func": attrgetter(f"dt.{p}")}) for p in parts]
    return make_pipeline(read, make_union(*taken))


def session(transformer, columns):
    import onnxruntime
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import StringTensorType

    onnx = convert_sklearn(
        transformer.fit(pd.DataFrame({key: ["2024-01-01"] for key in columns})),
        initial_types=[(name, StringTensorType([None, 1])) for name in columns],
        custom_conversion_functions=converters.conversions(),
        custom_shape_calculators=converters.shapes(),
    )
    return onnxruntime.InferenceSession(onnx.SerializeToString())


def both(transformer, ready, table):
    feed = {name: table[[name]].to_numpy(object) for name in table}
    return ready.run(None, feed)[0], np.asarray(transformer.transform(table), dtype="float32")


@pytest.fixture(scope="module")
def compiled():
    made = {format_: calendar(format_) for format_ in FORMATS}
    return {format_: (each, session(each, ["a", "b"])) for format_, each in made.items()}


ODD = ["", "no date", "2024-02-30", "29.02.2023", "1677-09-21", "1677-09-22", "2262-04-10", "2262-04-12"]
ODD += [
    "9999-12-31",
    "0000-01-01",
    "2024-2-3",
    " 2024-02-03",
    "2024-02-03 ",
    "3.2.2024",
    "ü",
    "2024-02-03T10:11:60",
]


@pytest.mark.parametrize("format_", FORMATS)
@settings(deadline=None, max_examples=40)
@given(
    times=st.lists(
        st.datetimes(pd.Timestamp("1677-09-22"), pd.Timestamp("2262-04-10")), min_size=1, max_size=20
    )
)
def test_it_answers_as_pandas_does(compiled, format_, times):
    texts = [time.strftime(format_).rjust(10, "0") for time in times]
    table = pd.DataFrame({"a": [*texts, *ODD], "b": [*ODD, *texts]})
    found, expected = both(*compiled[format_], table)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "transformer",
    [
        calendar("mixed"),
        calendar("%d %b %Y"),
        calendar("%Y-%m-%d", errors="raise"),
        calendar("%Y-%m-%d", utc=True),
        calendar("%Y-%m-%d", parts=["tz"]),
    ],
)
def test_what_is_not_compiled_says_so(transformer):
    with pytest.raises(NotImplementedError, match="not compiled"):
        session(transformer, ["a"])
