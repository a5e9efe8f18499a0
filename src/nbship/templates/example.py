"""A small table to begin with, where a person has none yet: flats to let, made up with a fixed seed."""

from __future__ import annotations

_ROWS = 600
_SEED = 0


def example_csv(task: str) -> str:
    """Returns the table as CSV; its last column is what is to be predicted.

    Args:
        task: `regression`: the rent of a flat; `classification`: whether it was let within a week.
    """
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(_SEED)
    area = random.gamma(9, 8, _ROWS).round()
    district = random.choice(["centre", "harbour", "hill", "station"], _ROWS, p=[0.2, 0.3, 0.1, 0.4])
    listed = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 365, _ROWS), "D")
    balcony = random.random(_ROWS) < 0.4
    premium = pd.Series(district).map({"centre": 6.0, "harbour": 3.0, "hill": 4.0, "station": 0.0}).to_numpy()
    fair = 120 + area * (9 + premium) + 60 * balcony
    flats = pd.DataFrame(
        {"area": area, "district": district, "balcony": balcony, "listed": listed.astype(str)}
    )
    flats.loc[random.random(_ROWS) < 0.05, "area"] = np.nan
    if task == "regression":
        flats["rent"] = (fair * random.lognormal(0, 0.08, _ROWS)).round()
    else:
        asked = (fair * random.lognormal(0, 0.25, _ROWS)).round()
        flats.insert(0, "rent", asked)
        flats["let_in_a_week"] = np.where(asked < fair * random.lognormal(0.05, 0.1, _ROWS), "yes", "no")
    text: str = flats.to_csv(index=False)
    return text
