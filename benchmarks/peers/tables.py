"""Writes the tables that `benchmarks.skill` learns from, out of packages that hold public data.

Run in an environment that has those packages: python tables.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import palmerpenguins
import sklearn.datasets
import statsmodels.datasets
import vega_datasets


def main(folder: Path) -> None:
    """Writes each table as CSV."""
    vega = vega_datasets.local_data
    tables = {
        "diabetes": sklearn.datasets.load_diabetes(as_frame=True, scaled=False).frame,
        "breast-cancer": sklearn.datasets.load_breast_cancer(as_frame=True).frame,
        "cars": vega.cars(),
        "airports": vega.airports(),
        "weather": vega.seattle_weather(),
        "penguins": palmerpenguins.load_penguins_raw(),
        "doctor-visits": statsmodels.datasets.randhie.load_pandas().data,
        "election": statsmodels.datasets.anes96.load_pandas().data,
    }
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
