"""A table of two million rows through prepare, train and evaluate: peak memory beside that of plain scripts.

usage: python -m benchmarks.scale [--rows 2000000]

The scripts are the code cells of the same notebooks. Every process tells its own peak at its end. Linux only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from nbship.local.runner import Event
from nbship.templates.render import notebook_text
from nbship.workflow.run import RunRequest, run

STEPS = ("prepare", "train", "evaluate")
_PEAK = "\nimport json, resource\npeak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
_PARAMETERS = {
    "prepare": 'table: "Input[Dataset]" = "data.csv"\ntrain_set: "Output[Dataset]" = "train.csv"\n'
    'test_set: "Output[Dataset]" = "test.csv"\n',
    "train": 'train_set: "Input[Dataset]" = "train.csv"\nmodel: "Output[Model]" = "model.joblib"\n',
    "evaluate": 'test_set: "Input[Dataset]" = "test.csv"\nmodel: "Input[Model]" = "model.joblib"\n',
}
_CODE = {
    "prepare": """\
import pandas as pd
from pandas.util import hash_pandas_object
rows = pd.read_csv(table)
held_out = hash_pandas_object(rows, index=False) / 2**64 < 0.2
rows[~held_out].to_csv(train_set, index=False)
rows[held_out].to_csv(test_set, index=False)
""",
    "train": """\
import joblib
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
rows = pd.read_csv(train_set)
regressor = HistGradientBoostingRegressor(max_iter=20, random_state=0)
joblib.dump(regressor.fit(rows.drop(columns="y"), rows["y"]), model)
""",
    "evaluate": """\
import joblib
import pandas as pd
rows = pd.read_csv(test_set)
error = (joblib.load(model).predict(rows.drop(columns="y")) - rows["y"]).abs().mean()
assert error < 2, error
""",
}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write(root, rows)
        scripts, notebooks = _scripts(root), _notebooks(root)
    print(f"{rows:,} rows; peak memory in MiB")
    print("step      script  notebook  ratio")
    for step in STEPS:
        ratio = notebooks[step] / scripts[step]
        print(f"{step:<9} {scripts[step]:6.0f}  {notebooks[step]:8.0f}  {ratio:5.2f}")


def _write(root: Path, rows: int) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(rows, 8)).round(4), columns=[f"x{i}" for i in range(8)])
    table.assign(y=table.sum(axis=1).round(4)).to_csv(root / "data.csv", index=False)
    for step in STEPS:
        peak = 'peak_memory: "Output[float]" = 0.0\n'
        code = f"{_CODE[step]}{_PEAK}peak_memory = peak\n"
        cells = f"# %% [parameters] parameters\n{_PARAMETERS[step]}{peak}# %% code\n{code}"
        (root / f"{step}.ipynb").write_text(notebook_text(cells))
        (root / f"{step}.py").write_text(f"{_PARAMETERS[step]}{_CODE[step]}{_PEAK}print(json.dumps(peak))\n")
    (root / "pipelines").mkdir()
    steps = ", ".join(f"{step}: {{notebook: {step}.ipynb}}" for step in STEPS)
    text = f"name: scale\ndata: {{table: {{path: data.csv}}}}\nsteps: {{{steps}}}\n"
    (root / "pipelines/scale.yaml").write_text(text)


def _scripts(root: Path) -> dict[str, float]:
    def peak(step: str) -> float:
        command = [sys.executable, f"{step}.py"]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        return float(done.stdout)

    return {step: peak(step) for step in STEPS}


def _notebooks(root: Path) -> dict[str, float]:
    def show(event: Event) -> None:
        print(event.step, event.state, file=sys.stderr)

    record, _ = run(root, RunRequest("scale"), show)
    return {step: float(record.steps[step].results["peak_memory"]) for step in STEPS}


if __name__ == "__main__":
    main()
