"""Which CPUs a step has, and what libraries are told of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nbship import threads
from nbship.kernels import forkserver
from nbship.threads import available_cpus, limits, share
from tests.engine import nbship, run_points, write_steps

V1 = "5:cpuset:/x\n4:cpu,cpuacct:/pod/one\n0::/\n"


@pytest.fixture
def cpus(monkeypatch):
    """Pretends that the machine has a number of CPUs."""

    def have(number: int) -> None:
        monkeypatch.setattr(threads, "_affinity", lambda: number)

    return have


@pytest.mark.parametrize(
    ("groups", "files", "found"),
    [
        ("0::/\n", {}, 64),
        ("", {}, 64),
        ("0::/\n", {"cpu.max": "max 100000"}, 64),
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "250000 100000"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/\n", {"cpu.max": "nonsense"}, 64),
        ("0::/\n", {"cpu.max": ""}, 64),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        ("0::/a/b\n", {"a/cpu.max": "900000 100000", "a/b/cpu.max": "400000 100000"}, 4),
        ("0::/not/seen/from/here\n", {"cpu.max": "200000 100000"}, 2),
        (V1, {"cpu,cpuacct/pod/one/cpu.cfs_quota_us": "300000"}, 64),
        (
            V1,
            {"cpu,cpuacct/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        (
            V1,
            {
                "cpu,cpuacct/pod/one/cpu.cfs_quota_us": "-1",
                "cpu,cpuacct/pod/one/cpu.cfs_period_us": "100000",
            },
            64,
        ),
    ],
)
def test_the_quota_of_a_container_counts(tmp_path, cpus, groups, files, found):
    cpus(64)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert available_cpus(tmp_path) == found


def test_there_is_always_one_cpu_and_never_more_than_the_affinity():
    assert 1 <= available_cpus() <= len(os.sched_getaffinity(0))


CHAIN = {"a": [], "b": ["a"], "c": ["b"]}
FAN = {"a": [], "b": ["a"], "c": ["a"], "d": ["a"]}


@pytest.mark.parametrize(
    ("number", "jobs", "steps", "told"),
    [
        (8, 1, CHAIN, (None, None)),
        (8, 8, CHAIN, ("1", None)),
        (8, 2, CHAIN, ("4", None)),
        (8, 8, FAN, ("1", "2")),
        (8, 2, FAN, ("4", "4")),
        (2, 64, FAN, ("1", "1")),
        (1, 1, FAN, (None, None)),
    ],
)
def test_a_step_gets_its_share(cpus, monkeypatch, number, jobs, steps, told):
    cpus(number)
    monkeypatch.setattr(threads, "available_cpus", lambda: number)
    variables = share(jobs, steps, {})
    assert (variables.get("OMP_NUM_THREADS"), variables.get("LOKY_MAX_CPU_COUNT")) == told


def test_what_a_person_has_set_stays(cpus):
    cpus(8)
    variables = limits(2, 4, {"OMP_NUM_THREADS": "3"})
    assert "OMP_NUM_THREADS" not in variables
    assert variables["LOKY_MAX_CPU_COUNT"] == variables["NUMBA_NUM_THREADS"] == "4"


SEEN = """\
import json, os, numpy, sklearn.cluster, joblib, threadpoolctl
pools = {pool["user_api"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
json.dump({**pools, "joblib": joblib.cpu_count(), "parent": os.getppid()}, open("seen.json", "w"))"""


def seen(root: Path) -> dict[str, int]:
    return json.loads((root / "notebooks/seen.json").read_text())


@pytest.mark.parametrize("kernel", ["nbship", "python3"])
def test_libraries_start_no_more_threads_than_their_share(tmp_path, cpus, kernel, monkeypatch):
    """Also in a warm kernel, whose libraries were imported before it was there."""
    cpus(64)
    monkeypatch.setattr(threads, "available_cpus", lambda: 1)
    write_steps(tmp_path, one=SEEN)
    run_points(tmp_path, kernel=kernel)
    found = seen(tmp_path)
    assert (found["blas"], found["openmp"], found["joblib"]) == (1, 1, 1)
    if kernel == "nbship":
        assert found["parent"] == forkserver.prepare()._process.pid
    forkserver.stop()


def test_a_person_has_the_last_word(tmp_path):
    write_steps(tmp_path, one=SEEN)
    nbship(
        "run", "points", cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "5", "LOKY_MAX_CPU_COUNT": "1"}
    )
    found = seen(tmp_path)
    assert (found["openmp"], found["joblib"]) == (5, 1)
