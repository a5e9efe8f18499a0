"""`python -m benchmarks.serving.memory`: the memory of the model server under hostile bodies and under load.

Linux only. Writes memory.json and the table of README.md. With `--cgroup`, the kernel holds the server to
what a pod has, and ends it if it takes more.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import cycle, islice
from pathlib import Path

import requests
from pydantic import BaseModel
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.report import table
from benchmarks.serving.packages import make_packages
from benchmarks.workspace import workspace
from nbship.package import Package, read_package
from nbship.serving.server import free_port
from nbship.serving.settings import BYTES_AT_MOST, RECORDS_AT_MOST

FOLDER = Path(__file__).parents[1]
BEGIN = "<!-- serving memory: written by python -m benchmarks.serving.memory -->"
END = "<!-- end of serving memory -->"
POD = 2**30
_REFUSED, _CONNECTIONS, _MINUTES = 1000, 32, 10


class Phase(BaseModel):
    """What the server was asked, and what it took. Sizes are bytes of resident memory.

    Attributes:
        name: In the table.
        statuses: How many answers had which status.
        peak: The most that it had meanwhile.
        after: What it had at the end.
    """

    name: str
    statuses: dict[int, int]
    peak: int
    after: int


class Memory(BaseModel):
    """All that one run measured; `held` says whether the kernel held the server to a pod's memory."""

    measured: date
    model: str
    held: bool
    phases: list[Phase]


class Watched:
    """A running server, and the memory that Linux says it has."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, name: str) -> None:
        self._process = process
        self._status = Path(f"/proc/{process.pid}/status")
        self.address = f"{address}/v1/models/{name}:predict"

    def phase(self, name: str, work: Callable[[], Counter[int]]) -> Phase:
        """Measures while something is done."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5", encoding="utf-8")  # forgets the peak
        statuses = work()
        phase = Phase(name=name, statuses=statuses, peak=self._size("VmHWM"), after=self._size("VmRSS"))
        print(*next(iter(_rows([phase]))), sep="  ", file=sys.stderr, flush=True)
        return phase

    def _size(self, name: str) -> int:
        if self._process.poll() is not None:
            raise SystemExit(f"the server ended with {self._process.returncode}")
        lines = self._status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))

    def send(self, body: bytes, session: requests.Session | None = None) -> int:
        """Sends a body and returns the answer's status."""
        headers = {"content-type": "application/json"}
        return (session or requests).post(self.address, data=body, headers=headers, timeout=300).status_code


def measure(folder: Path, minutes: float, cgroup: Path | None) -> Memory:
    """Measures the server of one model package."""
    package = read_package(folder)
    record = next(golden.record for golden in package.golden if None not in golden.record.values())
    with _serving(folder, package, cgroup) as server:
        phases = [server.phase("one record", lambda: Counter([server.send(_records([record]))]))]
        unknown = _filled(json.dumps(record | {"colour": "red"}), 10**6)
        phases.append(server.phase("refused bodies of 1 MB", lambda: _repeat(server, unknown, _REFUSED)))
        for name, body in _hostile(package, record).items():
            phases.append(server.phase(name, lambda body=body: Counter([server.send(body)])))
        mix = [_records([record]), unknown, _records([record] * 10_000), *_hostile(package, record).values()]
        ends = [minutes / 10, minutes / 2, minutes]
        for start, end in zip([0.0, *ends], ends, strict=False):
            what = f"{_CONNECTIONS} connections, minute {start:g} to {end:g}"
            seconds = (end - start) * 60
            phases.append(server.phase(what, lambda seconds=seconds: _load(server, mix, seconds)))
    return Memory(
        measured=datetime.now(UTC).date(), model=package.name, held=cgroup is not None, phases=phases
    )


