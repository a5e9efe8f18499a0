"""The names of what a version's own servers are behind."""

from __future__ import annotations

import pytest

from nbship.cluster.backends import revision_backend


@pytest.mark.parametrize(
    ("revision", "service"),
    [
        ("line-predictor-00001", "line-predictor-00001-private"),
        ("a" * 55, "a" * 55 + "-private"),
        # As Knative's own kmeta.ChildName has it: 23 characters, the MD5 of all, and the suffix.
        ("a" * 56, "a" * 23 + "3b0c8ac703f828b04c6c197006d17218" + "-private"),
    ],
)
def test_a_revisions_private_service(revision: str, service: str) -> None:
    backend = revision_backend("models", revision)
    assert backend.service == service
    assert len(backend.service) <= 63
