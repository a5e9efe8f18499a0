"""A step that fails on Kubeflow leaves its executed notebook in its log, and it is read from there."""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

import pytest

from nbship.cli.runs import write_notebook
from nbship.errors import NbshipError, UsageError
from nbship.kubeflow.api import Connection
from nbship.kubeflow.client import get_run
from nbship.kubeflow.component import clean_notebook
from nbship.kubeflow.server import Server
from nbship.workflow.incluster import failed
from nbship.workflow.incluster.step import run_step
from tests import projects
from tests.kubeflow_runs import look, node_id
from tests.kubeflow_server import KubeflowServer, serve

RUN = "4f1e7c9a-6f0e-4f1c-9a53-2f1b8a1d0c11"
URI = (
    f"minio://mlpipeline/v2/artifacts/line/{RUN}/train/0d5a7c9a-6f0e-4f1c-9a53-2f1b8a1d0c11/executed_notebook"
)
COMMAND = f"nbship runs notebook {RUN} train --pipeline line"


@pytest.fixture(scope="module")
def server():
    with serve(KubeflowServer()) as running:
        yield running


def connection(server, log, **tasks):
    server.archived = {node_id("train"): log}
    server.runs = {RUN: {"run_id": RUN}}
    look("FAILED", **tasks)(server.runs[RUN])
    return Connection(Server(server.address, timeout=2, backoff=0.01), dict)


def read(server, log, step="train", **tasks):
    connected = connection(server, log, **(tasks or {"prepare": "SUCCEEDED", "train": "FAILED"}))
    return json.loads(failed.read(connected, get_run(connected, RUN), step))


def run_failing(tmp_path, *code, uri=URI):
    """Runs a step that fails; returns where its page was written."""
    page = tmp_path / "page"
    source = projects.write_notebook(tmp_path / "source/n.ipynb", "", *code)
    with pytest.raises(SystemExit):
        run_step(
            {},
            SimpleNamespace(path=str(page), uri=uri, metadata={}),
            path="n.ipynb",
            notebook=json.dumps(clean_notebook(source)),
        )
    return page


@pytest.mark.e2e
def test_the_notebook_of_a_failed_step_is_read_from_its_log(server, tmp_path, capfd, monkeypatch):
    run_failing(tmp_path, "print('came so far')", "1 / 0", "print('never')")
    log, said = capfd.readouterr()
    assert max(map(len, log.splitlines())) < 16 * 1024
    assert f"hint:  the notebook so far: {COMMAND}\n" in said
    assert "/tmp" not in said and str(tmp_path) not in said

    cells = read(server, log)["cells"]
    outputs = [cell.get("outputs") for cell in cells if cell["cell_type"] == "code"][-3:]
    assert outputs[0][0]["text"] == ["came so far\n"]
    assert outputs[1][0]["ename"] == "ZeroDivisionError"
    assert outputs[2] == []

    connected = connection(server, log, train="FAILED")
    monkeypatch.setattr("nbship.workflow.submit.connect_for", lambda *_: connected)
    monkeypatch.setattr("nbship.cli.runs.project_root", lambda: tmp_path)
    monkeypatch.chdir(tmp_path)
    write_notebook(RUN, "train")
    assert json.loads((tmp_path / "train-failed.ipynb").read_text())["cells"] == cells


@pytest.mark.e2e
def test_where_no_run_of_kubeflow_is_told_the_page_is_named(tmp_path, capfd):
    page = run_failing(tmp_path, "exit()", "1", uri="gs://bucket/1/page")
    log, said = capfd.readouterr()
    assert "nbship-notebook" not in log
    assert "the notebook so far: gs://bucket/1/page" in said
    assert "hint:  remove it; to end a step early" in said
    assert page.exists()


def executed(tmp_path, *outputs):
    cells = [
        {"cell_type": "code", "source": "x", "outputs": list(outputs)},
        {"cell_type": "raw", "source": ""},
    ]
    path = tmp_path / "executed.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "cells": cells}))
    return path


def noise(size):
    return hashlib.shake_128(b"").hexdigest(size)


@pytest.mark.parametrize(
    ("image", "text", "kept"),
    [(100, 100, [0, 1, 2]), (1_500_000, 100, [1, 2]), (1_500_000, 1_500_000, [2])],
)
def test_what_is_too_much_for_a_log_is_left_out(server, tmp_path, capsys, image, text, kept):
    outputs = [
        {"output_type": "display_data", "data": {"image/png": noise(image)}},
        {"output_type": "stream", "text": noise(text)},
        {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": ["größer"]},
    ]
    failed.tell(executed(tmp_path, *outputs))
    log = capsys.readouterr().out
    assert len(log) < 1.1 * 2**20
    assert read(server, log)["cells"][0]["outputs"] == [outputs[n] for n in kept]


@pytest.mark.parametrize("cut", [slice(0, 0), slice(0, 8_000), slice(9_000, None)])
def test_a_log_that_is_not_whole(server, tmp_path, capsys, cut):
    failed.tell(executed(tmp_path, {"output_type": "stream", "text": noise(9_000)}))
    log = capsys.readouterr().out
    assert read(server, log)
    with pytest.raises(NbshipError, match="the log of 'train' has no notebook"):
        read(server, log[cut])


def test_a_step_that_did_not_fail(server):
    with pytest.raises(UsageError, match="no step 'prepare' has failed") as caught:
        read(server, "", step="prepare")
    assert "train" in caught.value.hint
