"""Deployments where the cluster does as KServe's real controller does, which is not always as it says."""

import http.server
import json
import re
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from nbship.cluster.check import CheckError
from nbship.config import Monitor
from nbship.errors import NbshipError
from nbship.workflow import watching
from nbship.workflow.deploy import deploy
from nbship.workflow.deployments import list_deployments
from tests.deploying import KEY, make_stage, pipeline_with, predict, serving, use
from tests.kubernetes_server import Fault
from tests.servers import http_server

MODES = ["Standard", "Knative"]
ALL = {"v1.0.0": 100}


@pytest.fixture(params=MODES)
def mode(request, cluster):
    use(cluster, request.param)
    return request.param


def pods_of(cluster, version):
    found = (pod for each in cluster.controllers.deployments.values() for pod in each.pods)
    return {pod.name for pod in found if pod.template["labels"]["nbship/version"] == version}


def test_a_share_is_told_only_once_the_route_has_it(root, cluster):
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    # Twice the servers are asked for, and until they have started the route stays as it was.
    cluster.controllers.pod_start = 12
    told = []

    def report(line):
        if "% of the traffic" in line and "deployed" not in line:
            (rule,) = cluster.controllers.routes[KEY]["spec"]["rules"]
            weights = {ref["name"]: ref["weight"] for ref in rule["backendRefs"]}
            told.append((line, weights.get("line-v1-1-0-predictor")))

    deploy(root, pipeline_with(), "staging", "v1.1.0", report)
    assert told == [(f"v1.1.0 has {share} % of the traffic", share) for share in (10, 50, 100)]


@pytest.mark.parametrize("why", ["this KServe gives HTTPRoutes no weights", "there is no HTTPRoute"])
def test_where_traffic_cannot_be_split_it_is_said_and_the_version_switched(root, cluster, monkeypatch, why):
    monkeypatch.setattr(watching, "SETTLE", 0.05)
    if "weights" in why:
        cluster.controllers.splits = False
    else:
        cluster.controllers.gateway_api = False
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    said = []
    deploy(root, pipeline_with(), "staging", "v1.1.0", said.append)
    assert not [line for line in said if "has 10 %" in line or "has 50 %" in line or "has 100 %" in line]
    assert any(line.startswith(f"traffic is not split: {why}") for line in said)
    assert serving(cluster) == {"v1.1.0": 100}
    assert cluster.shares == [ALL, {"v1.1.0": 100}]


@pytest.mark.parametrize("splits", [True, False])
def test_a_version_that_goes_bad_once_it_has_all_the_traffic_is_taken_back(
    root, cluster, monkeypatch, splits
):
    monkeypatch.setattr(watching, "SETTLE", 0.05)
    cluster.controllers.splits = splits
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    before = pods_of(cluster, "v1.0.0")

    def served(pod, body):
        promoted = cluster.services[KEY]["metadata"]["labels"]["nbship/version"] == "v1.1.0"
        bad = promoted and pod["labels"]["nbship/version"] == "v1.1.0"
        return (500, {}) if bad else predict(pod, body)

    cluster.served = served
    with pytest.raises(CheckError, match="requests failed"):
        deploy(root, pipeline_with(), "staging", "v1.1.0")
    assert serving(cluster) == ALL
    assert before <= pods_of(cluster, "v1.0.0")
    assert not pods_of(cluster, "v1.1.0")
    assert cluster.services[KEY]["metadata"]["labels"]["nbship/version"] == "v1.0.0"


def test_what_serves_is_told_by_the_route_and_not_by_what_was_asked_for(root, cluster, monkeypatch):
    monkeypatch.setattr(watching, "SETTLE", 0.05)
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    cluster.controllers.splits = False
    told = []

    def report(line):
        if line.startswith("traffic is not split"):
            (stage,) = list_deployments(root, pipeline_with()).serving
            asked = cluster.services[KEY]["spec"]["canary"][0]["trafficPercent"]
            told.append((stage.version, stage.canary, stage.traffic, asked))

    deploy(root, pipeline_with(), "staging", "v1.1.0", report)
    assert told == [("v1.0.0", "v1.1.0", 0, 10)]


def test_no_request_meets_a_server_that_is_gone(root, cluster, mode):
    """However late the gateway is: what had traffic stays until it has none."""
    cluster.controllers.route_lag = 4
    for version in ("v1.0.0", "v1.1.0", "v1.2.0"):
        deploy(root, pipeline_with(requests=9), "staging", version)
    assert serving(cluster) == {"v1.2.0": 100}
    assert all("" not in shares for shares in cluster.shares), cluster.shares


