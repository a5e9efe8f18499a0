"""KServe's and Knative's controllers, as far as a deployment goes by what they do: Services, pods and status.

For an API server without controllers. What gateways route is told by the status alone, as KServe tells it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import urllib3

from tests.cluster.api import MERGE, Api
from tests.cluster.pods import Pod, answering, make_pod, make_service
from tests.deploying import predict

Record = dict[str, Any]
GROUP = "/apis/serving.kserve.io/v1beta1"
_PAUSE = 0.02


@dataclass
class Controllers:
    """What the controllers of a namespace have made.

    Attributes:
        api: The cluster.
        namespace: Theirs.
        pods: The pods, by the name of their Service.
        revisions: Knative's, by service: the predictor of each, without its share of the traffic.
        rolled_out: Which of these had all the traffic last, by service.
        wrong: Versions whose servers answer wrongly.
    """

    api: Api
    namespace: str
    servers: contextlib.ExitStack
    pods: dict[str, Pod] = field(default_factory=dict)
    revisions: dict[str, list[Record]] = field(default_factory=dict)
    rolled_out: dict[str, int] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    seen: dict[str, str] = field(default_factory=dict)

    def work(self) -> None:
        """Does what there is to do, once."""
        services = f"{GROUP}/namespaces/{self.namespace}/inferenceservices"
        status, answer = self.api.ask("GET", services)
        for service in answer["items"] if status == 200 else ():
            metadata = service["metadata"]
            if self.seen.get(metadata["uid"]) == metadata["resourceVersion"]:
                continue
            mode = metadata["annotations"]["serving.kserve.io/deploymentMode"]
            told = self._standard(service) if mode == "Standard" else self._knative(service)
            url = f"{services}/{metadata['name']}/status"
            body = {"status": {**told, **self._common(service, mode)}}
            # Its answer is what was seen: what the status changes is no news.
            status, answer = self.api.ask("PATCH", url, body, kind=MERGE)
            if status == 200:
                self.seen[metadata["uid"]] = answer["metadata"]["resourceVersion"]

    def _common(self, service: Record, mode: str) -> Record:
        metadata = service["metadata"]
        hidden = "networking.kserve.io/visibility" in metadata.get("labels", {})
        domain = "svc.cluster.local" if hidden else "example.org"
        return {
            "conditions": [{"type": "Ready", "status": "True"}],
            "deploymentMode": mode,
            "url": f"http://{metadata['name']}-{metadata['namespace']}.{domain}",
        }

    def _standard(self, service: Record) -> Record:
        name, spec = service["metadata"]["name"], service["spec"]
        canaries = spec.get("canary") or []
        for predictor in [spec["predictor"], *(canary["predictor"] for canary in canaries)]:
            self._serve(f"{name}-{predictor['name']}-predictor", predictor)
        told = [
            {"name": canary["predictor"]["name"], "trafficPercent": canary["trafficPercent"], "ready": True}
            for canary in canaries
        ]
        return {"canaryStatuses": told or None}

    def _knative(self, service: Record) -> Record:
        name, predictor = service["metadata"]["name"], service["spec"]["predictor"]
        template = {key: value for key, value in predictor.items() if key != "canaryTrafficPercent"}
        revisions = self.revisions.setdefault(service["metadata"]["uid"], [])
        if not revisions or revisions[-1] != template:
            revisions.append(template)
        names = [f"{name}-predictor-{number:05}" for number in range(1, len(revisions) + 1)]
        self._serve(f"{names[-1]}-private", template)
        percent, before = predictor.get("canaryTrafficPercent"), self.rolled_out.get(name, 0)
        if percent is None:
            self.rolled_out[name], percent = len(revisions) - 1, 100
        traffic = [{"revisionName": names[-1], "percent": percent}]
        if percent < 100:
            traffic.append({"revisionName": names[before], "percent": 100 - percent})
        newest = {"latestCreatedRevision": names[-1], "latestReadyRevision": names[-1]}
        return {"components": {"predictor": {**newest, "traffic": traffic}}}

    def _serve(self, service: str, predictor: Record) -> None:
        """Has a pod behind a Service answer as the version does that the predictor names."""
        if service in self.pods:
            return
        version = predictor["labels"]["nbship/version"]

        def answer(path: str, headers: dict[str, str], body: Record) -> tuple[int, Record]:
            return (200, {"predictions": [0.5]}) if version in self.wrong else predict(predictor, body)

        where = self.servers.enter_context(answering(answer))
        self.pods[service] = make_pod(self.api, self.namespace, f"{service}-pod", where)
        make_service(self.api, self.namespace, service, [self.pods[service]])


@contextlib.contextmanager
def controllers(api: Api, namespace: str) -> Iterator[Controllers]:
    """Has the controllers work in a namespace."""
    done = threading.Event()
    with contextlib.ExitStack() as servers:
        working = Controllers(api, namespace, servers)

        def loop() -> None:
            while not done.is_set():
                # The server may be away for a while.
                with contextlib.suppress(urllib3.exceptions.HTTPError):
                    working.work()
                time.sleep(_PAUSE)

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield working
        finally:
            done.set()
            thread.join()
