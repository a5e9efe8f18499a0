"""What the pipeline file says of a step's pod, written into KFP's task: resources, environment, nodes.

Kubernetes' own settings travel in a second document of the compiled pipeline, the platform's.
"""

from __future__ import annotations

from typing import Any

from nbship.config import StepSettings
from nbship.errors import UsageError
from nbship.kubeflow.escaping import travels

# The cluster's secret has these keys, and each becomes the variable of its name.
SECRET_KEYS = (
    "NBSHIP_GIT_TOKEN",
    "NBSHIP_GITLAB_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_ENDPOINT_URL",
)


def configure(task: Any, name: str, settings: StepSettings) -> None:
    """Sets what a step asks for.

    Args:
        task: KFP's task.
        name: The step, for errors.
        settings: Its section of the pipeline file.

    Raises:
        UsageError: Kubeflow Pipelines does not take a value.
    """
    from kfp import kubernetes

    _limit(task, name, settings)
    if settings.gpu:
        task.set_accelerator_type(settings.accelerator).set_accelerator_limit(settings.gpu)
    if settings.retries:
        task.set_retry(settings.retries)
    task.set_caching_options(settings.cache)
    for variable, value in settings.env.items():
        # The component's source has all of them; these are there for what reads them before Python does.
        if travels(value):
            task.set_env_variable(variable, value)
    for variable, place in settings.secrets.items():
        secret, slash, key = place.partition("/")
        if not (secret and slash and key):
            raise UsageError(f"steps.{name}.secrets.{variable}: '{place}'", "write it like secret/key")
        kubernetes.use_secret_as_env(task, secret, {key: variable})
    for label, value in settings.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for toleration in settings.tolerations:
        kubernetes.add_toleration(
            task,
            toleration.key,
            toleration.operator,
            toleration.value,
            toleration.effect,
            toleration.seconds,
        )


def use_secret(task: Any, secret: str) -> None:
    """Gives a step the cluster's secret as environment; a key that the secret has not is left out."""
    from kfp import kubernetes

    kubernetes.use_secret_as_env(task, secret, {key: key for key in SECRET_KEYS}, optional=True)


def _limit(task: Any, name: str, settings: StepSettings) -> None:
    limits = {
        "cpu": (settings.cpu, (task.set_cpu_request, task.set_cpu_limit), "2, 0.5 or 500m"),
        "memory": (
            settings.memory,
            (task.set_memory_request, task.set_memory_limit),
            "512Mi or 2Gi, a whole number",
        ),
    }
    for key, (quantity, setters, accepted) in limits.items():
        try:
            for setter in setters if quantity else ():
                setter(quantity)
        except ValueError:
            raise UsageError(
                f"steps.{name}.{key}: Kubeflow Pipelines does not take '{quantity}'",
                f"write it like {accepted}",
            ) from None
