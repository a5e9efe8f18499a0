"""Which records are kept, and what of them: columns left out or hashed, a share of the requests.

The key of hashes is read from the environment or a file. What a record is, is the business of `records`.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nbship.errors import UsageError, suggestion
from nbship.package.schema import Column

KEY, KEY_FILE = "NBSHIP_RECORDS_KEY", "NBSHIP_RECORDS_KEY_FILE"
# Numbers of an array: those of a larger one, such as an image, are left out unless they are asked for.
LARGE = 100
# Characters of a hash that are kept: 128 bits.
_HASH = 32
_KEY_AT_LEAST = 16

Treatment = Literal["drop", "hash", "keep"]


@dataclass(frozen=True)
class Keeping:
    """What is kept of records.

    Attributes:
        store: Where: a folder, or what fsspec reads.
        private: By column, whether it is left out or hashed; `keep` is for large arrays.
        sample: The share of the requests that is kept.
    """

    store: str
    private: Mapping[str, Treatment] = field(default_factory=dict)
    sample: float = 1.0

    def __post_init__(self) -> None:
        if "hash" in self.private.values():
            read_key()

    def columns(self, columns: Iterable[Column]) -> list[Column]:
        """Returns the columns of a model that are kept.

        Raises:
            UsageError: `private` names one that the model does not have: another would be kept by mistake.
        """
        columns = list(columns)
        require_columns(self.private, columns)
        return [column for column in columns if self._keeps(column)]

    def _keeps(self, column: Column) -> bool:
        treatment = self.private.get(column.name)
        return treatment != "drop" and (treatment is not None or math.prod(column.shape) <= LARGE)


def require_columns(private: Mapping[str, Treatment], columns: Iterable[Column]) -> None:
    """Raises UsageError where a model does not have a private column: another would be kept by mistake."""
    names = {column.name for column in columns}
    unknown = next((name for name in private if name not in names), None)
    if unknown is not None:
        raise UsageError(f"monitor.private: the model has no column '{unknown}'", suggestion(unknown, names))


def is_sampled(request: str, share: float) -> bool:
    """Tells whether a request is among the share that is kept: the same for the same identifier."""
    if share >= 1:
        return True
    drawn = int.from_bytes(hashlib.sha256(request.encode("utf-8", "replace")).digest()[:8])
    return drawn < share * 2**64


def hashed(values: Sequence[Any], key: bytes) -> list[str | None]:
    """Returns a keyed hash (HMAC with SHA-256) of each value; a missing one stays so.

    A number is hashed as the shortest text that reads as it, so that 3 and 3.0 are the same.
    """
    return [None if value is None else _hash(value, key) for value in values]


def read_key() -> bytes:
    """Returns the key of hashes.

    Raises:
        UsageError: There is none, or it is too short to be one.
    """
    text = os.environ.get(KEY, "")
    if not text and (path := os.environ.get(KEY_FILE, "")):
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{KEY_FILE}: {path} cannot be read: {error}", "mount the key there") from None
    if len(text) < _KEY_AT_LEAST:
        raise UsageError(
            f"monitor.private hashes columns, and there is no key of {_KEY_AT_LEAST} characters or more",
            f"set {KEY}, or {KEY_FILE} to a file with it; keep it: with another key, hashes differ",
        )
    return text.encode()


def _hash(value: Any, key: bytes) -> str:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return hmac.digest(key, str(value).encode("utf-8", "replace"), "sha256").hex()[:_HASH]
