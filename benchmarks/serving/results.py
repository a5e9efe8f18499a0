"""What the comparison of model servers measures, and its tables. Pure data: nothing is run here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from pydantic import BaseModel

from benchmarks.report import table

BEGIN = "<!-- serving: written by python -m benchmarks.serving -->"
END = "<!-- end of serving -->"
LOOP = "`pipeline.predict` in a loop, no HTTP"
NBSHIP = "nbship"
STOCK = "`kserve.Model` and a DataFrame"
# At least so many times the requests per second of KServe's sklearn path, at most so many times bare.
FASTER, BATCH = 8, 1.2
# At most so many seconds from the start of the process until it is ready, that share of KServe's, and so many
# resident megabytes.
READY, OF_KSERVE, RESIDENT = 1.0, 0.2, 150


class Load(BaseModel):
    """Single records, sent one after the other on each connection.

    Attributes:
        model: Which model.
        server: Which server.
        connections: How many at a time.
        per_second: Answers in a second, median over the rounds.
        p50: Milliseconds, median over the rounds.
        p99: The same.
    """

    model: str
    server: str
    connections: int
    per_second: float
    p50: float
    p99: float


class Batch(BaseModel):
    """Many records in one request, in milliseconds; medians over the rounds.

    Attributes:
        model: Which model.
        records: How many.
        bare: `pipeline.predict` on a table that is there.
        with_table: The same, with the table made of the records first.
        named: The request with a record for each, over HTTP.
        lists: The request with a list for each field, over HTTP.
    """

    model: str
    records: int
    bare: float
    with_table: float
    named: float
    lists: float


class Start(BaseModel):
    """A server of one process that is started, and asked for one record.

    Attributes:
        model: Which model.
        server: Which server.
        seconds: From the start of the process until it says that it is ready, median over the rounds.
        resident: Megabytes of resident memory after the answer, median over the rounds.
    """

    model: str
    server: str
    seconds: float
    resident: float


class Serving(BaseModel):
    """All that one run of the comparison measured.

    Attributes:
        absent: What could not be measured, and why.
    """

    measured: date
    cores: int
    load: float
    versions: dict[str, str]
    loads: list[Load]
    batches: list[Batch]
    starts: list[Start] = []
    absent: list[str]


def update(readme: str, serving: Serving) -> str:
    """Returns the text of README.md with the results between the markers."""
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{markdown(serving)}\n{END}{tail}"


def markdown(serving: Serving) -> str:
    """Returns the results as Markdown tables."""
    versions = ", ".join(f"{name} {version}" for name, version in serving.versions.items())
    lines = [
        f"Measured on {serving.measured:%d %B %Y} on {serving.cores} cores; "
        f"load {serving.load:.1f} when it began; {versions}.\n",
        *(f"Not measured: {each}\n" for each in serving.absent),
        "### Bars\n",
        *table(["", "measured", "bar", ""], _bars(serving)),
        "\n### Single records\n",
        *table(["model", "server", "connections", "requests/s", "÷ KServe", "p50", "p99"], _loads(serving)),
        "\n### From the start of the process\n",
        *table(["model", "server", "ready", "÷ KServe", "resident"], _starts(serving)),
        "\n### Many records in one request\n",
        *table(["model", "", "time", "÷ bare", "÷ bare with its table"], _batches(serving)),
    ]
    return "\n".join(lines) + "\n"


def _bars(serving: Serving) -> Iterable[Sequence[str]]:
    for load in _of(serving, NBSHIP):
        stock = _stock(serving, load)
        what = f"{load.model}, {load.connections} connection{'s' * (load.connections > 1)}"
        ratio = load.per_second / stock.per_second
        yield f"{what}: requests ÷ KServe", f"{ratio:.1f}×", f"≥ {FASTER}×", _met(ratio >= FASTER)
        yield f"{what}: p99", f"{load.p99:.1f} ms", f"< {stock.p99:.1f} ms", _met(load.p99 < stock.p99)
    for start in (each for each in serving.starts if each.server == NBSHIP):
        ratio = start.seconds / _stock_start(serving, start).seconds
        seconds, resident = f"{start.seconds:.2f} s", f"{start.resident:.0f} MB"
        yield f"{start.model}: ready after", seconds, f"≤ {READY:.0f} s", _met(start.seconds <= READY)
        yield f"{start.model}: ready ÷ KServe", f"{ratio:.2f}×", f"≤ {OF_KSERVE}×", _met(ratio <= OF_KSERVE)
        yield f"{start.model}: resident", resident, f"≤ {RESIDENT} MB", _met(start.resident <= RESIDENT)
    for batch in serving.batches:
        for form, taken in (("named records", batch.named), ("lists", batch.lists)):
            ratio = taken / batch.bare
            what = f"{batch.model}, {batch.records:,} {form} ÷ bare"
            yield what, f"{ratio:.2f}×", f"≤ {BATCH}×", _met(ratio <= BATCH)


def _met(met: bool) -> str:
    return "met" if met else "**missed**"


def _loads(serving: Serving) -> Iterable[Sequence[str]]:
    for load in serving.loads:
        ratio = f"{load.per_second / _stock(serving, load).per_second:.1f}×"
        times = (f"{load.p50:.2f} ms", f"{load.p99:.2f} ms")
        yield load.model, load.server, str(load.connections), f"{load.per_second:.0f}", ratio, *times


def _starts(serving: Serving) -> Iterable[Sequence[str]]:
    for start in serving.starts:
        ratio = f"{start.seconds / _stock_start(serving, start).seconds:.2f}×"
        yield start.model, start.server, f"{start.seconds:.2f} s", ratio, f"{start.resident:.0f} MB"


def _stock_start(serving: Serving, start: Start) -> Start:
    same = (each for each in serving.starts if each.server == STOCK)
    return next(each for each in same if each.model == start.model)


def _batches(serving: Serving) -> Iterable[Sequence[str]]:
    for batch in serving.batches:
        ways = {
            "bare: `pipeline.predict` on a DataFrame": batch.bare,
            "bare, and the DataFrame made of records": batch.with_table,
            "nbship, named records": batch.named,
            "nbship, a list for each field": batch.lists,
        }
        for way, taken in ways.items():
            ratios = (f"{taken / batch.bare:.2f}×", f"{taken / batch.with_table:.2f}×")
            yield f"{batch.model}, {batch.records:,}", way, f"{taken:.0f} ms", *ratios


def _of(serving: Serving, server: str) -> list[Load]:
    return [load for load in serving.loads if load.server == server]


def _stock(serving: Serving, load: Load) -> Load:
    """Returns what KServe's sklearn path did under the same load."""
    same = (each for each in _of(serving, STOCK) if each.model == load.model)
    return next(each for each in same if each.connections == load.connections)
