import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.gate import Verdict
from nbship.kubeflow.api import Connection
from nbship.kubeflow.client import get_run
from nbship.kubeflow.server import Server
from nbship.workflow.incluster.result import Result, has_result, read_result, tell
from tests.kubeflow_runs import look, node_id
from tests.kubeflow_server import KubeflowServer, serve

RESULT = Result(
    verdict=Verdict(passed=True, reasons=("rmse 0.5 ≤ 1\u2028 and better",)),
    metrics={"evaluate.rmse": 0.5, "evaluate.rmse_low": 0.4, "train.cv_rmse": math.inf},
    step="evaluate",
)


@pytest.fixture(scope="module")
def server():
    with serve(KubeflowServer()) as running:
        yield running


def read(server, logs, **tasks):
    """Reads the result of a run, where there are logs of steps."""
    server.archived = {node_id(step): log for step, log in logs.items()}
    server.runs = {"run-1": {"run_id": "run-1"}}
    look("SUCCEEDED", **tasks)(server.runs["run-1"])
    connection = Connection(Server(server.address, timeout=2, backoff=0.01), dict)
    run = get_run(connection, "run-1")
    return read_result(connection, run) if has_result(run) else "nothing to tell"


def told(result, capsys):
    tell(result)
    return f"{capsys.readouterr().out}[KFP Executor] done\n"


def test_what_a_step_tells_is_read(server, capsys):
    found = read(server, {"gate": told(RESULT, capsys)}, checkout="SUCCEEDED", gate="SUCCEEDED")
    assert found == RESULT
    assert found.main_metrics == {"rmse": 0.5, "rmse_low": 0.4}


def test_the_published_version_is_added(server, capsys):
    logs = {"gate": told(RESULT, capsys), "publish": told(Result(version="v1.2.0"), capsys)}
    found = read(server, logs, gate="SUCCEEDED", publish="SUCCEEDED")
    assert found == RESULT.model_copy(update={"version": "v1.2.0"})
    assert read(server, {"gate": logs["gate"]}, gate="SUCCEEDED", publish="SUCCEEDED") == RESULT


def test_without_a_gate_all_metrics_are_main_ones(server, capsys):
    result = Result(metrics={"train.rmse": 0.5})
    found = read(server, {"record": told(result, capsys)}, record="SUCCEEDED")
    assert (found.verdict, found.main_metrics) == (None, {"train.rmse": 0.5})


@pytest.mark.parametrize("log", ["", "nbship-result ", "nbship-result {", 'nbship-result {"metrics": 1}\n'])
def test_a_log_that_does_not_tell(server, log):
    assert read(server, {"gate": log}, gate="SUCCEEDED") is None


def test_no_log(server):
    assert read(server, {}, gate="SUCCEEDED") is None


@pytest.mark.parametrize("state", ["FAILED", "SKIPPED", "RUNNING"])
def test_a_run_that_judged_nothing_has_nothing_to_tell(server, state):
    assert read(server, {}, prepare="SUCCEEDED", gate=state) == "nothing to tell"


@given(text=st.text(st.characters(exclude_categories=["Cs"])), number=st.floats())
def test_any_text_and_number_is_one_line_of_ascii(text, number):
    import contextlib
    import io

    result = Result(verdict=Verdict(passed=False, reasons=(text,)), metrics={text: number})
    with contextlib.redirect_stdout(io.StringIO()) as out:
        tell(result)
    line = out.getvalue()
    assert line.isascii()
    assert line.count("\n") == 1
    found = Result.model_validate_json(line.removeprefix("nbship-result "))
    assert found.verdict == result.verdict
    assert repr(found.metrics) == repr(result.metrics)
