"""The pipeline file `pipelines/NAME.yaml` over `nbship.yaml`: models, overrides, errors that name the line.

Says what a person may write. What the words mean together with the notebooks is the business of `graph`.
"""

from nbship.config.base import Name, Quantity
from nbship.config.layers import (
    Layer,
    json_schemas,
    load_pipeline,
    merge,
    parse_project,
    pipeline_of,
    read_layers,
    read_project,
    validate,
)
from nbship.config.models import (
    AuthenticationMethod,
    ColumnSettings,
    Data,
    Deploy,
    Gate,
    Kubeflow,
    Label,
    Mlflow,
    Monitor,
    Pipeline,
    Publish,
    Retrain,
    Stage,
    StepSettings,
    Threshold,
    Toleration,
    Vertex,
)
from nbship.config.overrides import variables
from nbship.config.sources import FileSource, PackageSource, Source, SqlSource, UrlSource
from nbship.project import NAME_PATTERN

__all__ = [
    "NAME_PATTERN",
    "AuthenticationMethod",
    "ColumnSettings",
    "Data",
    "Deploy",
    "FileSource",
    "Gate",
    "Kubeflow",
    "Label",
    "Layer",
    "Mlflow",
    "Monitor",
    "Name",
    "PackageSource",
    "Pipeline",
    "Publish",
    "Quantity",
    "Retrain",
    "Source",
    "SqlSource",
    "Stage",
    "StepSettings",
    "Threshold",
    "Toleration",
    "UrlSource",
    "Vertex",
    "json_schemas",
    "load_pipeline",
    "merge",
    "parse_project",
    "pipeline_of",
    "read_layers",
    "read_project",
    "validate",
    "variables",
]
