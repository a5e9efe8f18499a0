"""The custom resources that nbship's manifests are made of, as CustomResourceDefinitions.

KServe's are made from the types that it publishes in its Python package, and Kubernetes' types inside them
from that client: every key that they know and what it takes, but not which keys must be there, or what
KServe's webhooks refuse. Flux's have the keys that its documentation names; Knative's and Argo's only names.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from kserve import models
from kubernetes import client

Schema = dict[str, Any]

_ANY: Schema = {"x-kubernetes-preserve-unknown-fields": True}
_QUANTITY: Schema = {"x-kubernetes-int-or-string": True}
_PLAIN = {"str": "string", "int": "integer", "bool": "boolean", "float": "number", "datetime": "string"}
# What nbship never asks for: left out, since the server takes seconds to learn what they may be.
_FRAMEWORKS = {"huggingface", "lightgbm", "onnx", "paddle", "pmml", "pytorch", "sklearn", "tensorflow"}
_UNUSED = {"triton", "xgboost", "worker_spec", "ephemeral_containers", "volumes", "affinity"}
_LEFT_OUT = {
    "V1beta1InferenceServiceSpec": {"explainer", "transformer"},
    "V1beta1PredictorSpec": _FRAMEWORKS | _UNUSED,
}
_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}


@functools.cache
def published(kind: str) -> Schema:
    """Returns the schema of a type of KServe's or Kubernetes' Python package."""
    listed = re.fullmatch(r"list\[(.*)\]", kind)
    if listed:
        return {"type": "array", "items": published(listed[1])}
    mapped = re.fullmatch(r"dict\(str, (.*)\)", kind)
    if mapped:
        return {"type": "object", "additionalProperties": published(mapped[1])}
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    model = getattr(models, kind, None) or getattr(client, kind, None)
    if model is None:
        return _ANY
    properties = {
        model.attribute_map[name]: published(below)
        for name, below in model.openapi_types.items()
        if name not in _LEFT_OUT.get(kind, ())
    }
    if kind == "V1ResourceRequirements":
        amounts = {"type": "object", "additionalProperties": _QUANTITY}
        properties |= {"requests": amounts, "limits": amounts}
    return {"type": "object", "properties": properties}


def record(**properties: Schema) -> Schema:
    """Returns the schema of a record with these keys and no others."""
    return {"type": "object", "properties": properties}


def definition(
    group: str, version: str, kind: str, plural: str, spec: Schema, cluster: bool = False
) -> Schema:
    """Returns a definition; the status of its resources may be anything."""
    schema = {"type": "object", "properties": {"spec": spec, "status": _ANY}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        # What Kubernetes asks of groups that end in its own name.
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {
            "group": group,
            "scope": "Cluster" if cluster else "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


def kserve() -> list[Schema]:
    """KServe's definitions."""
    group, runtime = "serving.kserve.io", published("V1alpha1ServingRuntimeSpec")
    service = published("V1beta1InferenceServiceSpec")
    storage = published("V1alpha1StorageContainerSpec")
    return [
        definition(group, "v1beta1", "InferenceService", "inferenceservices", service),
        definition(group, "v1alpha1", "ServingRuntime", "servingruntimes", runtime),
        definition(
            group, "v1alpha1", "ClusterServingRuntime", "clusterservingruntimes", runtime, cluster=True
        ),
        definition(
            group, "v1alpha1", "ClusterStorageContainer", "clusterstoragecontainers", storage, cluster=True
        ),
    ]


def prometheus() -> list[Schema]:
    """Those of Prometheus' operator: what its documentation names of what is scraped and alerted on."""
    texts = {"type": "object", "additionalProperties": _TEXT}
    relabelings = record(
        action=_TEXT,
        sourceLabels={"type": "array", "items": _TEXT},
        separator=_TEXT,
        regex=_TEXT,
        replacement=_TEXT,
        targetLabel=_TEXT,
    )
    endpoint = record(
        port=_TEXT,
        targetPort={"x-kubernetes-int-or-string": True},
        path=_TEXT,
        interval=_TEXT,
        scrapeTimeout=_TEXT,
        honorLabels=_FLAG,
        relabelings={"type": "array", "items": relabelings},
    )
    endpoints = {"type": "array", "items": endpoint}
    common = {
        "selector": published("V1LabelSelector"),
        "namespaceSelector": record(any=_FLAG, matchNames={"type": "array", "items": _TEXT}),
    }
    rule = record(
        record=_TEXT, alert=_TEXT, expr=_QUANTITY, labels=texts, annotations=texts, **{"for": _TEXT}
    )
    group = record(name=_TEXT, interval=_TEXT, rules={"type": "array", "items": rule})
    rules = record(groups={"type": "array", "items": group})
    pods, services = (
        record(podMetricsEndpoints=endpoints, **common),
        record(endpoints=endpoints, **common),
    )
    name = "monitoring.coreos.com"
    return [
        definition(name, "v1", "PodMonitor", "podmonitors", pods),
        definition(name, "v1", "ServiceMonitor", "servicemonitors", services),
        definition(name, "v1", "PrometheusRule", "prometheusrules", rules),
    ]


def others() -> list[Schema]:
    """The definitions of Knative, Argo and Flux, as far as kubernetes/ or nbship needs them."""
    named = record(name=_TEXT)
    source = record(
        interval=_TEXT,
        url=_TEXT,
        ref=record(branch=_TEXT, tag=_TEXT, commit=_TEXT, semver=_TEXT, name=_TEXT),
        secretRef=named,
        timeout=_TEXT,
        suspend=_FLAG,
        ignore=_TEXT,
        provider=_TEXT,
    )
    applied = record(
        interval=_TEXT,
        sourceRef=record(kind=_TEXT, name=_TEXT, namespace=_TEXT, apiVersion=_TEXT),
        path=_TEXT,
        prune=_FLAG,
        wait=_FLAG,
        timeout=_TEXT,
        retryInterval=_TEXT,
        serviceAccountName=_TEXT,
        targetNamespace=_TEXT,
        force=_FLAG,
        suspend=_FLAG,
        dependsOn={"type": "array", "items": record(name=_TEXT, namespace=_TEXT)},
    )
    return [
        definition("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes", _ANY),
        definition("serving.knative.dev", "v1", "Service", "services", _ANY),
        definition("argoproj.io", "v1alpha1", "WorkflowTaskResult", "workflowtaskresults", _ANY),
        definition("source.toolkit.fluxcd.io", "v1", "GitRepository", "gitrepositories", source),
        definition("kustomize.toolkit.fluxcd.io", "v1", "Kustomization", "kustomizations", applied),
    ]
