"""Tables as people bring them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROWS = 300


def flats(**columns: Any) -> pd.DataFrame:
    """Flats whose rent follows from area and district."""
    random = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "Fläche m²": random.gamma(9, 8, ROWS).round(2),
            "district": random.choice(["Süd", "Nord", "Mitte"], ROWS),
            "listed": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 900, ROWS), "D"),
        }
    )
    noise = random.normal(0, 10, ROWS)
    table["rent"] = (100 + 9 * table["Fläche m²"] + 90 * (table["district"] == "Mitte") + noise).round(2)
    return table.assign(**columns)


def write(path: Path, table: pd.DataFrame, **options: Any) -> Path:
    """Writes a table as CSV."""
    table.to_csv(path, index=False, **options)
    return path
