import pytest

from nbship.cluster import pods
from nbship.cluster.pods import Trouble, find_trouble


def waiting(reason, name="kserve-container", restarts=0, kind="containerStatuses"):
    state = {"waiting": {"reason": reason, "message": "so it is"}}
    return {kind: [{"name": name, "state": state, "restartCount": restarts}]}


def found(monkeypatch, *statuses):
    """What is told of pods with these statuses; and which logs were read."""
    items = [{"metadata": {"name": f"pod-{n}"}, "status": status} for n, status in enumerate(statuses)]
    read = []

    def read_text(cluster, path, query):
        read.append((path.split("/")[-2], query["container"]))
        return "last line\n"

    class Cluster:
        namespace = "models"

    monkeypatch.setattr(pods, "call", lambda *_, **__: {"items": items})
    monkeypatch.setattr(pods, "read_text", read_text)
    return find_trouble(Cluster, "line", {"nbship/version": "v1.0.0"}), read


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_a_pod_that_starts_is_in_no_trouble(monkeypatch, reason):
    assert found(monkeypatch, waiting(reason), {}) == (None, [])


@pytest.mark.parametrize(
    ("status", "is_final"),
    [
        (waiting("ImagePullBackOff"), True),
        (waiting("InvalidImageName"), True),
        (waiting("ErrImagePull"), False),
        (waiting("CreateContainerConfigError"), False),
        (waiting("CrashLoopBackOff"), True),
    ],
)
def test_what_may_pass_is_told_from_what_will_not(monkeypatch, status, is_final):
    trouble, read = found(monkeypatch, status)
    assert trouble.is_final == is_final
    assert trouble.reason.endswith(": so it is")
    assert read == []


def test_the_last_lines_are_those_of_the_container_that_crashed(monkeypatch):
    crashed = waiting("CrashLoopBackOff", "storage-initializer", restarts=2, kind="initContainerStatuses")
    crashed |= {"containerStatuses": [{"name": "kserve-container", "state": {"waiting": {}}}]}
    trouble, read = found(monkeypatch, waiting("ErrImagePull"), crashed)
    told = "storage-initializer: CrashLoopBackOff: so it is"
    assert trouble == Trouble(told, is_final=True, log="last line")
    assert read == [("pod-1", "storage-initializer")]


def test_a_pod_without_a_node_says_why(monkeypatch):
    why = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "Insufficient cpu",
    }
    trouble, _ = found(monkeypatch, {"conditions": [why]})
    assert trouble == Trouble("Unschedulable: Insufficient cpu")
