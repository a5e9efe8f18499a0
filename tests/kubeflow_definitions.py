"""Kubeflow Pipelines' custom resources as CustomResourceDefinitions, and how strictly Kubernetes reads them.

The keys and types are those of `pipelines.kubeflow.org_pipelines.yaml` and `…_pipelineversions.yaml`, which
github.com/kubeflow/pipelines publishes in manifests/kustomize/base/crds, with `displayName` as the SDK 2.17.0
writes it: what all releases since know, so that what passes here passes there.
"""

from __future__ import annotations

import functools
from typing import Any

import jsonschema

from tests.cluster.definitions import definition, record

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_ANY: Schema = {"x-kubernetes-preserve-unknown-fields": True}


@functools.cache
def pipelines() -> tuple[Schema, ...]:
    """The definitions of `Pipeline` and `PipelineVersion`."""
    version = record(
        codeSourceURL=_TEXT,
        description=_TEXT,
        displayName=_TEXT,
        pipelineName=_TEXT,
        pipelineSpec=_ANY,
        pipelineSpecURI=_TEXT,
        platformSpec=_ANY,
    )
    described = record(description=_TEXT, displayName=_TEXT)
    group = ("pipelines.kubeflow.org", "v2beta1")
    return (
        definition(*group, "Pipeline", "pipelines", described),
        definition(*group, "PipelineVersion", "pipelineversions", version | {"required": ["pipelineSpec"]}),
    )


def check(manifest: Schema) -> None:
    """Reads a manifest as strictly as `kubectl --validate=strict`, without a server."""
    (found,) = (each for each in pipelines() if each["spec"]["names"]["kind"] == manifest["kind"])
    assert manifest["apiVersion"] == f"{found['spec']['group']}/{found['spec']['versions'][0]['name']}"
    assert manifest.keys() <= {"apiVersion", "kind", "metadata", "spec"}
    schema = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    jsonschema.validate(manifest["spec"], schema | {"additionalProperties": False})
