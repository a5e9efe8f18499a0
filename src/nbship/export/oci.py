"""A folder to make an image of, for KServe's `oci://`: the model package and nothing that runs.

KServe starts the image beside the server, which reads `/models` of it, so it needs a shell, as busybox has.
See "Serving models with OCI images" in KServe's documentation.
"""

from __future__ import annotations

from pathlib import Path

from nbship.files import write_text
from nbship.package import Package

MODEL_FOLDER = "models"
_DOCKERFILE = """\
# The model {name} {version}, for KServe: storageUri: oci://REGISTRY/{name}:{version}
FROM busybox:1.37
LABEL org.opencontainers.image.title="{name}" org.opencontainers.image.version="{version}"
COPY --chmod=444 {folder} /models
USER 1000
"""


def write(folder: Path, package: Package, version: str) -> None:
    """Writes the Dockerfile beside a package, which is in the folder `models` already; see `bento.write`."""
    text = _DOCKERFILE.format(name=package.name, version=version, folder=MODEL_FOLDER)
    write_text(folder / "Dockerfile", text)
