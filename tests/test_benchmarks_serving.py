"""The tables of the comparison of model servers."""

from __future__ import annotations

from datetime import date

from benchmarks.serving import memory
from benchmarks.serving.results import (
    BEGIN,
    END,
    NBSHIP,
    STOCK,
    Batch,
    Load,
    Serving,
    Start,
    markdown,
    update,
)

from tests.test_benchmarks import ROOT

SERVING = Serving(
    measured=date(2025, 1, 2),
    cores=2,
    load=0.5,
    versions={"kserve": "0.21.0"},
    absent=["churn: check the network"],
    loads=[
        Load(model="line", server=NBSHIP, connections=8, per_second=790, p50=1, p99=2),
        Load(model="line", server=STOCK, connections=8, per_second=100, p50=10, p99=20),
    ],
    starts=[
        Start(model="line", server=NBSHIP, seconds=0.9, resident=160),
        Start(model="line", server=STOCK, seconds=5, resident=400),
    ],
    batches=[Batch(model="line", records=10_000, bare=10, with_table=20, named=13, lists=12)],
)


def test_bars_are_met_or_missed() -> None:
    lines = markdown(SERVING).split("\n")
    assert "Not measured: churn: check the network" in lines
    assert "| line, 8 connections: requests ÷ KServe | 7.9× | ≥ 8× | **missed** |" in lines
    assert "| line, 8 connections: p99 | 2.0 ms | < 20.0 ms | met |" in lines
    assert "| line, 10,000 named records ÷ bare | 1.30× | ≤ 1.2× | **missed** |" in lines
    assert "| line, 10,000 lists ÷ bare | 1.20× | ≤ 1.2× | met |" in lines
    assert "| line: ready after | 0.90 s | ≤ 1 s | met |" in lines
    assert "| line: ready ÷ KServe | 0.18× | ≤ 0.2× | met |" in lines
    assert "| line: resident | 160 MB | ≤ 150 MB | **missed** |" in lines
    assert "| line | nbship | 0.90 s | 0.18× | 160 MB |" in lines
    assert "| line, 10,000 | nbship, named records | 13 ms | 1.30× | 0.65× |" in lines


def test_only_what_is_between_the_markers_is_replaced() -> None:
    readme = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    written = update(readme, SERVING)
    assert update(written, SERVING) == written
    assert written.split(BEGIN)[0] == readme.split(BEGIN)[0]
    assert written.split(END)[1] == readme.split(END)[1]


def test_the_table_of_memory() -> None:
    phase = memory.Phase(name="texts", statuses={422: 2, 200: 1000}, peak=3 * 2**20, after=2**21)
    found = memory.Memory(measured=date(2025, 1, 2), model="line", held=True, phases=[phase])
    assert "| texts | 1,000 × 200, 2 × 422 | 3 MiB | 2 MiB |" in memory.markdown(found).split("\n")
    readme = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    written = memory.update(readme, found)
    assert memory.update(written, found) == written
    assert written.split(memory.END)[1] == readme.split(memory.END)[1]
