"""The one table of column types: whoever reads, checks, describes or shows a value goes by it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import jsonschema
import msgspec
import numpy as np
import pytest

from nbship.package.records import check
from nbship.package.schema import Column
from nbship.package.types import COLUMN_TYPES, TypeName
from nbship.serving import content, openapi, protocol
from nbship.serving.errors import RequestError, error_content
from nbship.serving.model import PackagedModel
from nbship.serving.reader import make_reader
from nbship.serving.settings import ServerSettings
from tests.package.packages import make_images

PAGE = Path(__file__).parents[2] / "kubernetes/client/page/columns.js"
VALUES: dict[str, list[Any]] = {
    "integer": [3, 3.0],
    "number": [3, 2.5],
    "boolean": [True],
    "category": ["a"],
    "text": ["a text"],
    "array": [[1.5, 2]],
}


def column(name: str) -> Column:
    more: dict[str, Any] = {"category": {"categories": {"a": 1}}, "array": {"shape": (2,)}}.get(name, {})
    return Column(name="x", type=name, minimum=1, maximum=9, **more)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> PackagedModel:
    folder = tmp_path_factory.mktemp("types") / "images"
    make_images(folder)
    model = PackagedModel(ServerSettings("images", folder))
    model.load()
    return model


def test_every_type_is_in_the_table_and_on_the_page() -> None:
    assert list(COLUMN_TYPES) == list(get_args(TypeName)) == list(VALUES)
    (table,) = re.findall(r"const TYPES = \{\n(.*?)\n\};", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert re.findall(r"^  (\w+): \{", table, re.MULTILINE) == list(COLUMN_TYPES)
    whole = [name for name, kind in COLUMN_TYPES.items() if kind.whole]
    assert re.findall(r"^  (\w+): .*whole: true", table, re.MULTILINE) == whole


@pytest.mark.parametrize("name", COLUMN_TYPES)
def test_what_is_accepted_is_read_described_and_known_to_the_protocol(name: str) -> None:
    (field,) = openapi.record_schema([column(name)], {})["properties"].values()
    kind, read = COLUMN_TYPES[name], make_reader([column(name)])
    assert protocol.input_tensors([column(name)])[0]["datatype"] == kind.datatype in content.DATATYPES
    assert np.dtype(kind.compiled)
    others = [value for other, values in VALUES.items() for value in values if other != name]
    for value in [*VALUES[name], *others]:
        fits = not check([column(name)], {"x": [value]}, 1).errors.counts
        assert fits or value not in VALUES[name]
        assert jsonschema.Draft202012Validator(field).is_valid(value) == fits, value
        if value in VALUES[name] and name != "array":
            quick = read(json.dumps({"instances": [{"x": value}]}).encode())
            assert quick is not None
            assert list(quick.columns["x"]) == [value]


def test_the_document_describes_every_datatype_that_is_taken() -> None:
    _, schemas = msgspec.json.schema_components(
        [content.InferenceRequest], ref_template="#/components/schemas/{name}"
    )
    assert set(schemas["RequestTensor"]["properties"]["datatype"]["enum"]) == set(content.DATATYPES)
    for datatype in content.DATATYPES:
        tensor = {"name": "x", "shape": [1], "datatype": datatype, "data": [3]}
        assert protocol.parse_v2([column("number")], {"inputs": [tensor]}, 1).rows == 1
    tensor = {"name": "x", "shape": [1], "datatype": "INT65", "data": [3]}
    with pytest.raises(RequestError, match="datatype is not one of BOOL, UINT8"):
        protocol.parse_v2([column("number")], {"inputs": [tensor]}, 1)


def test_answers_are_what_the_document_says(images: PackagedModel) -> None:
    document = openapi.document("images", "v1", images.predictor.package, images.predictor.columns)

    def valid(name: str, answer: Any) -> bool:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        return bool(jsonschema.Draft202012Validator(schema).is_valid(answer))

    assert valid("ModelMetadata", images.metadata())
    given = {"instances": [{"image": "no picture"}]}
    with pytest.raises(RequestError) as refused:
        images.predict_v1(json.dumps(given).encode())
    assert valid("ErrorContent", error_content(refused.value))
    assert not valid("ErrorContent", {"error": "x", "fields": [{"instance": 0}]}), (
        "given and the rest are required"
    )
    golden = images.predictor.package.golden[0].record["image"]
    tensor = {"name": "image", "shape": [1, 3, 2], "datatype": "FP64", "data": golden}
    answer = images.predict_v2(json.dumps({"inputs": [tensor | {"data": [golden]}]}).encode())
    assert valid("InferenceResponse", json.loads(answer.body))


def test_numbers_in_an_array_have_the_same_limits_in_the_document(
    images: PackagedModel,
) -> None:
    (image,) = images.predictor.columns
    assert image.lowest is not None
    assert image.highest is not None
    schema = openapi.record_schema([image], {})
    beyond = [[[10 * image.highest, 0], [0, 0], [0, 0]], [[0, 0], [0, 0], [0, 10 * image.lowest]]]
    for values in (*beyond, [[image.highest, 0], [0, 0], [0, image.lowest]]):
        counts = check([image], {"image": [values]}, 1).errors.counts
        assert jsonschema.Draft202012Validator(schema).is_valid({"image": values}) == (not counts)
        assert set(counts) <= {("image", "limit")}
    problem = check([image], {"image": beyond[:1]}, 1).errors.told[0]
    assert problem.problem.startswith("has a number larger than the model can predict, ")
