"""Records of runs: written whole, found again, and honest about a process that died."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from nbship.errors import NbshipError, UsageError
from nbship.record import State, all_runs, find_run, new_run_id, read, running, save
from tests.records import make_record, write_run

HOLD = """\
import sys, time
from pathlib import Path
from nbship.record import running
with running(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def going_on():
    record = make_record(state=State.RUNNING, verdict=None)
    record.steps["train"].state = State.RUNNING
    return record


def test_a_record_comes_back_as_it_was(tmp_path):
    record = make_record()
    assert read(write_run(tmp_path, record)) == record


def test_a_run_goes_on_as_long_as_its_process(tmp_path):
    folder = write_run(tmp_path, going_on())
    with subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        assert read(folder).state is State.RUNNING
        assert read(folder).steps["train"].state is State.RUNNING
        process.kill()
    killed = read(folder)
    assert killed.state is State.INTERRUPTED
    assert killed.steps["train"].state is State.INTERRUPTED
    assert killed.steps["prepare"].state is State.CACHED


def test_a_number_that_another_process_has_now_does_not_count(tmp_path):
    record = going_on().model_copy(update={"process": 1})
    assert read(write_run(tmp_path, record)).state is State.INTERRUPTED


def test_the_mark_of_a_run_goes_with_it(tmp_path):
    folder = write_run(tmp_path, going_on())
    with pytest.raises(ZeroDivisionError), running(folder):
        assert read(folder).state is State.RUNNING
        raise ZeroDivisionError
    assert [path.name for path in folder.glob(".*")] == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "runs").write_text("no folder")
    with pytest.raises(NbshipError, match="runs"), running(tmp_path / "runs/line/1"):
        pass


def test_readers_never_meet_half_a_record(tmp_path):
    record = make_record()
    folder = write_run(tmp_path, record)
    with ThreadPoolExecutor(4) as pool:
        saved = [pool.submit(save, record, folder) for _ in range(40)]
        seen = [read(folder) for _ in range(40)]
    assert [future.result() for future in saved] == [None] * 40
    assert all(each == record for each in seen)
    assert [path.name for path in folder.glob(".*")] == []


@pytest.mark.parametrize("text", ["", "{", "{}", '{"id": 3}', "\0"])
def test_a_damaged_record_is_told_and_passed_over(tmp_path, text):
    good = make_record()
    write_run(tmp_path, good)
    bad = write_run(tmp_path, good.model_copy(update={"id": "20990101-000000-ffff"}))
    (bad / "run.json").write_text(text)
    with pytest.raises(NbshipError, match="not a readable record"):
        read(bad)
    assert list(all_runs(tmp_path)) == [good]


def test_runs_are_found_by_the_beginning_of_their_names(tmp_path):
    for name in ("20260301-120000-ab12", "20260301-130000-ab12", "20260302-120000-ab12"):
        write_run(tmp_path, make_record(id=name))
    assert find_run(tmp_path, "auto-mpg")[0].id == "20260302-120000-ab12"
    assert find_run(tmp_path, "auto-mpg", "20260301-13")[0].id == "20260301-130000-ab12"
    assert find_run(tmp_path, "", "20260302")[1] == tmp_path / "runs/auto-mpg/20260302-120000-ab12"
    with pytest.raises(UsageError, match="matches 2 runs"):
        find_run(tmp_path, "auto-mpg", "20260301")
    with pytest.raises(UsageError, match="no run 1999"):
        find_run(tmp_path, "auto-mpg", "1999")
    with pytest.raises(UsageError, match="no run yet of churn"):
        find_run(tmp_path, "churn")


def test_names_of_runs_sort_by_time_and_differ():
    names = [new_run_id() for _ in range(20)]
    assert [name[:15] for name in names] == sorted(name[:15] for name in names)
    assert len(set(names)) > 15
