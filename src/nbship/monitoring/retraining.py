"""New labelled rows as rows of the table that a pipeline learns from, and what retrainings there were.

Tables go in and tables come out; what is run and pushed is the business of who calls. A record is learnt
once: its id is kept with the table's version, and each attempt is noted in the store of records.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from nbship.config import Monitor, Retrain
from nbship.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from nbship.monitoring.records import Records
    from nbship.monitoring.storage import Storage

_FOLDER = "retrainings"
_ABOUT = "# Labels that `nbship retrain` has taken into the table, by the ids of their records.\n"


@dataclass(frozen=True)
class Attempt:
    """A retraining that came to its end.

    Attributes:
        time: When, in UTC and ISO 8601.
        ids: The records that it took in.
        reason: Why it was begun.
        outcome: `rejected` by the gate, or `pushed`.
        branch: Where its data is; empty if it was rejected.
    """

    time: str
    ids: tuple[str, ...]
    reason: str
    outcome: str
    branch: str = ""


@dataclass(frozen=True)
class Labelled:
    """Records that have got a label, the oldest first; the index of all three is the record's id.

    Attributes:
        inputs: The model's raw columns.
        values: What came true.
        times: When they were asked, in UTC.
    """

    inputs: pd.DataFrame
    values: pd.Series[Any]
    times: pd.Series[Any]

    @property
    def ids(self) -> tuple[str, ...]:
        """The records."""
        return tuple(map(str, self.inputs.index))


@dataclass(frozen=True)
class Joined:
    """A table with new rows.

    Attributes:
        table: All values as text, as CSV has them; new rows last.
        new: How many of its rows are new.
        dropped: How many old rows a window left out.
    """

    table: pd.DataFrame
    new: int
    dropped: int


def attempts(storage: Storage, name: str) -> list[Attempt]:
    """Returns what retrainings of a model there were, the oldest first.

    Raises:
        NbshipError: The store cannot be read.
    """
    found = (storage.read(f"{name}/{_FOLDER}/{file}") for file in storage.names(f"{name}/{_FOLDER}"))
    contents = [json.loads(content) for content in found if content]
    return sorted((Attempt(**{**each, "ids": tuple(each["ids"])}) for each in contents), key=lambda a: a.time)


def note_attempt(storage: Storage, name: str, attempt: Attempt) -> None:
    """Notes a retraining in the store.

    Raises:
        NbshipError: The store cannot be written to.
    """
    stamp = attempt.time.replace(":", "").replace("+0000", "Z")
    storage.write(f"{name}/{_FOLDER}/{stamp}.json", json.dumps(asdict(attempt), indent=1).encode())


def cooling_until(known: Sequence[Attempt], days: float, now: datetime) -> datetime | None:
    """Returns when the next retraining may begin, if that is not yet."""
    if not known:
        return None
    end = datetime.fromisoformat(known[-1].time).astimezone(UTC) + timedelta(days=days)
    return end if end > now else None


def read_taken(text: str | None) -> frozenset[str]:
    """Reads the ids that a table's version has taken in; none if nothing is said."""
    lines = (text or "").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def taken_text(ids: Iterable[str]) -> str:
    """Writes the ids that a table's version has taken in."""
    return _ABOUT + "".join(f"{each}\n" for each in sorted(ids))


def labelled(records: Records, taken: Collection[str]) -> Labelled:
    """Returns the records that have a label and were not taken in yet."""
    ids = [each for each in records.inputs.index if each in records.labels.index and each not in taken]
    return Labelled(
        records.inputs.loc[ids], records.labels.loc[ids, "value"], records.answers.loc[ids, "time"]
    )


def check_columns(
    inputs: Sequence[str], columns: Collection[str], settings: Retrain, monitor: Monitor
) -> None:
    """Checks that what was recorded can be learnt.

    Args:
        inputs: The columns that the model takes.
        columns: Those of the table.
        settings: Says what they are called in the table.
        monitor: Says what records leave out.

    Raises:
        UsageError: A column is left out of the records or hashed, or the table does not have it.
    """
    private = sorted(name for name in inputs if monitor.private.get(name) in ("drop", "hash"))
    if private:
        raise UsageError(
            f"the records have no values of {', '.join(private)}, so no model can be trained on them",
            "retrain from where these are kept; or take them out of monitor.private",
        )
    missing = sorted(name for name in inputs if settings.columns.get(name, name) not in columns)
    if missing:
        raise UsageError(
            f"the table has no column {', '.join(missing)}, which the model takes",
            "say what it is called there: retrain.columns: {INPUT: COLUMN}",
        )


def join(table: pd.DataFrame, new: Labelled, settings: Retrain, target: str) -> Joined:
    """Puts new rows below a table, by the rule of the pipeline file.

    Args:
        table: All values as text; an empty text is a missing value.
        new: What is new.
        settings: The rule.
        target: The column that the model predicts.

    Raises:
        UsageError: The table has no such column.
    """
    import pandas as pd

    given = {settings.columns.get(name, name): new.inputs[name] for name in new.inputs}
    given[settings.columns.get(target, target)] = new.values
    if settings.date:
        given[settings.date] = new.times
    absent = given.keys() - set(table.columns)
    if absent:
        raise UsageError(
            f"the table has no column '{min(absent)}'", "say what it is called there: retrain.columns"
        )
    below = pd.DataFrame({name: _texts(given[name], table[name]) for name in table if name in given})
    if settings.rule == "weight":
        if settings.weight_column not in table:
            table = table.assign(**{settings.weight_column: "1"})
        below[settings.weight_column] = f"{settings.weight:g}"
    whole = pd.concat([table, below.reindex(columns=table.columns, fill_value="")], ignore_index=True)
    kept = _window(whole, settings) if settings.rule == "window" else whole
    is_new = kept.index >= len(table)
    return Joined(kept.reset_index(drop=True), int(is_new.sum()), len(whole) - len(kept))


def _window(table: pd.DataFrame, settings: Retrain) -> pd.DataFrame:
    """The newest rows: of the last days, by the column that has the date, and of those the last ones."""
    import pandas as pd

    if settings.days:
        dates = pd.to_datetime(table[settings.date or ""], errors="coerce", utc=True, format="mixed")
        table = table[dates >= dates.max() - pd.Timedelta(days=settings.days)]
    return table.tail(settings.rows or len(table))


def _texts(values: pd.Series[Any], written: pd.Series[Any]) -> list[str]:
    """New values in the manner of those that are there: 77 and not 77.0 where all numbers are whole."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(values):
        return [value.date().isoformat() for value in values]
    whole = not written.str.contains(".", regex=False).any()
    return [_text(value, whole) for value in values]


def _text(value: Any, whole: bool) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float) and whole and value.is_integer():
        return str(int(value))
    return str(value)


def summary(settings: Retrain, joined: Joined) -> str:
    """Says in a line what was done to the table, and how old and new rows count."""
    rows = f"{joined.new:,} new labelled rows are added to {len(joined.table) - joined.new:,}"
    told: Mapping[str, str] = {
        "append": "each counts once in training",
        "window": f"the oldest {joined.dropped:,} have left the window; each row counts once in training",
        "weight": f"a new row counts {settings.weight:g} times in training, by {settings.weight_column}",
    }
    return f"{rows}; {told[settings.rule]}. Each held-out row counts once for the gate, old or new."
