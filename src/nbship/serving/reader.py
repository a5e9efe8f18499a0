"""Reads the body of a V1 request straight into the columns' types, in a fraction of the time of reading JSON.

It takes a body whose fields are the model's, of their types, and whose categories were seen in training; what
it takes is what `protocol` makes of the same body. It says nothing of any other: `protocol` reads that, and
tells what is wrong.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from types import GenericAlias
from typing import Annotated, Any, Literal

import msgspec

from nbship.package.records import Values
from nbship.package.schema import Column

Reader = Callable[[bytes | bytearray], Values | None]

# Beyond these, `protocol` reads a number without a point as a floating point number.
_Integer = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
_READ: dict[type, Any] = {int: _Integer}


def make_reader(columns: Sequence[Column]) -> Reader:
    """Makes the function that reads the bodies of requests to a model.

    Args:
        columns: The model's columns.

    Returns:
        A function of a body; it returns the values, or None for a body that `protocol` has to read.
    """
    names = [column.name for column in columns]
    if not are_plain(names) or any(_has_no_type(column) for column in columns):
        return lambda _: None
    types = [_type_of(column) for column in columns]
    record = object_type(names, types, optional=True)
    table = object_type(names, [GenericAlias(list, each) for each in types])
    forms: list[tuple[Any, bool, Callable[[Any], Iterable[Sequence[Any]]]]] = [
        (_decoder(GenericAlias(list, record)), True, _columns_of_records(len(names))),
        (_decoder(GenericAlias(list, GenericAlias(tuple, (*types,)))), False, _columns_of_rows),
        (_decoder(table), True, msgspec.structs.astuple),
        (_decoder(GenericAlias(tuple, (table,))), True, lambda tables: msgspec.structs.astuple(tables[0])),
    ]

    def read(body: bytes | bytearray) -> Values | None:
        for decoder, named, columns_of in forms:
            try:
                content = decoder.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            lists = dict(zip(names, columns_of(content.instances), strict=False))
            lengths = set(map(len, lists.values()))
            return Values(lengths.pop(), lists, named) if len(lengths) == 1 and 0 not in lengths else None
        return None

    return read


def _has_no_type(column: Column) -> bool:
    return list in column.kind.read or (column.type == "category" and not column.categories)


def _type_of(column: Column) -> Any:
    """Returns the type that msgspec reads a column's values by; a category is one of those that are known."""
    if column.type == "category":
        return Literal[(*column.categories, None)]
    return functools.reduce(operator.or_, (_READ.get(each, each) for each in column.kind.read)) | None


def _decoder(instances: Any) -> Any:
    body = msgspec.defstruct("Body", [("instances", instances)], forbid_unknown_fields=True)
    return msgspec.json.Decoder(body)


def are_plain(fields: Sequence[str]) -> bool:
    """Tells whether fields can be written into JSON as they are; `object_type` takes no other."""
    return not any(each in '"\\' or each < " " for each in "".join(fields))


def object_type(fields: Sequence[str], types: Sequence[Any], optional: bool = False) -> Any:
    """Makes the type of a JSON object with these fields and no other, whatever they are called.

    It is quicker to read and write than a dictionary.

    Args:
        fields: Their names, which are plain.
        types: Of their values, as type hints.
        optional: Whether each may be left out, and is None then.
    """
    attributes = [f"field_{number}" for number in range(len(fields))]
    return msgspec.defstruct(
        "Object",
        [(name, each, *[None] * optional) for name, each in zip(attributes, types, strict=True)],
        rename=dict(zip(attributes, fields, strict=True)),
        forbid_unknown_fields=True,
        gc=False,  # it holds nothing that could hold it
    )


def _columns_of_records(fields: int) -> Callable[[Sequence[Any]], Iterable[Sequence[Any]]]:
    getters = [attrgetter(f"field_{number}") for number in range(fields)]
    return lambda records: [list(map(field, records)) for field in getters]


def _columns_of_rows(rows: Sequence[Sequence[Any]]) -> Iterable[Sequence[Any]]:
    return zip(*rows, strict=True)
