"""A compiled pipeline as Kubernetes resources, `Pipeline` and `PipelineVersion`, for servers that keep those.

KFP calls it the Kubernetes native API mode. The types are those of `pipelines.kubeflow.org/v2beta1`; only
what all its releases know is written. Where the text goes is decided elsewhere.
"""

from __future__ import annotations

import hashlib
from typing import Any

import yaml

from nbship.kubeflow.compiled import parse

API_VERSION = "pipelines.kubeflow.org/v2beta1"
_HASH = 12
# A schedule refers to its version, so the one that was there before stays when the manifest names another.
# Kubeflow refuses a version whose pipeline is not there yet, which Argo CD is told by a wave; what it applies
# in its own way is repeated in an annotation, which has not room for every pipeline.
_ANNOTATIONS = {
    "argocd.argoproj.io/sync-options": "Prune=false,ServerSideApply=true",
    "argocd.argoproj.io/sync-wave": "1",
    "kustomize.toolkit.fluxcd.io/prune": "disabled",
}


def version_name(pipeline: str, text: str) -> str:
    """Returns the name of a version's resource, by its content: a version is never changed.

    Args:
        pipeline: The pipeline's name; versions of all pipelines share a namespace.
        text: The compiled pipeline, with the image that it runs in.
    """
    return f"{pipeline}-{hashlib.sha256(text.encode()).hexdigest()[:_HASH]}"


def pipeline_resource(text: str, namespace: str = "") -> str:
    """Returns the `Pipeline` of a compiled pipeline, as YAML.

    Args:
        text: The compiled pipeline.
        namespace: Where it goes; what applies it decides if empty.
    """
    info = parse(text)[0]["pipelineInfo"]
    return _manifest("Pipeline", info["name"], namespace, _described(info, info["name"]))


def version_resource(text: str, namespace: str = "") -> str:
    """Returns the `PipelineVersion` of a compiled pipeline, as YAML; see `pipeline_resource`."""
    specification, *platforms = parse(text)
    info = specification["pipelineInfo"]
    name = version_name(info["name"], text)
    spec = _described(info, name) | {"pipelineName": info["name"], "pipelineSpec": specification}
    spec |= {"platformSpec": platforms[0]} if platforms else {}
    return _manifest("PipelineVersion", name, namespace, spec, _ANNOTATIONS)


def _described(info: dict[str, Any], name: str) -> dict[str, Any]:
    """The server's lists know a resource by the name that is displayed, so it is always written."""
    description = info.get("description", "")
    return {"displayName": name, **({"description": description} if description else {})}


def _manifest(
    kind: str, name: str, namespace: str, spec: dict[str, Any], annotations: dict[str, str] | None = None
) -> str:
    metadata: dict[str, Any] = {"name": name}
    metadata |= {"namespace": namespace} if namespace else {}
    metadata |= {"annotations": annotations} if annotations else {}
    content = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
    written = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
    return f"# Generated; do not edit. Renew it: nbship compile --all --kubernetes\n{written}"
