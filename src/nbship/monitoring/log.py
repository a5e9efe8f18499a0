"""The log of a model server: what it answered, written to the store off the way of its answers.

A thread turns what was answered into tables, and writes a file every few seconds. No answer waits for it:
what there is no room for is dropped and counted. What is in a table is the business of `answered`.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from nbship.errors import NbshipError
from nbship.monitoring.answered import AnsweredRows, Row, one_row, to_table
from nbship.monitoring.keeping import Keeping, is_sampled
from nbship.monitoring.labels import write_labels
from nbship.monitoring.records import open_required, write_by_day
from nbship.package.prediction import Prediction
from nbship.package.records import CheckedValues, Problem
from nbship.package.schema import Column, Output

if TYPE_CHECKING:
    import pyarrow as pa

# Seconds between two files, and so what is lost at most when the process is killed.
SECONDS = 10.0
# Values that wait to be written: 25 to 50 MB.
VALUES_AT_MOST = 500_000
# What a record has beside the model's columns, and how many characters of a text weigh as much as a value.
_FIXED, _CHARACTERS = 8, 40
# Corrections that wait: a person sends one at a time.
CORRECTIONS_AT_MOST = 500
# Seconds between two looks at what was answered: a little often, so that no answer waits for much at once.
_TICK = 1.0
# Seconds that the last file may take.
_PATIENCE = 8.0
_logger = logging.getLogger("nbship.monitoring")


@dataclass(frozen=True)
class OpenLog:
    """Opens the log of a model; worker processes get it, and each opens a log of its own.

    Attributes:
        name: The model.
        keeping: What is kept, and where.
        seconds: Between two files.
    """

    name: str
    keeping: Keeping
    seconds: float = SECONDS

    def __call__(self, columns: Sequence[Column], output: Output, lost: Callable[[int], None]) -> RecordLog:
        """Opens it; see `Log`.

        Raises:
            NbshipError: The store cannot be opened, or what is private is not what the model has.
        """
        return RecordLog(self.name, self.keeping, columns, output, lost, self.seconds)


@dataclass
class _Model:
    """A model that answers: what is kept of its records, and what it answered that is not a table yet."""

    columns: Sequence[Column]
    output: Output
    answered: list[Row | AnsweredRows] = field(default_factory=list)
    weight: int = 0

    def __post_init__(self) -> None:
        self._width = _FIXED + sum(math.prod(column.shape) for column in self.columns)
        self._names = [column.name for column in self.columns]
        self._several = len(self._names) > 1  # of one, a getter does not return a tuple
        self._getter = itemgetter(*self._names or ("",))
        self._texts = [column.name for column in self.columns if column.kind.textual]
        self._free = any(column.type == "text" for column in self.columns)

    def count(self) -> int:
        """Returns how many records wait to become a table."""
        return sum(len(each) if isinstance(each, AnsweredRows) else 1 for each in self.answered)

    def pick(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Returns the columns that are kept."""
        return self._getter(values) if self._several else tuple(values[name] for name in self._names)

    def weigh(self, checked: CheckedValues) -> int:
        """Returns how many values a request has; a long text counts as several."""
        weight = checked.rows * self._width
        if self._texts and (self._free or not checked.complete):
            values = chain.from_iterable(checked.values[name] for name in self._texts)
            weight += sum(map(len, filter(None, values))) // _CHARACTERS
        return weight


@dataclass
class _Batch:
    """A table that waits to be written, under the name that its files will have."""

    name: str
    table: pa.Table
    weight: int


