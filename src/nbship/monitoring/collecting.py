"""Pairs what KServe's logger sends, a request and its answer, and has them kept as a server's own log would.

Idempotent: an event that came before, also before a restart, changes nothing. How events travel is said
by `collect`; how bodies are read is a function that it is given, since that is the model server's.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from nbship.errors import NbshipError
from nbship.monitoring.events import REQUEST, RESPONSE, CloudEvent
from nbship.monitoring.keeping import Keeping, is_sampled
from nbship.monitoring.log import SECONDS, RecordLog
from nbship.monitoring.partitions import read_tables
from nbship.monitoring.records import open_required
from nbship.monitoring.storage import Storage
from nbship.package import DESCRIPTION, Package, parse_package
from nbship.package.prediction import Prediction
from nbship.package.records import CheckedValues

# How a deployment's check calls its requests; see `cluster.check`.
CHECK = "nbship-check-"
# Bytes of halves that wait for the other one, and seconds that they do: only good answers are sent.
BYTES_AT_MOST, PATIENCE = 64 * 2**20, 120.0
# Identifiers by which an event is known to have come before.
_SEEN_AT_MOST = 500_000
# Seconds until a model that was not found is looked for again.
_AGAIN = 30.0
_HALVES = "halves.json"

# Reads a request and its answer; None if they are no prediction.
ReadPair = Callable[[Package, bytes, bytes], tuple[CheckedValues, Prediction] | None]


class FullError(Exception):
    """There is no room until the store takes what waits for it."""


class UnknownModelError(Exception):
    """The model store has no such version, or its description does not fit the rules."""


@dataclass(frozen=True)
class CollectedModel:
    """Whose events come to an address.

    Attributes:
        name: The model.
        version: Its version.
        private: See `Keeping`; as pairs.
        sample: See `Keeping`.
    """

    name: str
    version: str
    private: tuple[tuple[str, Any], ...] = ()
    sample: float = 1.0


@dataclass
class _Kept:
    """A model whose records are kept."""

    package: Package
    log: RecordLog
    seen: OrderedDict[str, None]
    halves: dict[tuple[str, str], tuple[float, CloudEvent]] = field(default_factory=dict)


def address(collector: str, model: CollectedModel) -> str:
    """Returns where KServe's logger sends the events of a version; the rules travel with them."""
    rules = {"private": json.dumps(dict(model.private), sort_keys=True), "sample": repr(model.sample)}
    place = f"{collector.rstrip('/')}/models/{quote(model.name)}/versions/{quote(model.version)}"
    return f"{place}?{urlencode(rules)}"


