"""Google's Vertex AI Pipelines, which runs the same compiled pipelines: starts a run, and looks at one.

Google's own client signs in, with Application Default Credentials, and speaks REST, which passes the proxies
that gRPC does not. What is submitted, and when waiting ends, is the business of `workflow`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nbship.config import Vertex
from nbship.errors import NbshipError, UsageError
from nbship.kubeflow.records import RemoteRun, Task

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
    from google.cloud.aiplatform_v1.types import PipelineJob

_SECONDS = 60.0
_CONSOLE = "https://console.cloud.google.com/vertex-ai/locations"
# In Kubeflow's words.
_STATES = {"CANCELLED": "CANCELED", "NOT_TRIGGERED": "SKIPPED"}
# What the part of a compiled pipeline that is for Kubernetes alone can ask for, by its keys.
_KUBERNETES = {
    "secretAsEnv": "secrets",
    "secretAsVolume": "secrets",
    "configMapAsEnv": "config maps",
    "configMapAsVolume": "config maps",
    "nodeSelector": "node selector",
    "tolerations": "tolerations",
    "imagePullSecret": "image pull secrets",
    "pvcMount": "volumes",
}


def connect(settings: Vertex) -> PipelineServiceClient:
    """Returns a client of the region's API; it signs in with Application Default Credentials.

    Raises:
        UsageError: A setting is missing.
        NbshipError: The client is not installed, or there are no credentials.
    """
    for key in ("project", "region", "bucket"):
        if not getattr(settings, key):
            raise UsageError(
                f"no {key} of Vertex AI is named", f"set vertex.{key}, or NBSHIP_VERTEX__{key.upper()}"
            )
    try:
        from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
    except ImportError:
        raise NbshipError("Vertex AI's client is not installed", "pip install 'nbship[vertex]'") from None
    endpoint = settings.endpoint or f"{settings.region}-aiplatform.googleapis.com"
    with _explained(settings):
        return PipelineServiceClient(transport="rest", client_options={"api_endpoint": endpoint})


def start_run(
    client: PipelineServiceClient,
    settings: Vertex,
    run_id: str,
    specification: Mapping[str, Any],
    parameters: Mapping[str, Any],
) -> RemoteRun:
    """Starts a run; not repeated when it fails, and an identifier is taken only once.

    Args:
        client: The API.
        settings: Where.
        run_id: Its identifier: lower-case letters, digits and hyphens.
        specification: The compiled pipeline, without what is for Kubernetes alone.
        parameters: What is set, by the names in the compiled pipeline.

    Raises:
        NbshipError: Vertex AI refuses, or does not answer.
    """
    from google.cloud.aiplatform_v1.types import PipelineJob

    job = PipelineJob(
        display_name=run_id,
        pipeline_spec=dict(specification),
        service_account=settings.service_account or "",
        runtime_config={"gcs_output_directory": settings.bucket, "parameter_values": dict(parameters)},
    )
    parent = f"projects/{settings.project}/locations/{settings.region}"
    with _explained(settings):
        started = client.create_pipeline_job(
            parent=parent, pipeline_job=job, pipeline_job_id=run_id, timeout=_SECONDS
        )
    return _run(started, run_id)


def get_run(client: PipelineServiceClient, settings: Vertex, run_id: str) -> RemoteRun:
    """Returns a run as it is now.

    Raises:
        NbshipError: There is no such run, or Vertex AI does not answer.
    """
    name = f"projects/{settings.project}/locations/{settings.region}/pipelineJobs/{run_id}"
    with _explained(settings):
        return _run(client.get_pipeline_job(name=name, timeout=_SECONDS), run_id)


def run_link(settings: Vertex, run_id: str) -> str:
    """Returns the address of a run's page."""
    return f"{_CONSOLE}/{settings.region}/pipelines/runs/{run_id}?project={settings.project}"


def unsupported(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns in lines what a compiled pipeline asks for that Vertex AI has not.

    Args:
        documents: Those of the YAML file: the pipeline, and what is for Kubernetes alone, if there is any.
    """
    return [*_for_kubernetes(documents[1:]), *_in_executors(documents[0])]


def _for_kubernetes(documents: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    alike: dict[str, list[str]] = {}
    for document in documents:
        executors = document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        for name, wishes in executors.items():
            words = dict.fromkeys(_KUBERNETES.get(key, key) for key in wishes)
            alike.setdefault(", ".join(words), []).append(name.removeprefix("exec-"))
    for missing, names in alike.items():
        yield f"{', '.join(names)}: no {missing}: these are for Kubernetes"


def _in_executors(specification: Mapping[str, Any]) -> Iterator[str]:
    images = {}
    for executor, content in specification["deploymentSpec"]["executors"].items():
        name = executor.removeprefix("exec-")
        container = content.get("container", {})
        images[container.get("image", "")] = name
        accelerator = container.get("resources", {}).get("accelerator", {})
        kind = accelerator.get("resourceType") or accelerator.get("type", "")
        if kind and not kind.startswith(("NVIDIA_", "TPU_")):
            yield f"{name}: no accelerator '{kind}': Vertex AI has NVIDIA_TESLA_T4, NVIDIA_L4 and the like"
    for image in filter(None, images):
        registry = image.partition("/")[0]
        if "/" not in image or not ("." in registry or ":" in registry):
            yield f"image {image}: Vertex AI takes images from Artifact Registry, and this names no registry"


def _run(job: PipelineJob, run_id: str) -> RemoteRun:
    return RemoteRun(
        id=run_id,
        name=job.display_name,
        experiment_id="",
        state=_state(job.state.name),
        created=_time(job.create_time),
        finished=_time(job.end_time),
        error=job.error.message,
        tasks=tuple(
            Task(
                name=task.task_name,
                state=_state(task.state.name),
                started=_time(task.start_time),
                finished=_time(task.end_time),
                error=task.error.message,
            )
            for task in job.job_detail.task_details
        ),
    )


def _state(name: str) -> str:
    word = name.removeprefix("PIPELINE_STATE_")
    return _STATES.get(word, word)


def _time(value: Any) -> datetime | None:
    return value if isinstance(value, datetime) else None


@contextmanager
def _explained(settings: Vertex) -> Iterator[None]:
    """Words what Google's libraries raise; none of it holds a credential."""
    from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound, Unauthenticated
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
    from requests.exceptions import RequestException  # type: ignore[import-untyped]

    where = f"Vertex AI in {settings.region}"
    try:
        yield
    except DefaultCredentialsError:
        raise NbshipError(
            f"{where}: no credentials", "sign in: gcloud auth application-default login"
        ) from None
    except GoogleAuthError as error:
        raise NbshipError(f"{where}: cannot sign in: {_first_line(error)}", "sign in again") from None
    except (Forbidden, Unauthenticated, NotFound) as error:
        hint = f"check project '{settings.project}', and that you have the role Vertex AI User there"
        raise NbshipError(f"{where}: {_first_line(error)}", hint) from None
    except (GoogleAPIError, RequestException) as error:
        raise NbshipError(f"{where}: {_first_line(error)}", "see the console before you try again") from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
