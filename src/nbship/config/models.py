"""What a person may write in `pipelines/NAME.yaml`: the models of the pipeline file, section by section.

Says what is accepted, not where it comes from; what the words mean together with the notebooks is
the business of `graph`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from nbship.config.base import Model, Name, ProjectPath, Quantity, StoreAddress
from nbship.config.sources import Source

# What each does is in `kubeflow.credentials`.
AuthenticationMethod = Literal["none", "token", "service-account", "cookie", "dex", "command"]


class Data(Model):
    """A data file of the project, tracked by DVC."""

    path: ProjectPath = Field(description="the file, from the project's folder; PATH.dvc tracks it")
    description: str = Field("", description="what it holds")
    source: Source | None = Field(None, description="where it comes from when no DVC remote has it")
    sample: ProjectPath | None = Field(
        None, description="notebook that makes a synthetic stand-in, for `nbship run --sample`"
    )


class Toleration(Model):
    """A taint of a node that a step tolerates, as Kubernetes writes it."""

    key: str | None = Field(None, description="the taint's key; every taint if not given")
    operator: Literal["Equal", "Exists"] = Field("Equal", description="how `value` is compared")
    value: str | None = Field(None, description="the taint's value, for Equal")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="the taint's effect; every one if not given"
    )
    seconds: int | None = Field(None, ge=0, description="how long NoExecute is tolerated; for ever if none")


class StepSettings(Model):
    """One notebook of the pipeline and what it needs to run."""

    notebook: ProjectPath = Field(description="the notebook, from the project's folder")
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


class Threshold(Model):
    """Bounds for one metric."""

    min: float | None = Field(None, description="lowest value that passes")
    max: float | None = Field(None, description="highest value that passes")

    @model_validator(mode="after")
    def _some_bound(self) -> Threshold:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        return self


class Gate(Model):
    """When a model is good enough, and when it is good enough to replace the champion."""

    step: Name = Field(
        "evaluate", description="the step that judges a model; it is run on the champion as well"
    )
    thresholds: dict[str, Threshold] = Field({}, description="bounds by metric, or by step.metric")
    losses: str = Field(
        "losses", description="output of that step: CSV with columns row and loss, one line per held-out row"
    )
    held_out: str | None = Field(
        None,
        description="input of that step with the held-out rows; its only Input[Dataset] if not given",
    )
    recipes: str | None = Field(
        None,
        description="notebook that fits candidate and champion again to the same folds, for few rows",
    )
    recipes_rows: int = Field(
        2000,
        ge=0,
        description="most rows of which recipes are compared; of more, models on held-out rows; 0 never",
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


class ColumnSettings(Model):
    """What a table does not say of a column that the model takes: for pages, checks and clients."""

    description: str = Field("", description="what it is")
    unit: str = Field("", description="unit of its numbers: cm, °C, USD a month")
    labels: dict[str, str] = Field({}, description="words for its values: '1': USA")
    aliases: dict[str, Any] = Field({}, description="other ways to write its values: '0': Female")
    unseen: Literal["accept", "refuse"] = Field(
        "accept", description="a category that the model has not seen: accepted and flagged, or refused"
    )
    optional: bool = Field(
        False, description="may be left out of a record although every row had a value: the model fills gaps"
    )


class Publish(Model):
    """What a published model is made of."""

    model: str = Field("train.model", description="step.output that is the model")
    reference: str = Field(
        "prepare.train_set", description="step.output with the rows that the model was trained on"
    )
    target: str = Field(
        description="column of the reference that the model predicts; for clusters or anomalies, any name"
    )
    store: StoreAddress | None = Field(
        None, description="address of the model store: s3://bucket/prefix, gs://…, or a folder"
    )
    columns: dict[str, ColumnSettings] = Field(
        {}, description="what is known of the model's columns beyond what its rows show"
    )
    reference_sample: int = Field(
        1000,
        ge=0,
        le=10_000,
        description="rows kept with the model, by DVC, for `nbship monitor` to compare with; 0 keeps none",
    )


class Kubeflow(Model):
    """Where and how the pipeline runs on Kubeflow. Secrets are not written here."""

    host: str | None = Field(None, description="address of the Kubeflow Pipelines API")
    namespace: str | None = Field(None, description="namespace of the runs, where Kubeflow has users")
    auth: AuthenticationMethod | None = Field(None, description="how to authenticate")
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


class Vertex(Model):
    """Where the pipeline runs on Google's Vertex AI, for `nbship submit --target vertex`."""

    project: str | None = Field(None, description="Google Cloud project")
    region: str | None = Field(None, description="region: europe-west1")
    bucket: str | None = Field(
        None, pattern="^gs://.", description="where runs keep their files: gs://bucket/prefix"
    )
    service_account: str | None = Field(
        None, description="account of the runs; the project's default if none"
    )
    endpoint: str | None = Field(None, description="address of the API; the region's if none")


