"""The types that a column may have, and what each means to whoever reads, checks or computes with it.

One table: a type is added here. What a column is beyond its type is the business of `schema`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

TypeName = Literal["integer", "number", "boolean", "category", "text", "array"]

_WHOLE = (1e30, 1e15, 1e9, 1e6, 1e3, 1.0)
_ANY = (*_WHOLE, 1e-3, 1e-9)


@dataclass(frozen=True)
class ColumnType:
    """What is known of values by their column's type.

    Attributes:
        words: What is accepted, in words.
        read: The types of values as they are read from JSON.
        schema: What a JSON schema calls them; of an array, its elements.
        datatype: Of a tensor in the Open Inference protocol.
        compiled: What NumPy calls that which a compiled model takes for them.
        sizes: Numbers by which it is tried how large they may be, from the outside in: what nothing in the
            world is beyond, to what is next to zero. Empty for what is not a number.
        whole: Whether they are whole numbers.
    """

    words: str
    read: frozenset[type]
    schema: str
    datatype: str
    compiled: str = "float32"
    sizes: tuple[float, ...] = ()
    whole: bool = False

    @property
    def textual(self) -> bool:
        """Whether they are texts."""
        return self.schema == "string"


_NUMBERS, _TEXTS = frozenset({int, float}), frozenset({str})
COLUMN_TYPES: Mapping[str, ColumnType] = MappingProxyType(
    {
        "integer": ColumnType("a whole number", _NUMBERS, "integer", "INT64", sizes=_WHOLE, whole=True),
        "number": ColumnType("a number", _NUMBERS, "number", "FP64", sizes=_ANY),
        "boolean": ColumnType("true or false", frozenset({bool}), "boolean", "BOOL"),
        # A compiled model takes the codes of categories.
        "category": ColumnType("text", _TEXTS, "string", "BYTES", "int64"),
        "text": ColumnType("text", _TEXTS, "string", "BYTES", "object"),
        "array": ColumnType("numbers", frozenset({list}), "number", "FP64", sizes=_ANY),
    }
)
