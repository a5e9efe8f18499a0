"""What a look becomes for Prometheus."""

from __future__ import annotations

import http.server
import math
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from nbship.errors import NbshipError
from nbship.monitoring.gauges import Look, exposition, push
from tests.servers import http_server

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
LOOK = Look(
    model="auto-mpg",
    stage="production",
    state="act",
    time=NOON,
    records=120,
    labels=40,
    newest_record=NOON,
    newest_label=NOON,
    effects={"yr": 1.0, 'odd "column"\n': 0.25},
    metrics={"rmse": 9.5, "r2": math.nan},
    promised={"rmse": 1.9},
)


def lines(look: Look) -> list[str]:
    return [line for line in exposition(look).splitlines() if not line.startswith("#")]


def test_each_number_is_a_gauge_of_the_model() -> None:
    whose = 'model="auto-mpg",stage="production"'
    found = lines(LOOK)
    assert f"nbship_monitor_state{{{whose}}} 2.0" in found
    assert f"nbship_monitor_labelled_records{{{whose}}} 40.0" in found
    (newest,) = (line for line in found if "newest_label" in line)
    assert float(newest.split()[-1]) == NOON.timestamp()
    assert f'nbship_monitor_column_effect{{column="yr",{whose}}} 1.0' in found
    assert f'nbship_monitor_column_effect{{column="odd \\"column\\"\\n",{whose}}} 0.25' in found
    assert f'nbship_monitor_promised_metric{{metric="rmse",{whose}}} 1.9' in found
    assert "r2" not in "".join(found)  # what is no number says nothing


def test_what_never_came_has_no_time() -> None:
    text = exposition(replace(LOOK, newest_label=None, newest_record=None, stage=""))
    assert "newest" not in text
    assert "stage" not in text


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool on this machine")
def test_prometheus_takes_the_text() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=exposition(LOOK), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_it_takes_the_place_of_the_last_one_of_the_model_and_stage() -> None:
    seen = []

    class Pushgateway(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            seen.append((self.path, body))
            self.send_response(200)
            self.end_headers()

    with http_server(Pushgateway) as address:
        push(LOOK, address)
    assert seen == [("/metrics/job/nbship-monitor/model/auto-mpg/stage/production", exposition(LOOK))]
    with pytest.raises(NbshipError, match="rejected the gauges of auto-mpg"):
        push(LOOK, address)
