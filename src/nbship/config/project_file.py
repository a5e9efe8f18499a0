"""What a person may write in `nbship.yaml`: what all pipelines share, a layer under each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, create_model

from nbship.config.base import Model, StoreAddress
from nbship.config.chatops import Chatops
from nbship.config.models import Deploy, Kubeflow, Mlflow, Monitor, StepSettings, Vertex

# What a step has of its own: nothing that steps could share.
_OWN = ("notebook", "inputs", "parameters", "after")

if TYPE_CHECKING:
    StepDefaults = StepSettings
else:
    StepDefaults = create_model(
        "StepDefaults",
        __base__=Model,
        __doc__="What every step gets that does not say otherwise.",
        **{
            name: (field.annotation, field)
            for name, field in StepSettings.model_fields.items()
            if name not in _OWN
        },
    )


class ProjectFile(Model):
    """The project's file. A pipeline file says the same things in the same words, and goes over it."""

    image: str | None = Field(
        None, description="container image of all steps and servers; without a tag, that of `nbship image`"
    )
    store: StoreAddress | None = Field(
        None, description="address of the model store, `publish.store` of every pipeline that publishes"
    )
    steps: StepDefaults | None = Field(None, description="what every step gets that does not say otherwise")
    kubeflow: Kubeflow | None = Field(None, description="where and how pipelines run on Kubeflow")
    vertex: Vertex | None = Field(None, description="where they run on Vertex AI")
    deploy: Deploy | None = Field(None, description="how models are deployed")
    monitor: Monitor | None = Field(None, description="what is kept of requests and answers")
    mlflow: Mlflow | None = Field(None, description="the MLflow server that runs and versions are copied to")
    chatops: Chatops | None = Field(None, description="commands in comments on merge requests")


def under(project: Mapping[str, Any], pipeline: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what `nbship.yaml` says of one pipeline, as a pipeline file says it.

    Args:
        project: What `nbship.yaml` holds, valid.
        pipeline: What the pipeline file holds; it may be anything yet.
    """
    elsewhere = ("store", "steps", "chatops")
    tree = {key: value for key, value in project.items() if key not in elsewhere and value is not None}
    steps, shared = pipeline.get("steps"), project.get("steps")
    if isinstance(steps, Mapping) and shared:
        tree["steps"] = {name: dict(shared) for name, step in steps.items() if isinstance(step, Mapping)}
    if project.get("store") and isinstance(pipeline.get("publish"), Mapping):
        tree["publish"] = {"store": project["store"]}
    return tree


def written_at(location: Sequence[str]) -> tuple[str, ...]:
    """Returns where `nbship.yaml` says what a pipeline file says at a place."""
    match location:
        case ["publish", "store", *_]:
            return ("store",)
        case ["steps", _, *rest]:
            return ("steps", *rest)
    return tuple(location)