def _hostile(package: Package, record: dict[str, object]) -> dict[str, bytes]:
    """Bodies of the largest size that is accepted, or a little more, made to take what they can."""
    size = BYTES_AT_MOST - 100
    number = next(column.name for column in package.inputs if column.type in ("integer", "number"))
    odd = record | {number: 10**6}
    lists = {name: [value] * RECORDS_AT_MOST for name, value in record.items()}
    keys = json.dumps({f"field {index}": index for index in range(size // 24)})
    return {
        "the most records": _records([record] * RECORDS_AT_MOST),
        "the most records, each flagged": _records([odd] * RECORDS_AT_MOST),
        "the most records as lists": json.dumps({"instances": lists}).encode(),
        "60 MB of empty records": _filled("{}", 60 * 10**6),
        "empty records": _filled("{}", size),
        "6 MB of empty records": _filled("{}", 6 * 10**6),
        "lists in lists": _filled("[[[[1]]]]", size),
        "rows of numbers": _filled("1.5", size),
        "NaN": _filled("NaN", size),
        "texts": _filled('"ab"', size),
        "one record of many keys": b'{"instances": [%s]}' % keys.encode(),
        "one long text": _records([record | {number: "x" * (size - 1000)}]),
        "brackets": b'{"instances": ' + b"[" * (size - 20),
    }


def _records(records: Sequence[object]) -> bytes:
    return json.dumps({"instances": records}).encode()


def _filled(value: str, size: int) -> bytes:
    each = value.encode()
    return b'{"instances": [' + b",".join([each] * ((size - 20) // (len(each) + 1))) + b"]}"


def _repeat(server: Watched, body: bytes, times: int) -> Counter[int]:
    with requests.Session() as session:
        return Counter(server.send(body, session) for _ in range(times))


def _load(server: Watched, mix: Sequence[bytes], seconds: float) -> Counter[int]:
    """Sends a mixture on all connections: each takes turns with what all others send too."""
    statuses: Counter[int] = Counter()
    end = time.monotonic() + seconds

    def send(first: int) -> None:
        with requests.Session() as session:
            for body in islice(cycle(mix), first, None):
                if time.monotonic() > end:
                    return
                statuses[server.send(body, session)] += 1

    threads = [threading.Thread(target=send, args=(number,)) for number in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


@contextlib.contextmanager
def _serving(folder: Path, package: Package, cgroup: Path | None) -> Iterator[Watched]:
    port = free_port("127.0.0.1")
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "nbship.serving.server", "--model_name", package.name]
    place = ["--model_dir", str(folder), "--host", "127.0.0.1", "--http_port", str(port)]
    with subprocess.Popen([*command, *place]) as process:
        try:
            if cgroup:
                _hold(cgroup, process.pid)
            _wait(f"{address}/v2/health/ready")
            yield Watched(process, address, package.name)
        finally:
            process.terminate()


def _wait(address: str) -> None:
    for _ in range(600):
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(address, timeout=10).raise_for_status()
        time.sleep(0.1)
    raise SystemExit(f"{address} does not answer")


def _hold(cgroup: Path, pid: int) -> None:
    """Holds a process to a pod's memory; the folder is a cgroup of version 1 or 2."""
    limit = next(file for name in ("memory.max", "memory.limit_in_bytes") if (file := cgroup / name).exists())
    limit.write_text(str(POD), encoding="utf-8")
    (cgroup / "cgroup.procs").write_text(str(pid), encoding="utf-8")


def markdown(memory: Memory) -> str:
    """Returns the results as a Markdown table."""
    held = f", held to {POD / 2**20:,.0f} MiB by the kernel" if memory.held else ""
    lines = [
        f"Measured on {memory.measured:%d %B %Y}: the {memory.model} model, one worker{held}.\n",
        *table(["", "answers", "peak", "afterwards"], _rows(memory.phases)),
    ]
    return "\n".join(lines) + "\n"


def _rows(phases: Iterable[Phase]) -> Iterable[Sequence[str]]:
    for phase in phases:
        answers = ", ".join(f"{count:,} × {status}" for status, count in sorted(phase.statuses.items()))
        yield phase.name, answers, *(f"{size / 2**20:,.0f} MiB" for size in (phase.peak, phase.after))


def update(readme: str, memory: Memory) -> str:
    """Returns the text of README.md with the results between the markers."""
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{markdown(memory)}\n{END}{tail}"


def main() -> None:
    """Measures and prints, and writes unless it was quick."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.memory", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="half a minute of load; writes no file")
    parser.add_argument("--package", type=Path, help="the model package; without it, auto-mpg's is made")
    parser.add_argument("--cgroup", type=Path, help="a cgroup to run in, that may be written to")
    given = parser.parse_args()
    os.nice(10)
    with workspace() as space:
        folder = given.package or make_packages(space, FOLDER.parent)[0][0]
        memory = measure(folder, 0.5 if given.quick else _MINUTES, given.cgroup)
    Console().print(Markdown(markdown(memory)))
    if not given.quick:
        (FOLDER / "memory.json").write_text(memory.model_dump_json(indent=2) + "\n", encoding="utf-8")
        readme = FOLDER / "README.md"
        readme.write_text(update(readme.read_text(encoding="utf-8"), memory), encoding="utf-8")


if __name__ == "__main__":
    main()
