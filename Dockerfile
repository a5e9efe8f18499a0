# The one image: every step of every pipeline runs in it, and so do the model servers.
# Build it with the tag that compiled pipelines name: docker build --tag "$(nbship image NAME)" .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /opt/nbship
ENV PATH=/opt/nbship/bin:$PATH
# By hash; a layer of its own, which is built again only when the lock changes.
COPY requirements-image.lock ./
RUN pip install --require-hashes --requirement requirements-image.lock
COPY pyproject.toml LICENSE ./
COPY kubernetes/client/page kubernetes/client/page
COPY src/nbship src/nbship
# pyproject.toml names a README, which is no part of the image. What only installs does not go on.
RUN touch README.md \
    && pip install --no-deps --no-build-isolation . \
    && pip uninstall --yes hatchling pip

FROM ${PYTHON_IMAGE}
# Git for the checkout step, and for DVC.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --gid 0 --create-home nbship \
    && chmod 0775 /home/nbship
COPY --from=build /opt/nbship /opt/nbship
ENV PATH=/opt/nbship/bin:$PATH \
    HOME=/home/nbship \
    PYTHONUNBUFFERED=1
# A number, so that Kubernetes can see that it is not root; group 0, so that any other user may write at home.
USER 1000:0
WORKDIR /home/nbship
CMD ["nbship", "--help"]
