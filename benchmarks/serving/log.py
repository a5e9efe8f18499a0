"""`python -m benchmarks.serving.log`: what it costs a model server to keep its records.

Two servers of the same model, one with a log and one without, are asked in turn, many rounds over. Beside the
requests per second stands the CPU time of a request, which other work on the machine disturbs less. Writes
log.json and the table of README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import psutil
from pydantic import BaseModel
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.report import table
from benchmarks.serving.packages import make_packages
from benchmarks.serving.servers import server_process
from benchmarks.workspace import workspace
from nbship.monitoring.keeping import Keeping
from nbship.monitoring.log import RecordLog
from nbship.monitoring.records import read_records
from nbship.package import read_package
from nbship.serving.model import PackagedModel
from nbship.serving.server import free_port
from nbship.serving.settings import ServerSettings

FOLDER = Path(__file__).parents[1]
BEGIN = "<!-- serving log: written by python -m benchmarks.serving.log -->"
END = "<!-- end of serving log -->"
_ROUNDS, _REQUESTS, _CONNECTIONS = 15, 3000, 8
# What one file holds: a server that answers thousands a second writes one in ten seconds.
_OF_A_FILE, _FILES = 20_000, 5
_WAYS = ("without", "with")
Report = Callable[[str], None]


class Cost(BaseModel):
    """What a log costs a server.

    Attributes:
        model: Which is served.
        per_second: Requests per second, without and with the log: medians of all rounds.
        cpu: Microseconds of CPU time that a request takes, without and with it.
        work: Microseconds of CPU time that a log adds to a request in one process without HTTP, all threads
            counted: the smallest of the rounds.
        slower: By which share a request takes more CPU time, as the median of the rounds.
        low: The smallest of the middle half of the rounds.
        high: The largest of them.
        kept: Share of the requests whose record was found in the store.
    """

    model: str
    per_second: tuple[float, float]
    cpu: tuple[float, float]
    work: float
    slower: float
    low: float
    high: float
    kept: float


class Costs(BaseModel):
    """All that one run measured."""

    measured: date
    cores: int
    rounds: int
    requests: int
    models: list[Cost]


def measure(folder: Path, rounds: int, requests: int) -> Cost:
    """Asks both servers of a model in turn."""
    package = read_package(folder)
    record = next(g.record for g in package.golden if None not in g.record.values())
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as scratch:
        body, store = Path(scratch, "body"), Path(scratch, "records")
        body.write_text(json.dumps({"instances": [record]}), encoding="utf-8")
        with _server(folder, package.name, "") as without, _server(folder, package.name, str(store)) as kept:
            servers = dict(zip(_WAYS, (without, kept), strict=True))
            for number in range(rounds + 1):
                for way in _WAYS if number % 2 else reversed(_WAYS):
                    taken = _ask(*servers[way], body, requests)
                    if number:  # the first warms up
                        found[way].append(taken)
        records = len(read_records(str(store), package.name).inputs)
    shares = [b[1] / a[1] - 1 for a, b in zip(found["without"], found["with"], strict=True)]
    low, middle, high = statistics.quantiles(shares, n=4)
    sent = requests // _CONNECTIONS * _CONNECTIONS * (rounds + 1)

    def medians(of: int) -> tuple[float, float]:
        first, second = (statistics.median(each[of] for each in found[way]) for way in _WAYS)
        return first, second

    return Cost(
        model=package.name,
        per_second=medians(0),
        cpu=medians(1),
        work=_work(folder, json.dumps({"instances": [record]}).encode(), min(rounds, _FILES)),
        slower=middle,
        low=low,
        high=high,
        kept=records / sent,
    )


def _work(folder: Path, body: bytes, files: int) -> float:
    """Returns the microseconds of CPU time of all threads that a log adds to a request, of many to a file."""
    taken: dict[bool, list[float]] = {False: [], True: []}
    model = PackagedModel(ServerSettings("model", folder))
    model.load()
    described = (model.predictor.package.inputs, model.predictor.package.output)
    for _ in range(files):
        for kept in taken:
            with tempfile.TemporaryDirectory() as store:
                if kept:
                    model.log = RecordLog("model", Keeping(store), *described, lambda _: None)
                started = time.process_time()
                for _ in range(_OF_A_FILE):
                    model.predict_v1(body)
                model.close()
                model.log = None
                taken[kept].append((time.process_time() - started) / _OF_A_FILE * 1e6)
    return min(taken[True]) - min(taken[False])


@contextlib.contextmanager
def _server(folder: Path, name: str, store: str) -> Iterator[tuple[str, psutil.Process]]:
    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", "nbship.workflow.incluster.server", "--model_name", name]
    command += ["--model_dir", str(folder), "--host", "127.0.0.1", "--http_port", str(port)]
    with server_process(command, {"NBSHIP_RECORDS_STORE": store}, name, port) as (base, number, _):
        yield f"{base}/v1/models/{name}:predict", psutil.Process(number)


def _ask(address: str, server: psutil.Process, body: Path, requests: int) -> tuple[float, float]:
    """Returns requests per second, and the microseconds of CPU time that each took the server."""
    before = server.cpu_times()
    command = [sys.executable, "-m", "benchmarks.serving.load", address, str(body)]
    done = subprocess.run(
        [*command, str(_CONNECTIONS), str(requests)], stdout=subprocess.PIPE, check=True, cwd=FOLDER.parent
    )
    after = server.cpu_times()
    used = after.user - before.user + after.system - before.system
    return json.loads(done.stdout)["per_second"], used / requests * 1e6


def markdown(costs: Costs) -> str:
    """Writes the costs as a table."""
    rows = [
        [
            cost.model,
            *(f"{each:,.0f}" for each in cost.per_second),
            *(f"{each:.0f}" for each in cost.cpu),
            f"{cost.work:.1f} ({cost.work / cost.cpu[0]:.1%})",
            f"{cost.slower:+.1%} ({cost.low:+.1%} to {cost.high:+.1%})",
            f"{cost.kept:.1%}",
        ]
        for cost in costs.models
    ]
    heads = [
        "model",
        "requests/s",
        "with log",
        "CPU µs a request",
        "with log",
        "its work, µs",
        "more CPU",
        "kept",
    ]
    how = (
        f"Measured on {costs.measured:%d %B %Y} on {costs.cores} cores: {costs.rounds} rounds of "
        f"{costs.requests:,} requests on {_CONNECTIONS} connections, both servers in turn. In brackets, the "
        "middle half of the rounds. *Its work* is the CPU time that the log adds to a request in one process "
        "without HTTP, the smallest of the rounds, beside what a request takes the server without it.\n"
    )
    return "\n".join([how, *table(heads, rows)])


def main(quick: bool) -> None:
    """Measures and prints, and writes unless it was quick."""
    rounds, requests = (3, 1000) if quick else (_ROUNDS, _REQUESTS)
    with workspace() as space:
        folders, _ = make_packages(space, FOLDER.parent)
        costs = Costs(
            measured=datetime.now(UTC).date(),
            cores=os.cpu_count() or 1,
            rounds=rounds,
            requests=requests,
            models=[measure(folder, rounds, requests) for folder in folders],
        )
    Console().print(Markdown(markdown(costs)))
    if not quick:
        (FOLDER / "log.json").write_text(costs.model_dump_json(indent=2) + "\n", encoding="utf-8")
        readme = FOLDER / "README.md"
        text = readme.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        after = rest.partition(END)[2]
        readme.write_text(f"{before}{BEGIN}\n\n{markdown(costs)}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.log", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three short rounds; writes no file")
    main(parser.parse_args().quick)