def test_no_request_meets_a_canary_that_was_taken_back(root, cluster):
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    cluster.controllers.route_lag = 3

    def served(pod, body):
        new = pod["labels"]["nbship/version"] == "v1.1.0"
        return (500, {}) if new and cluster.shares[-1].get("v1.1.0") == 50 else predict(pod, body)

    cluster.served = served
    with pytest.raises(CheckError, match="requests failed"):
        deploy(root, pipeline_with(requests=20), "staging", "v1.1.0")
    assert serving(cluster) == ALL
    assert all("" not in shares for shares in cluster.shares), cluster.shares


def test_a_share_is_watched_for_as_long_as_is_set(root, cluster, monkeypatch):
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    slept = []

    class Clock:
        monotonic = staticmethod(lambda: sum(slept))
        sleep = slept.append

    monkeypatch.setattr(watching, "time", Clock)
    deploy(root, pipeline_with(dwell=60, requests=20, timeout=900), "staging", "v1.1.0")
    # At 10, 50 and 100 %: 20 requests, 3 s from one to the next.
    assert slept == [3.0] * 60


def test_the_servers_that_were_checked_are_those_that_serve(root, cluster, mode):
    """Labels and annotations are copied into pods: whatever says that a version serves starts none anew."""
    checked = {}

    def served(pod, body):
        version = pod["labels"]["nbship/version"]
        checked.setdefault(version, pods_of(cluster, version))
        return predict(pod, body)

    cluster.served = served
    for version in ("v1.0.0", "v1.1.0"):
        deploy(root, pipeline_with(), "staging", version)
        assert serving(cluster) == {version: 100}
        assert pods_of(cluster, version) == checked[version]


def test_settings_with_which_servers_cannot_start_are_told_and_taken_back(root, cluster, mode):
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    said = []
    with pytest.raises(NbshipError, match=r"is not ready after 0\.3 s.*Insufficient cpu"):
        deploy(root, pipeline_with(cpu="100", timeout=0.3), "staging", "v1.0.0", said.append)
    assert said[-1] == "v1.0.0 has its settings from before"
    requests = cluster.services[KEY]["spec"]["predictor"]["model"]["resources"]["requests"]
    assert requests["cpu"] == "500m"
    assert serving(cluster) == ALL


def test_changed_settings_are_done_when_the_new_servers_are_ready(root, cluster, mode):
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    cluster.controllers.pod_start = 15
    asked = []

    def served(pod, body):
        asked.append(cluster.services[KEY]["spec"]["predictor"]["labels"]["nbship/settings"])
        assert pod["labels"]["nbship/settings"] == asked[-1]
        return predict(pod, body)

    cluster.served = served
    assert deploy(root, pipeline_with(memory="2Gi"), "staging", "v1.0.0").changed
    assert asked


@pytest.mark.parametrize("on", ["GET /apis/serving", "PATCH", "/proxy/", "/httproutes/"])
def test_an_api_server_that_restarts_is_waited_for(root, cluster, on):
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    hits = []

    def restart(line):
        # In the middle of a deployment, of a check too, and for more than a client's usual tries.
        hits.extend([line] if on in line else [])
        if not cluster.faults and len(hits) == 3:
            cluster.faults.append(Fault("", refused=True, times=12))
            # Ready to listen, it does not know its roles at once.
            cluster.faults.append(Fault("", status=403, times=3))
            cluster.faults.append(Fault("", status=503, times=3))

    cluster.before = restart
    deploy(root, pipeline_with(), "staging", "v1.1.0")
    assert cluster.faults
    assert not any(fault.times > 0 for fault in cluster.faults)
    assert serving(cluster) == {"v1.1.0": 100}


@pytest.mark.parametrize("first", [True, False])
def test_servers_that_crash_are_told_at_once_with_their_last_lines(root, cluster, mode, first):
    if not first:
        deploy(root, pipeline_with(), "staging", "v1.0.0")
    cluster.stuck["pvc://store/models/line/v1.1.0"] = "Traceback\nMemoryError: 3 GiB"
    with pytest.raises(CheckError, match=r"CrashLoopBackOff.*\nTraceback\nMemoryError: 3 GiB"):
        deploy(root, pipeline_with(timeout=600), "staging", "v1.1.0")
    assert (KEY not in cluster.services) if first else serving(cluster) == ALL


@pytest.mark.parametrize("first", [True, False])
def test_a_service_that_somebody_deletes_is_noticed_at_once(root, cluster, mode, first):
    if not first:
        deploy(root, pipeline_with(), "staging", "v1.0.0")
    cluster.controllers.pod_start = 10**9
    seen = len(cluster.seen)

    def delete(line):
        if len(cluster.seen) == seen + 25:
            cluster.controllers.remove(KEY)

    cluster.before = delete
    with pytest.raises(NbshipError, match="the InferenceService models/line is gone"):
        deploy(root, pipeline_with(timeout=600), "staging", "v1.1.0")
    assert len(cluster.seen) < seen + 40


