"""Measures every server with single records, and nbship with many records in one request."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import requests

from benchmarks.serving.packages import make_packages
from benchmarks.serving.results import LOOP, NBSHIP, Batch, Load, Serving, Start
from benchmarks.serving.servers import MLSERVER, Server, alone, install_mlserver, running
from benchmarks.workspace import CommandError, Workspace
from nbship.package import Package, load_model, read_package
from nbship.package.schema import to_table

_RECORDS = 10_000
_ROUNDS = 3
_SECONDS = 1.5
_LIBRARIES = ("kserve", "scikit-learn", "pandas", "onnxruntime", "skl2onnx")
_V2_KINDS = {"category": "BYTES", "text": "BYTES", "integer": "INT64"}
Report = Callable[[str], None]


@dataclass
class _Measured:
    """Of one model, by server and connections, or by the way that a batch is predicted; one entry a round."""

    loads: defaultdict[tuple[str, int], list[dict[str, Any]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    batches: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    starts: defaultdict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))


def compare(space: Workspace, root: Path, quick: bool, report: Report) -> Serving:
    """Makes the packages, starts the servers and measures.

    Args:
        space: Where to.
        root: The project.
        quick: One round, a short one.
        report: Told in a line what is being done.
    """
    load = os.getloadavg()[0]
    report("making the models")
    folders, absent = make_packages(space, root)
    mlserver = None
    try:
        report("installing MLServer")
        mlserver = install_mlserver()
    except CommandError as error:
        absent.append(f"MLServer: {error}")
    loads: list[Load] = []
    batches: list[Batch] = []
    starts: list[Start] = []
    for folder in folders:
        package = read_package(folder)
        measured = _measure(space, folder, mlserver, 1 if quick else _ROUNDS, report)
        loads += [_load(package.name, *key, found) for key, found in measured.loads.items()]
        times = {way: statistics.median(taken) for way, taken in measured.batches.items()}
        starts += [_start(package.name, server, found) for server, found in measured.starts.items()]
        batches.append(Batch(model=package.name, records=_RECORDS, **times))
    return Serving(
        measured=datetime.now(UTC).date(),
        cores=os.cpu_count() or 1,
        load=round(load, 2),
        versions={name: version(name) for name in _LIBRARIES} | MLSERVER,
        loads=loads,
        batches=batches,
        starts=starts,
        absent=absent,
    )


def _measure(space: Workspace, folder: Path, mlserver: Path | None, rounds: int, report: Report) -> _Measured:
    package, estimator, measured = read_package(folder), load_model(folder), _Measured()
    complete = [golden.record for golden in package.golden if None not in golden.record.values()]
    for number in range(rounds):
        report(f"{package.name}, start {number + 1} of {rounds}")
        for starting in alone(folder, package, mlserver):
            with starting as server:
                measured.starts[server.name].append((server.ready, _resident(server, package, complete[0])))
    with running(folder, package, mlserver) as servers:
        for number in range(rounds):
            report(f"{package.name}, round {number + 1} of {rounds}")
            measured.loads[LOOP, 1].append(_loop(estimator, package, complete[0]))
            for server in servers:
                for connections in (1, 8):
                    found = _send(space, server, package, complete[0], connections)
                    measured.loads[server.name, connections].append(found)
            ours = next(server for server in servers if server.name == NBSHIP)
            records = list(islice(cycle(complete), _RECORDS))
            for way, taken in _batch(estimator, package, ours, records).items():
                measured.batches[way].append(taken)
    return measured


def _resident(server: Server, package: Package, record: dict[str, Any]) -> float:
    """Returns the megabytes of resident memory of a server that has answered one record."""
    content = _v2(package, record) if server.protocol == "v2" else {"instances": [record]}
    requests.post(server.address, json=content, timeout=60).raise_for_status()
    process = psutil.Process(server.process)
    return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)]) / 1e6


def _loop(estimator: Any, package: Package, record: dict[str, Any]) -> dict[str, Any]:
    """Predicts one record after the other without a server; its table is made each time."""
    taken = []
    started = time.perf_counter()
    while time.perf_counter() - started < _SECONDS:
        began = time.perf_counter()
        estimator.predict(to_table(package.inputs, [record]))
        taken.append(time.perf_counter() - began)
    return {"per_second": len(taken) / sum(taken), "seconds": sorted(taken)}


def _send(
    space: Workspace, server: Server, package: Package, record: dict[str, Any], connections: int
) -> dict[str, Any]:
    """Sends single records for some seconds, after a first handful that says how many that is."""
    file = space.folder / f"{server.protocol}.body"
    content = _v2(package, record) if server.protocol == "v2" else {"instances": [record]}
    file.write_text(json.dumps(content), encoding="utf-8")

    def send(requests: int) -> dict[str, Any]:
        command = [sys.executable, "-m", "benchmarks.serving.load", server.address, str(file)]
        done = subprocess.run([*command, str(connections), str(requests)], stdout=subprocess.PIPE, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return send(max(100, round(send(100)["per_second"] * _SECONDS)))


def _v2(package: Package, record: dict[str, Any]) -> dict[str, Any]:
    inputs = [
        {
            "name": column.name,
            "shape": [1, 1],
            "datatype": _V2_KINDS.get(column.type, "FP64"),
            "data": [record[column.name]],
            "parameters": {"content_type": "str" if column.type in ("category", "text") else "np"},
        }
        for column in package.inputs
    ]
    return {"inputs": inputs, "parameters": {"content_type": "pd"}}


def _batch(
    estimator: Any, package: Package, server: Server, records: Sequence[dict[str, Any]]
) -> dict[str, float]:
    """Returns milliseconds by the field of `Batch`; the ways take turns."""
    frame = to_table(package.inputs, records)
    lists = {column.name: [record[column.name] for record in records] for column in package.inputs}
    bodies = {way: json.dumps({"instances": i}).encode() for way, i in (("named", records), ("lists", lists))}
    headers = {"content-type": "application/json"}
    with requests.Session() as session:

        def post(way: str) -> None:
            session.post(server.address, data=bodies[way], headers=headers, timeout=60).raise_for_status()

        return _milliseconds(
            {
                "bare": lambda: estimator.predict(frame),
                "with_table": lambda: estimator.predict(pd.DataFrame(records)),
                "named": lambda: post("named"),
                "lists": lambda: post("lists"),
            }
        )


def _milliseconds(ways: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Returns the median of seven times, after one that is not counted."""
    taken = defaultdict(list)
    for _ in range(8):
        for way, work in ways.items():
            started = time.perf_counter()
            work()
            taken[way].append((time.perf_counter() - started) * 1000)
    return {way: statistics.median(times[1:]) for way, times in taken.items()}


def _start(model: str, server: str, found: Sequence[tuple[float, float]]) -> Start:
    seconds, resident = (statistics.median(values) for values in zip(*found, strict=True))
    return Start(model=model, server=server, seconds=round(seconds, 3), resident=round(resident, 1))


def _load(model: str, server: str, connections: int, found: Sequence[dict[str, Any]]) -> Load:
    def quantile(share: float) -> float:
        return statistics.median(each["seconds"][int(len(each["seconds"]) * share)] * 1000 for each in found)

    return Load(
        model=model,
        server=server,
        connections=connections,
        per_second=round(statistics.median(each["per_second"] for each in found), 1),
        p50=round(quantile(0.5), 3),
        p99=round(quantile(0.99), 3),
    )
