"""What a person may write in `pipelines/NAME.yaml`: the models of the pipeline file, section by section.

Says what is accepted, not where it comes from; what the words mean together with the notebooks is
the business of `graph`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

NAME_PATTERN = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|[kKMGTPE]i?)?$"
_SOURCES = ({"package", "version", "file"}, {"url"}, {"file"}, {"sql", "connection"})

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=50)]


def _quantity_text(value: Any) -> Any:
    """A quantity may be written as a bare number (`cpu: 2`); Kubernetes wants text."""
    return str(value) if isinstance(value, int | float) else value


Quantity = Annotated[
    str,
    Field(pattern=_QUANTITY),
    BeforeValidator(_quantity_text, json_schema_input_type=str | int | float),
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(_Model):
    """Where a data file comes from when no DVC remote has it: exactly one of package, url, file, sql."""

    package: str | None = Field(None, description="PyPI package that holds the file; needs `file`")
    version: str | None = Field(None, description="version of the package")
    url: str | None = Field(None, description="http or https address")
    file: str | None = Field(None, description="path: inside the package, or on this machine")
    sql: str | None = Field(None, description="query whose result is written as CSV; needs `connection`")
    connection: str | None = Field(None, description="environment variable that holds the SQLAlchemy URL")

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        if {key for key, value in self if value} not in _SOURCES:
            raise ValueError("give package, version and file; or url; or file; or sql and connection")
        return self


class Data(_Model):
    """A data file of the project, tracked by DVC."""

    path: str = Field(description="the file, from the project's folder; PATH.dvc tracks it")
    description: str = Field("", description="what it holds")
    source: Source | None = Field(None, description="where it comes from when no DVC remote has it")


class Toleration(_Model):
    """A taint of a node that a step tolerates, as Kubernetes writes it."""

    key: str | None = Field(None, description="the taint's key; every taint if not given")
    operator: Literal["Equal", "Exists"] = Field("Equal", description="how `value` is compared")
    value: str | None = Field(None, description="the taint's value, for Equal")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="the taint's effect; every one if not given"
    )
    seconds: int | None = Field(None, ge=0, description="how long NoExecute is tolerated; for ever if none")


class Step(_Model):
    """One notebook of the pipeline and what it needs to run."""

    notebook: str = Field(description="the notebook, from the project's folder")
    inputs: dict[str, str] = Field(
        {}, description="input or parameter: `data name`, `step.output`; only where names do not say it"
    )
    parameters: dict[str, Any] = Field({}, description="values for the notebook's parameters")
    after: list[Name] = Field([], description="steps to wait for although nothing is read from them")
    image: str | None = Field(None, description="container image on Kubeflow; the pipeline's if not given")
    cpu: Quantity | None = Field(None, description="CPU request and limit on Kubeflow: 2, 500m")
    memory: Quantity | None = Field(None, description="memory request and limit on Kubeflow: 1Gi")
    gpu: int = Field(0, ge=0, le=16, description="accelerators on Kubeflow")
    accelerator: str = Field("nvidia.com/gpu", description="resource name of the accelerators")
    env: dict[str, str] = Field({}, description="environment variables on Kubeflow")
    secrets: dict[str, str] = Field(
        {}, description="environment variables from Kubernetes secrets on Kubeflow: NAME: secret/key"
    )
    node_selector: dict[str, str] = Field({}, description="labels of the nodes that may run it on Kubeflow")
    tolerations: list[Toleration] = Field([], description="taints of nodes that it tolerates on Kubeflow")
    retries: int = Field(0, ge=0, le=10, description="times to try again on Kubeflow after a failure")
    timeout: float | None = Field(None, gt=0, description="seconds that one cell may take")
    cache: bool = Field(True, description="reuse the step's outputs when nothing it depends on changed")


class Threshold(_Model):
    """Bounds for one metric."""

    min: float | None = Field(None, description="lowest value that passes")
    max: float | None = Field(None, description="highest value that passes")

    @model_validator(mode="after")
    def _some_bound(self) -> Threshold:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        return self


class Gate(_Model):
    """When a model is good enough, and when it is good enough to replace the champion."""

    step: Name = Field(
        "evaluate", description="the step that judges a model; it is run on the champion as well"
    )
    thresholds: dict[str, Threshold] = Field({}, description="bounds by metric, or by step.metric")
    losses: str = Field(
        "losses", description="output of that step: CSV with columns row and loss, one line per held-out row"
    )
    require: Literal["better", "no worse"] = Field(
        "no worse", description="what a candidate must be to replace the champion"
    )
    tolerance: float = Field(
        0.05,
        ge=0,
        description="rise of the mean loss, as a share of the champion's, that still counts as no worse",
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="confidence of the interval of the difference")


class Column(_Model):
    """What a table does not say of a column that the model takes: for pages, checks and clients."""

    description: str = Field("", description="what it is")
    unit: str = Field("", description="unit of its numbers: cm, °C, USD a month")
    labels: dict[str, str] = Field({}, description="words for its values: '1': USA")
    aliases: dict[str, Any] = Field({}, description="other ways to write its values: '0': Female")
    unseen: Literal["accept", "refuse"] = Field(
        "accept", description="a category that the model has not seen: accepted and flagged, or refused"
    )


class Publish(_Model):
    """What a published model is made of."""

    model: str = Field("train.model", description="step.output that is the model")
    reference: str = Field(
        "prepare.train_set", description="step.output with the rows that the model learnt from"
    )
    target: str = Field(description="column of the reference that the model predicts")
    store: str | None = Field(
        None, description="address of the model store: s3://bucket/prefix, gs://…, or a folder"
    )
    columns: dict[str, Column] = Field(
        {}, description="what is known of the model's columns beyond what its rows show"
    )


class Kubeflow(_Model):
    """Where and how the pipeline runs on Kubeflow. Secrets are not written here."""

    host: str | None = Field(None, description="address of the Kubeflow Pipelines API")
    namespace: str | None = Field(None, description="namespace of the runs, where Kubeflow has users")
    auth: Literal["none", "token", "service-account", "cookie", "dex", "command"] | None = Field(
        None, description="how to authenticate"
    )
    ca: str | None = Field(None, description="file with the certificates of a private authority")
    repository: str | None = Field(
        None,
        description="https address of the Git repository that runs check out; `origin`'s if none",
    )
    secret: str = Field(
        "nbship",
        description="Kubernetes secret with Git's token and the stores' keys, mounted as environment",
    )
    service_account: str | None = Field(None, description="service account of the runs")


class Deploy(_Model):
    """How the published model is deployed."""

    after_publish: str | None = Field(
        None, description="stage to which a run on Kubeflow deploys what it published; none if not given"
    )


class Pipeline(_Model):
    """A pipeline file."""

    name: Name = Field(description="the pipeline's name, as its file's")
    description: str = Field("", description="what it makes")
    image: str = Field("nbship:latest", description="container image of the steps on Kubeflow")
    data: dict[str, Data] = Field({}, description="data files by the name that notebooks call them")
    steps: dict[Name, Step] = Field(min_length=1, description="notebooks by step name")
    gate: Gate | None = Field(None, description="the quality gate")
    publish: Publish | None = Field(None, description="what `nbship publish` publishes")
    kubeflow: Kubeflow = Field(Kubeflow(), description="where and how it runs on Kubeflow")
    deploy: Deploy = Field(Deploy(), description="how the model is deployed")

    @model_validator(mode="after")
    def _no_ambiguous_step(self) -> Pipeline:
        for step in self.steps:
            if step in Pipeline.model_fields:
                raise ValueError(f"a step cannot be called '{step}': --set {step}.… would mean two things")
        return self