def test_a_canary_that_another_deployment_replaces_is_noticed_at_once(root, cluster, mode):
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    cluster.controllers.pod_start = 40
    started = []

    def replace(line):
        if "watch" not in line and len(cluster.writes()) > 5 and not started and line.startswith("GET"):
            started.append(len(cluster.seen))
            cluster.controllers.pod_start = 2
            deploy(root, pipeline_with(), "staging", "v1.2.0")

    cluster.before = replace
    with pytest.raises(NbshipError, match=r"another deployment (replaced the canary v1\.1\.0|put v1\.2\.0)"):
        deploy(root, pipeline_with(timeout=600), "staging", "v1.1.0")
    assert started
    assert serving(cluster) == {"v1.2.0": 100}


def test_a_first_version_is_removed_although_its_status_changes_meanwhile(root, cluster):
    cluster.served = lambda pod, body: (200, {"predictions": [0]})
    changes = []

    def touch(line):
        if line.startswith("DELETE") and len(changes) < 3:
            changes.append(line)
            cluster.services[KEY]["metadata"]["resourceVersion"] += "0"

    cluster.before = touch
    with pytest.raises(CheckError, match="wrong prediction"):
        deploy(root, pipeline_with(), "staging", "v1.0.0")
    assert len(changes) == 3
    assert cluster.services == {}


def test_an_answer_to_the_creation_that_is_lost_is_no_other_deployment(root, cluster):
    cluster.faults = [Fault("POST /apis", lost=True)]
    assert deploy(root, pipeline_with(), "staging", "v1.0.0").changed


def test_quantities_in_other_words_are_no_change(root, cluster):
    pipeline = pipeline_with(cpu="1000m", memory="1024Mi")
    deploy(root, pipeline, "staging", "v1.0.0")
    before = cluster.writes()
    assert not deploy(root, pipeline, "staging", "v1.0.0").changed
    assert not deploy(root, pipeline_with(cpu="1", memory="1Gi"), "staging", "v1.0.0").changed
    assert cluster.writes() == before


def test_an_account_that_may_not_watch_or_read_pods_deploys_all_the_same(root, cluster, mode):
    cluster.may_read = ("deployments", "httproutes")
    for version in ("v1.0.0", "v1.1.0"):
        deploy(root, pipeline_with(make_stage(min_replicas=2, max_replicas=4)), "staging", version)
    assert serving(cluster) == {"v1.1.0": 100}


class Prometheus(http.server.BaseHTTPRequestHandler):
    """Answers as Prometheus does, of clients that a version fails; or not at all."""

    failing: ClassVar[dict[str, float]] = {}
    status = 200

    def do_GET(self):
        (query,) = parse_qs(urlsplit(self.path).query)["query"]
        assert 'namespace="models", model="line"' in query
        asked = {"v1.0.0": 900, "v1.1.0": 100}
        found = self.failing if "5.." in query else {} if "4.." in query else asked
        result = [{"metric": {"version": v}, "value": [0, str(n)]} for v, n in found.items()]
        body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize(
    ("failing", "status", "why"),
    [
        ({"v1.1.0": 30}, 200, "v1.1.0 fails 30.0% of 100 requests, the version beside it 0.0%"),
        ({"v1.1.0": 30, "v1.0.0": 270}, 200, ""),  # both do: it is no fault of the new one
        ({"v1.1.0": 30}, 503, ""),
    ],
)
def test_a_canary_that_fails_its_clients_goes_back_by_itself(
    root, cluster, monkeypatch, failing, status, why
):
    """Although all that it is asked for the check is answered right."""
    monkeypatch.setattr(watching, "SETTLE", 0.05)
    told = Prometheus
    monkeypatch.setattr(told, "failing", failing)
    monkeypatch.setattr(told, "status", status)
    deploy(root, pipeline_with(), "staging", "v1.0.0")
    said = []
    with http_server(told) as address:
        pipeline = pipeline_with().model_copy(update={"monitor": Monitor(prometheus=address)})
        if why:
            with pytest.raises(CheckError, match=f"clients fare worse: {re.escape(why)}"):
                deploy(root, pipeline, "staging", "v1.1.0", said.append)
        else:
            deploy(root, pipeline, "staging", "v1.1.0", said.append)
    assert serving(cluster) == (ALL if why else {"v1.1.0": 100})
    assert any("what clients get is not known" in line for line in said) == (status == 503)
