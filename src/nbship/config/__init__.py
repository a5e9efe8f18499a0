"""The pipeline file `pipelines/NAME.yaml`: its models, its overrides, and errors that name the line.

Says what a person may write. What the words mean together with the notebooks is the business of `graph`.
"""

from nbship.config.layers import json_schema, load_pipeline, merge, validate
from nbship.config.models import (
    NAME_PATTERN,
    Column,
    Data,
    Deploy,
    Gate,
    Kubeflow,
    Name,
    Pipeline,
    Publish,
    Quantity,
    Source,
    Step,
    Threshold,
    Toleration,
)

__all__ = [
    "NAME_PATTERN",
    "Column",
    "Data",
    "Deploy",
    "Gate",
    "Kubeflow",
    "Name",
    "Pipeline",
    "Publish",
    "Quantity",
    "Source",
    "Step",
    "Threshold",
    "Toleration",
    "json_schema",
    "load_pipeline",
    "merge",
    "validate",
]