class Collector:
    """Takes events.

    Args:
        store: Where records are kept.
        models: The model store, whose descriptions say what a model takes and gives.
        read: Reads a pair.
        count: Told what became of events: a model's name, a word, and how many.
        seconds: Between two files.

    Raises:
        NbshipError: A store cannot be opened.
    """

    def __init__(
        self,
        store: str,
        models: str,
        read: ReadPair,
        count: Callable[[str, str, int], None],
        seconds: float = SECONDS,
    ) -> None:
        self._store, self._models = store, open_required(models)
        self._storage: Storage = open_required(store)
        self._read, self._count, self._seconds = read, count, seconds
        self._kept: dict[CollectedModel, _Kept] = {}
        self._absent: dict[CollectedModel, float] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def take(self, model: CollectedModel, event: CloudEvent) -> None:
        """Takes an event.

        Raises:
            FullError: There is no room; nothing of it is kept.
            UnknownModelError: There is no such model.
            NbshipError: A store cannot be read.
        """
        if event.type not in (REQUEST, RESPONSE) or event.id.startswith(CHECK):
            self._count(model.name, "left out", 1)
            return
        with self._lock:
            kept = self._kept.get(model) or self._open(model)
            if event.id in kept.seen:
                self._count(model.name, "known", 1)
                return
            if not is_sampled(event.id, model.sample):
                self._count(model.name, "left out", 1)
                return
            self._forget_old()
            if self._bytes + len(event.data) > BYTES_AT_MOST:
                raise FullError
            key = (event.source, event.id)
            _, half = kept.halves.get(key, (0.0, event))
            if half.type != event.type:
                self._keep(model, kept, *((half, event) if half.type == REQUEST else (event, half)))
                del kept.halves[key]
                self._bytes -= len(half.data)
            elif key not in kept.halves:
                kept.halves[key] = (time.monotonic(), event)
                self._bytes += len(event.data)

    def close(self) -> None:
        """Writes what is left; halves that wait are found again by the next collector."""
        with self._lock:
            waiting = [
                {"model": asdict(model), "event": {**asdict(half), "data": half.data.decode("latin-1")}}
                for model, kept in self._kept.items()
                for _, half in kept.halves.values()
            ]
            if waiting:
                self._storage.write(_HALVES, json.dumps(waiting).encode())
            for kept in self._kept.values():
                kept.log.close()

    def restore(self) -> None:
        """Takes the halves that another collector was told of when it ended.

        Raises:
            NbshipError: The store cannot be read.
        """
        content = self._storage.read(_HALVES)
        for each in json.loads(content) if content else ():
            said, half = each["model"], each["event"]
            private = tuple((name, how) for name, how in said.pop("private"))
            event = CloudEvent(**{**half, "data": half["data"].encode("latin-1")})
            try:
                self.take(CollectedModel(**said, private=private), event)
            except UnknownModelError:
                self._count(said["name"], "unknown", 1)
        if content:
            self._storage.remove(_HALVES)

    def _keep(self, model: CollectedModel, kept: _Kept, request: CloudEvent, answer: CloudEvent) -> None:
        found = self._read(kept.package, request.data, answer.data)
        if found is None:
            self._count(model.name, "no prediction", 1)
        else:
            checked, prediction = found
            flags = checked.flags.told
            if not kept.log.put(request.id, request.time, model.version, checked, prediction, flags):
                raise FullError
            self._count(model.name, "kept", 1)
        kept.seen[request.id] = None
        if len(kept.seen) > _SEEN_AT_MOST:
            kept.seen.popitem(last=False)

    def _open(self, model: CollectedModel) -> _Kept:
        if time.monotonic() - self._absent.get(model, -_AGAIN) < _AGAIN:
            raise UnknownModelError(f"{model.name} {model.version}")
        path = f"{model.name}/{model.version}/{DESCRIPTION}"
        content = self._models.read(path)
        try:
            if content is None:
                raise UnknownModelError(f"the model store has no {path}")
            package = parse_package(content.decode(), path)
            keeping = Keeping(self._store, dict(model.private), model.sample)
            log = RecordLog(
                model.name, keeping, package.inputs, package.output, self._lost(model), self._seconds
            )
        except (UnknownModelError, NbshipError) as error:
            self._absent[model] = time.monotonic()
            raise UnknownModelError(str(error)) from None
        self._kept[model] = _Kept(package, log, self._seen(model.name))
        return self._kept[model]

    def _seen(self, name: str) -> OrderedDict[str, None]:
        """Returns the requests of today and yesterday that are in the store."""
        since = datetime.now(UTC) - timedelta(days=1)
        tables = read_tables(self._storage, name, "records", since, columns=["id"])
        ids = (record for table in tables for record in table["id"].to_pylist())
        # Of several records of a request, the first stands for all.
        return OrderedDict.fromkeys(record.removesuffix("-0") for record in ids)

    def _lost(self, model: CollectedModel) -> Callable[[int], None]:
        return lambda count: self._count(model.name, "lost", count)

    def _forget_old(self) -> None:
        """Drops halves whose other half does not come: the oldest are first."""
        latest = time.monotonic() - PATIENCE
        for model, kept in self._kept.items():
            while kept.halves:
                key, (arrived, half) = next(iter(kept.halves.items()))
                if arrived > latest:
                    break
                del kept.halves[key]
                self._bytes -= len(half.data)
                self._count(model.name, "unpaired", 1)
