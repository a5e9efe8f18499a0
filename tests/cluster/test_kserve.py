import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from kserve import models

from nbship.cluster import check, manifest, rollout
from nbship.cluster.check import CheckError, ServerAnswer, UnreachableError
from nbship.cluster.manifest import Release
from nbship.cluster.rollout import Rollout
from nbship.config import Deploy, Stage
from nbship.errors import NbshipError, UsageError
from nbship.gate import Verdict
from nbship.package import Golden, Origin, Package
from nbship.package.schema import Column, Output
from tests.kserve_controller import merge

KUBERNETES = Path(__file__).parents[2] / "kubernetes"
RELEASE = Release("line", "v1.1.0", "s3://models/line/v1.1.0", "c0ffee", "da7a", "20250101-000000-aaaa")
STAGE = Stage(namespace="models")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.text(max_size=3), JSON, max_size=4)


def unknown_keys(content, kind):
    """The keys of a resource that KServe's own models do not have; Kubernetes' types are not looked into."""
    model = getattr(models, re.sub(r"list\[(.*)\]", r"\1", kind), None)
    if isinstance(content, list):
        return [key for item in content for key in unknown_keys(item, kind)]
    if model is None or not isinstance(content, dict):
        return []
    types = {model.attribute_map[name]: known for name, known in model.openapi_types.items()}
    below = [k for key, value in content.items() if key in types for k in unknown_keys(value, types[key])]
    return [key for key in content if key not in types] + below


def service(mode, **settings):
    return manifest.inference_service(RELEASE, Deploy(**settings), STAGE, mode)


def canary_of(mode):
    way = Rollout(Release("line", "v1.2.0", "s3://models/line/v1.2.0", "", "", "r"), Deploy(), STAGE, mode)
    return merge(service(mode), rollout.begin(way, service(mode)))


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
def test_kserve_understands_every_key(mode):
    for wanted in (service(mode), canary_of(mode)):
        assert unknown_keys(wanted, "V1beta1InferenceService") == []
    wrong = merge(wanted, {"spec": {"predictor": {"minReplica": 1}}})
    assert unknown_keys(wrong, "V1beta1InferenceService") == ["minReplica"]


def test_kserve_understands_the_runtime():
    runtime = yaml.safe_load((KUBERNETES / "serving/runtime.yaml").read_text())
    assert unknown_keys(runtime, "V1alpha1ServingRuntime") == []


def test_the_cluster_settings_ask_for_no_more_than_is_used():
    for path in KUBERNETES.glob("serving/**/*.yaml"):
        for resource in yaml.safe_load_all(path.read_text()):
            for rule in resource.get("rules") or ():
                assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"], path


def test_the_kustomizations_name_files_that_are_there():
    for path in [*KUBERNETES.glob("serving/**/kustomization.yaml"), KUBERNETES / "flux/kustomization.yaml"]:
        for name in yaml.safe_load(path.read_text())["resources"]:
            assert (path.parent / name).is_file(), f"{path}: {name}"


@given(st.text(max_size=100))
def test_labels_are_what_kubernetes_accepts(text):
    assert re.fullmatch(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", manifest.label(text), re.ASCII)
    assert len(manifest.label(text)) <= 63


@given(MAPPINGS, MAPPINGS)
def test_a_replacement_makes_one_mapping_of_another(old, new):
    new = drop_nones(new)
    assert merge(old, rollout.replacement(old, new)) == new


def drop_nones(value):
    if isinstance(value, dict):
        return {key: drop_nones(item) for key, item in value.items() if item is not None}
    return value


def test_a_name_that_makes_the_services_too_long_is_refused():
    with pytest.raises(UsageError, match="longer than Kubernetes' 63 characters"):
        Release("a" * 42, "v1.0.0", "", "", "", "").canary  # noqa: B018
    assert Release("a" * 41, "v1.0.0", "", "", "", "").canary == "v1-0-0"


def package_of(*golden, scikit_learn="1.9.1"):
    column = Column(name="x", type="number")
    return Package(
        name="line",
        sha256="",
        origin=Origin(run="r", started="2025-01-01T00:00:00Z"),
        inputs=[column],
        output=Output(kind="regression", target="y", reference=column),
        rows=1,
        metrics={},
        verdict=Verdict(passed=True, reasons=()),
        libraries={"scikit-learn": scikit_learn},
        golden=list(golden),
    )


def checked(golden, status=200, body=b"{}", **settings):
    bodies = []

    def ask(content):
        bodies.append(content)
        return ServerAnswer(status, body, 0.01)

    result = check.check(ask, package_of(golden), Deploy(**{"requests": 2, **settings}))
    return result, bodies


NUMBER = Golden(record={"x": 1.5}, prediction=3.0)
CLASS = Golden(record={"x": 1}, prediction="no", probabilities=[0.75, 0.25])


@pytest.mark.parametrize(
    ("golden", "body"),
    [
        (NUMBER, b'{"predictions": [3]}'),
        (NUMBER, b'{"predictions": [3.0000001], "intervals": [[2, 4]]}'),
        (CLASS, b'{"predictions": ["no"]}'),
        (CLASS, b'{"predictions": ["no"], "probabilities": [{"no": 0.75, "yes": 0.25}]}'),
    ],
)
def test_right_answers_pass(golden, body):
    result, bodies = checked(golden, body=body)
    assert (result.requests, result.failed, result.latency) == (2, 0, 0.01)
    assert bodies == [{"instances": [golden.record]}] * 2


@pytest.mark.parametrize(
    ("golden", "body"),
    [
        (NUMBER, b'{"predictions": [3.1]}'),
        (NUMBER, b'{"predictions": ["3.0"]}'),
        (NUMBER, b'{"predictions": [null]}'),
        (NUMBER, b'{"predictions": [3.0, 3.0]}'),
        (NUMBER, b'{"predictions": 3.0}'),
        (NUMBER, b'{"outputs": [3.0]}'),
        (NUMBER, b"[3.0]"),
        (NUMBER, b"\xff"),
        (CLASS, b'{"predictions": ["yes"]}'),
        (CLASS, b'{"predictions": ["no"], "probabilities": [{"no": 0.5, "yes": 0.5}]}'),
        (Golden(record={"x": 1}, prediction=True), b'{"predictions": [1]}'),
    ],
)
def test_wrong_answers_do_not_pass_although_their_status_is_200(golden, body):
    with pytest.raises(CheckError):
        checked(golden, body=body)


def test_no_server_is_told_from_a_failing_one():
    with pytest.raises(UnreachableError):
        checked(NUMBER, status=503)
    with pytest.raises(CheckError, match="1 of 1 requests failed: HTTP status 500"):
        checked(NUMBER, status=500)


def test_a_package_without_golden_records_is_refused():
    with pytest.raises(NbshipError, match="no golden records"):
        check.check(lambda body: ServerAnswer(200, b"", 0), package_of(), Deploy())


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("folder", ["serving", "serving/cluster", "flux"])
def test_kubectl_builds_them(folder):
    command = ["kubectl", "kustomize", str(KUBERNETES / folder)]
    built = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert all({"kind", "metadata"} <= set(resource) for resource in yaml.safe_load_all(built))