class Mlflow(Model):
    """Where runs and versions are copied to, for a team that has an MLflow server."""

    tracking_uri: StoreAddress | None = Field(None, description="address of the tracking server")
    experiment: str | None = Field(None, min_length=1, description="name there; the pipeline's if none")
    registry: StoreAddress | None = Field(
        None, description="address of the model registry; the tracking server's if none"
    )


class Stage(Model):
    """A place to deploy to: a namespace of a cluster."""

    namespace: Name = Field(description="namespace of the model's service")
    context: str | None = Field(
        None, description="context of the kube config; the current one, or the cluster that it runs in"
    )
    url: str | None = Field(
        None,
        pattern=r"^https?://[^/]+$",
        description="address of the ingress, asked as clients ask it: http://gateway.example.org",
    )
    storage: StoreAddress | None = Field(
        None, description="the model store as the cluster sees it, if not `publish.store`: pvc://models"
    )
    min_replicas: int = Field(1, ge=0, le=100, description="servers at least; 0 only with Knative")
    max_replicas: int = Field(2, ge=1, le=100, description="servers at most")

    @model_validator(mode="after")
    def _ordered(self) -> Stage:
        if self.min_replicas > self.max_replicas:
            raise ValueError("min_replicas is more than max_replicas")
        return self


class Deploy(Model):
    """How the published model is deployed with KServe."""

    after_publish: str | None = Field(
        None, description="stage to which a run on Kubeflow deploys what it published; none if not given"
    )
    mode: Literal["cluster", "gitops"] = Field(
        "cluster", description="change the cluster, or commit a manifest that Flux applies"
    )
    kserve: Literal["Standard", "Knative"] | None = Field(
        None, description="KServe's deployment mode; the cluster's default if not given"
    )
    runtime: str = Field("nbship-sklearn", description="KServe's ServingRuntime that serves the model")
    service_account: str = Field("nbship-models", description="service account with the model store's keys")
    cpu: Quantity = Field("500m", description="CPU request and limit of a server")
    memory: Quantity = Field("1Gi", description="memory request and limit of a server")
    steps: list[Annotated[int, Field(ge=1, le=100)]] = Field(
        [10, 50, 100], min_length=1, description="shares of traffic, in percent, that a new version gets"
    )
    tolerance: float = Field(
        1e-6, ge=0, description="relative difference of a prediction that still counts as the same"
    )
    latency: float = Field(1.0, gt=0, description="seconds that the median answer of a check may take")
    errors: float = Field(0.0, ge=0, lt=1, description="share of requests of a check that may fail")
    requests: int = Field(20, ge=1, le=1000, description="requests of a check")
    dwell: float = Field(
        10.0,
        ge=0,
        description="seconds that each share of traffic is watched, and that gateways get to follow",
    )
    timeout: float = Field(300.0, gt=0, description="seconds to wait until a change in the cluster is ready")
    stages: dict[Name, Stage] = Field(
        {"staging": Stage(namespace="staging"), "production": Stage(namespace="production")},
        description="places to deploy to",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Deploy:
        if self.steps != sorted(set(self.steps)) or self.steps[-1] != 100:
            raise ValueError("steps rise and end with 100")
        if self.after_publish is not None and self.after_publish not in self.stages:
            raise ValueError(f"after_publish: there is no stage '{self.after_publish}'")
        return self


class Label(Model):
    """How the truth that comes later finds the record that asked for it."""

    key: str | None = Field(
        None,
        description="the model's column that names a row, such as an order; the record's id if none",
    )


class Monitor(Model):
    """What is kept of what the served model is asked and answers, and for how long."""

    store: StoreAddress | None = Field(
        None,
        description="where records are kept: s3://bucket/prefix, gs://… or a folder; nowhere if none",
    )
    collector: str | None = Field(
        None,
        pattern=r"^https?://[^/]+$",
        description="address that KServe's logger sends to; if none, servers write themselves",
    )
    private: dict[str, Literal["drop", "hash", "keep"]] = Field(
        {},
        description="columns to leave out or keep as a keyed hash; large arrays only with `keep`",
    )
    sample: float = Field(1.0, ge=0, le=1, description="share of the requests that is kept")
    keep: int = Field(90, ge=1, description="days that records are kept")
    seconds: float = Field(
        10.0, gt=0, description="between two files, and what is lost at most when a server is killed"
    )
    label: Label = Field(Label(), description="how labels find their records")
    cooldown: float = Field(7.0, ge=0, description="days from one `nbship retrain` to the next")
    prometheus: str | None = Field(
        None,
        pattern=r"^https?://[^/]",
        description="address of Prometheus, which is asked whether a canary fails clients: then it goes back",
    )

    @property
    def hidden(self) -> frozenset[str]:
        """Columns of which no record says what they were."""
        return frozenset(name for name, how in self.private.items() if how != "keep")

    @model_validator(mode="after")
    def _label_has_its_key(self) -> Monitor:
        if self.label.key and self.private.get(self.label.key) == "drop":
            raise ValueError(f"label.key: '{self.label.key}' is left out of the records by `private`")
        return self


class Retrain(Model):
    """How `nbship retrain` takes new rows that have got a label into the data."""

    data: Name | None = Field(None, description="data file that takes them; the only one if not given")
    rule: Literal["append", "window", "weight"] = Field(
        "append", description="add them; keep only the newest rows; or add them with a weight"
    )
    rows: int | None = Field(None, ge=1, description="of a window: how many rows it keeps")
    days: float | None = Field(None, gt=0, description="of a window: how many days it keeps, by `date`")
    date: str | None = Field(None, description="column of the table that takes the time of a record")
    weight: float = Field(1.0, gt=0, description="how many times a new row counts, where the rule is weight")
    weight_column: str = Field(
        "sample_weight", description="column that takes the weight, for the training notebook"
    )
    columns: dict[str, str] = Field(
        {}, description="the table's names of the model's columns and of its target, where they differ"
    )
    least: int = Field(20, ge=1, description="new labelled rows below which nothing is begun")

    @model_validator(mode="after")
    def _window_has_a_size(self) -> Retrain:
        if self.rule == "window" and self.rows is None and self.days is None:
            raise ValueError("a window takes rows, or days with date")
        if self.days is not None and self.date is None:
            raise ValueError("days takes date: the column of the table that has it")
        return self


class Pipeline(Model):
    """A pipeline file."""

    name: Name = Field(description="the pipeline's name, as its file's")
    description: str = Field("", description="what it makes")
    image: str = Field(
        "nbship",
        description="container image of the steps on Kubeflow; without a tag, it gets that of `nbship image`",
    )
    data: dict[str, Data] = Field({}, description="data files by the name that notebooks call them")
    steps: dict[Name, StepSettings] = Field(min_length=1, description="notebooks by step name")
    gate: Gate | None = Field(None, description="the quality gate")
    publish: Publish | None = Field(None, description="what `nbship publish` publishes")
    kubeflow: Kubeflow = Field(Kubeflow(), description="where and how it runs on Kubeflow")
    vertex: Vertex = Field(Vertex(), description="where it runs on Vertex AI")
    deploy: Deploy = Field(Deploy(), description="how the model is deployed")
    monitor: Monitor = Field(Monitor(), description="what is kept of requests and answers")
    mlflow: Mlflow = Field(Mlflow(), description="the MLflow server that runs and versions are copied to")
    retrain: Retrain = Field(Retrain(), description="how new labelled rows become data")

    @model_validator(mode="after")
    def _no_ambiguous_step(self) -> Pipeline:
        for step in self.steps:
            if step in Pipeline.model_fields:
                raise ValueError(f"a step cannot be called '{step}': --set {step}.… would mean two things")
        return self
