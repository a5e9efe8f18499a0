from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils.quantity import parse_quantity

from nbship.cluster import manifest
from nbship.cluster.state import ServiceState, has_started, is_accepted, is_routed_alone, routed_share

SERVICE = {
    "metadata": {"name": "line"},
    "spec": {"predictor": {"name": "v1"}, "canary": [{"predictor": {"name": "v2"}}]},
}
NEW = "line-v2-predictor"


def route(*refs, **status):
    weighted = [{"name": f"line-{name}-predictor", **rest} for name, rest in refs]
    return {"metadata": {"generation": 3}, "spec": {"rules": [{"backendRefs": weighted}]}, "status": status}


@pytest.mark.parametrize(
    ("found", "share"),
    [
        (None, 0),
        (route(("v1", {"weight": 90}), ("v2", {"weight": 10})), 10),
        (route(("v1", {"weight": 3}), ("v2", {"weight": 1})), 25),
        (route(("v1", {})), 0),
        (route(("v1", {}), ("v2", {})), 50),
        (route(("v1", {"weight": 0}), ("v2", {"weight": 7})), 100),
        (route(("v1", {"weight": 0}), ("v2", {"weight": 0})), 0),
    ],
)
def test_a_weight_is_a_share_of_their_sum(found, share):
    assert routed_share(ServiceState(SERVICE, found), NEW) == share


def test_a_rule_for_other_paths_does_not_count():
    other = {"backendRefs": [{"name": "line-explainer", "weight": 100}]}
    found = route(("v1", {"weight": 60}), ("v2", {"weight": 40}))
    found["spec"]["rules"].insert(0, other)
    assert routed_share(ServiceState(SERVICE, found), NEW) == 40


@pytest.mark.parametrize(
    ("found", "alone"),
    [
        (None, True),
        (route(("v0", {})), True),
        (route(("v1", {})), False),
        (route(("v1", {"weight": 0}), ("v2", {"weight": 100})), True),
        (route(("v1", {"weight": 1}), ("v2", {"weight": 99})), False),
    ],
)
def test_alone_as_far_as_a_route_tells(found, alone):
    assert is_routed_alone(ServiceState(SERVICE, found), NEW) == alone


@pytest.mark.parametrize(
    ("condition", "accepted"),
    [
        ({"status": "True", "observedGeneration": 3}, True),
        ({"status": "True"}, True),
        ({"status": "True", "observedGeneration": 2}, False),
        ({"status": "False", "observedGeneration": 3}, False),
    ],
)
def test_a_route_is_accepted_as_it_is_now(condition, accepted):
    assert is_accepted(route(parents=[{"conditions": [condition]}])) == accepted


@pytest.mark.parametrize(
    ("changed", "started"),
    [
        ({}, True),
        ({"observedGeneration": 1}, False),
        ({"updatedReplicas": 1}, False),
        ({"replicas": 3}, False),
        ({"availableReplicas": 1}, False),
    ],
)
def test_servers_have_started_when_all_are_new_and_ready(changed, started):
    status = {"observedGeneration": 2, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2, **changed}
    template = {"metadata": {"labels": {"app": "x", "nbship/version": "v2"}}}
    found = {
        "metadata": {"generation": 2},
        "spec": {"replicas": 2, "template": template},
        "status": status,
    }
    state = ServiceState(SERVICE, None, {NEW: found})
    assert has_started(state, {"name": "v2", "labels": {"nbship/version": "v2"}}) == started
    assert not has_started(state, {"name": "v2", "labels": {"nbship/version": "v3"}})
    assert not has_started(state, {"name": "v1"})


@given(
    st.decimals(min_value=0, max_value=10**6, places=3, allow_nan=False),
    st.sampled_from(["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"]),
)
def test_a_quantity_keeps_its_value_and_is_written_one_way(number, suffix):
    number = number.to_integral_value() if suffix == "m" else number.normalize()
    text = f"{number:f}{suffix}"
    written = manifest.quantity(text)
    assert parse_quantity(written) == parse_quantity(text)
    assert manifest.quantity(written) == written
    amount = parse_quantity(text)
    if amount and amount % Decimal("0.001") == 0 and not suffix.endswith("i"):
        assert "." not in written


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("1000m", "1"),
        ("1.5", "1500m"),
        ("1024Mi", "1Gi"),
        ("0.5Gi", "512Mi"),
        ("1.5Ki", "1536"),
        ("1000", "1k"),
        ("500m", "500m"),
        ("0", "0"),
    ],
)
def test_quantities_as_kubernetes_stores_them(text, stored):
    """As `resource.Quantity`'s documentation has it, and KServe's webhook does."""
    assert manifest.quantity(text) == stored