class RecordLog:
    """Takes what a model server has answered.

    Args:
        name: The model.
        keeping: What is kept, and where.
        columns: What the model takes.
        output: What it gives.
        lost: Called with the number of records that could not be kept.
        seconds: Between two files.

    Raises:
        NbshipError: The store cannot be opened, or what is private is not what the model has.
    """

    def __init__(
        self,
        name: str,
        keeping: Keeping,
        columns: Sequence[Column],
        output: Output,
        lost: Callable[[int], None],
        seconds: float = SECONDS,
    ) -> None:
        import pyarrow.parquet  # noqa: F401 - takes a third of a second, which no answer should wait for

        self._name, self._keeping, self._lost, self._seconds = name, keeping, lost, seconds
        self._storage = open_required(keeping.store)
        self._models = [_Model(keeping.columns(columns), output)]
        self._batches: list[_Batch] = []
        self._corrections: list[tuple[str, Any, datetime]] = []
        self._weight = 0  # of all that waits
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._work, name="nbship-log", daemon=True)
        self._thread.start()

    def describe(self, columns: Sequence[Column], output: Output) -> None:
        """Tells which model answers from now on.

        Raises:
            NbshipError: What is private is not what it has.
        """
        model = _Model(self._keeping.columns(columns), output)
        with self._lock:
            self._models.append(model)

    def note(
        self, version: str, checked: CheckedValues, prediction: Prediction, flags: Sequence[Problem]
    ) -> str:
        """Takes a request that was answered, in microseconds.

        Args:
            version: Of the model.
            checked: What was asked.
            prediction: What was answered.
            flags: What of the values was flagged.

        Returns:
            The request's identifier; empty if it is not kept.
        """
        request = os.urandom(12).hex()
        if not is_sampled(request, self._keeping.sample):
            return ""
        if self.put(request, time.time(), version, checked, prediction, flags):
            return request
        self._lost(checked.rows)
        return ""

    def put(
        self,
        request: str,
        when: float,
        version: str,
        checked: CheckedValues,
        prediction: Prediction,
        flags: Sequence[Problem],
    ) -> bool:
        """Takes a request that has a name and a time; returns whether there was room."""
        with self._lock:
            model = self._models[-1]
            weight = model.weigh(checked)
            room = not self._weight or self._weight + weight <= VALUES_AT_MOST
            if room:
                columns = model.pick(checked.values)
                make = one_row if checked.rows == 1 else AnsweredRows
                model.answered.append(make(request, when, version, columns, prediction, flags))
                model.weight += weight
                self._weight += weight
        return room

    def correct(self, record: str, value: Any) -> bool:
        """Takes what came true of a record, from whoever asked; returns whether there was room."""
        with self._lock:
            room = len(self._corrections) < CORRECTIONS_AT_MOST
            if room:
                self._corrections.append((record, value, datetime.now(UTC)))
        return room

    def close(self) -> None:
        """Writes what is left, within some seconds; nothing is taken any more."""
        self._ended.set()
        self._thread.join(_PATIENCE)
        left = sum(model.count() for model in self._models)
        left += sum(batch.table.num_rows for batch in self._batches)
        if left:
            _logger.error("%s: %d records could not be kept", self._name, left)
            self._lost(left)

    def _work(self) -> None:
        """What the thread does."""
        written = time.monotonic()
        while not self._ended.wait(min(_TICK, self._seconds)):
            self._convert()
            if time.monotonic() - written >= self._seconds or self._weight > VALUES_AT_MOST / 2:
                self._write()
                written = time.monotonic()
        self._convert()
        self._write()

    def _convert(self) -> None:
        """Turns what was answered into tables, which take less room."""
        with self._lock:
            taken = [replace(model) for model in self._models if model.answered]
            del self._models[:-1]
            self._models[-1].answered, self._models[-1].weight = [], 0
        for model in taken:
            try:
                table = to_table(model.answered, model.columns, model.output, self._keeping)
            except Exception:  # of whatever kind: the server goes on
                _logger.exception("%s: records cannot be written", self._name)
                self._free(model.weight)
                self._lost(model.count())
                continue
            self._add(table, model.weight)

    def _add(self, table: pa.Table, weight: int) -> None:
        """Adds a table to those of its kind that wait: one file is better than many."""
        import pyarrow as pa

        alike = next((batch for batch in self._batches if batch.table.schema.equals(table.schema)), None)
        if alike is None or self._failing:
            self._batches.append(_Batch(secrets.token_hex(8), table, weight))
            return
        alike.table, alike.weight = pa.concat_tables([alike.table, table]), alike.weight + weight

    def _write(self) -> None:
        """Writes the tables; what cannot be written waits for the next time, under the same name."""
        for batch in list(self._batches):
            try:
                write_by_day(self._storage, self._name, batch.table, batch.name)
            except NbshipError as error:
                if not self._failing:
                    _logger.error("%s; %s", error.message, error.hint)
                self._failing = True
                return
            self._failing = False
            self._batches.remove(batch)
            self._free(batch.weight)
        with self._lock:
            corrections = list(self._corrections)
        if corrections:
            try:
                write_labels(self._storage, self._name, corrections, "page", datetime.now(UTC))
            except NbshipError as error:
                _logger.error("%s; %s", error.message, error.hint)
                return
            with self._lock:
                del self._corrections[: len(corrections)]

    def _free(self, weight: int) -> None:
        with self._lock:
            self._weight -= weight
