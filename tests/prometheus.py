"""The mark of tests that need a real Prometheus and Alertmanager; what starts them is in `demos.watching`."""

from __future__ import annotations

import pytest
from demos.watching import missing

needs_prometheus = pytest.mark.skipif(
    bool(missing()), reason=f"no {' and no '.join(missing())} on this machine"
)
