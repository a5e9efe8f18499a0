from datetime import date
from pathlib import Path

import pytest
from benchmarks import report, skill
from benchmarks.contestants import PIPELINE, plain_script
from benchmarks.engine import write_project
from benchmarks.results import (
    COMPILE,
    HELP,
    NBSHIP,
    PLAIN,
    RERUN,
    Memory,
    Results,
    Share,
    Timing,
    bars,
    best_peer,
    overhead,
)

from nbship.config import load_pipeline
from nbship.graph import read_graph

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks/results.json"
README = ROOT / "benchmarks/README.md"


@pytest.fixture
def results() -> Results:
    return Results(
        measured=date(2026, 1, 2),
        processor="a processor",
        cores=2,
        memory_gib=8,
        load=0.5,
        system="Linux x86_64",
        python="3.11.7",
        versions={"nbship": "0.1.0"},
        pipeline=[
            Timing(name=PLAIN, seconds=[2.0, 9.0, 1.0]),
            Timing(name=NBSHIP, seconds=[3.0], kernel_per_step=True),
            Timing(name="slow", seconds=[12.0], kernel_per_step=True),
            Timing(name="fast", seconds=[8.0], kernel_per_step=True),
            Timing(name="no kernels", seconds=[2.5]),
            Timing(name="broken", absent="no such module", kernel_per_step=True),
        ],
        commands=[
            Timing(name=RERUN, seconds=[0.7]),
            Timing(name=HELP, seconds=[0.1]),
            Timing(name=COMPILE, seconds=[1.0]),
        ],
        engine=[Share(name="chain", steps=200, seconds=20.0)],
        memory=[Memory(name="server", resident=3 * 2**20, proportional=2 * 2**20, unique=2**20)],
    )


def test_readme_shows_the_results_file():
    readme = README.read_text(encoding="utf-8")
    written = Results.model_validate_json(RESULTS.read_bytes())
    assert report.update(readme, written) == readme


def test_files_name_no_machine_path():
    for path in (RESULTS, README):
        text = path.read_text(encoding="utf-8")
        assert str(ROOT) not in text
        assert str(Path.home()) not in text


def test_overhead_is_beyond_the_median_of_the_plain_script(results):
    assert overhead(results.pipeline[2], results) == 10.0


def test_best_peer_is_the_fastest_other_with_a_kernel_per_step(results):
    assert best_peer(results).name == "fast"


def test_bars_compare_with_the_plain_script_and_the_best_peer(results):
    found = {bar.name: (bar.value, bar.met) for bar in bars(results)}
    assert found == {
        "cold run ÷ plain script": (1.5, False),
        "overhead ÷ overhead of fast": (1 / 6, True),
        RERUN: (0.7, False),
        HELP: (0.1, True),
        COMPILE: (1.0, True),
    }


def test_without_a_peer_there_is_no_bar_for_it(results):
    alone = results.model_copy(update={"pipeline": results.pipeline[:2]})
    assert best_peer(alone) is None
    assert len(bars(alone)) == 4


def test_tables_show_every_figure_and_why_one_is_absent(results):
    text = report.markdown(results)
    assert "| fast | 8.00 s | 8.00–8.00 s of 1 | 4.00× | 6.00 s | yes |" in text
    assert "| broken | not measured: no such module |" in text
    assert "| cold run ÷ plain script | 1.50× | 1.4× | **missed** |" in text
    assert "| chain | 200 | 20.0 s | 100 ms |" in text
    assert "| server | 3 MiB | 2 MiB | 1 MiB |" in text


def test_update_replaces_only_what_is_between_the_markers(results):
    readme = f"before\n{report.BEGIN}\nprevious\n{report.END}\nafter\n"
    once = report.update(readme, results)
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "previous" not in once
    assert report.update(once, results) == once


def test_plain_script_holds_all_cells_in_order():
    graph = read_graph(ROOT, load_pipeline(ROOT, PIPELINE))
    script = plain_script(graph)
    compile(script, "plain.py", "exec")
    sources = [
        source
        for step in graph.steps.values()
        for source in (step.notebook.parameters_source, *step.notebook.code)
    ]
    places = [script.index(source) for source in sources]
    assert places == sorted(places)


def test_trivial_project_is_a_chain_and_a_fan(tmp_path):
    folder = write_project(tmp_path / "project", 3)
    chain, fan = (read_graph(folder, load_pipeline(folder, name)) for name in ("chain", "fan"))
    assert [step.upstream for step in chain.steps.values()] == [(), ("step-000",), ("step-001",)]
    assert [step.upstream for step in fan.steps.values()] == [(), (), ()]


def test_the_skill_of_new_pipelines_is_measured_on_eight_tables():
    block = README.read_text().partition(skill.BEGIN)[2].partition(skill.END)[0]
    rows = [
        [cell.strip(" *") for cell in line.split("|")[1:-1]] for line in block.splitlines() if "|" in line
    ]
    measured = {row[0]: float(row[-1]) for row in rows[2:]}
    assert list(measured) == [*(table.name for table in skill.TABLES), "mean"]
    assert measured.pop("mean") == pytest.approx(sum(measured.values()) / 8, abs=1e-3)
