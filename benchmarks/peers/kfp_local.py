"""The auto-mpg pipeline as kfp's own notebook components, run by kfp.local. Run in a copy of the project."""

from pathlib import Path

from kfp import dsl, local

FOLDER = "notebooks/auto-mpg"


@dsl.notebook_component(
    notebook_path=f"{FOLDER}/prepare.ipynb", packages_to_install=[], install_kfp_package=False
)
def prepare(
    table: str,
    train_set: dsl.Output[dsl.Dataset],
    test_set: dsl.Output[dsl.Dataset],
    data_profile: dsl.Output[dsl.Metrics],
):
    """Splits the table."""
    dsl.run_notebook(
        table=table, train_set=train_set.path, test_set=test_set.path, data_profile=data_profile.path
    )


@dsl.notebook_component(
    notebook_path=f"{FOLDER}/train.ipynb", packages_to_install=[], install_kfp_package=False
)
def train(train_set: dsl.Input[dsl.Dataset], model: dsl.Output[dsl.Model], metrics: dsl.Output[dsl.Metrics]):
    """Fits the model."""
    dsl.run_notebook(train_set=train_set.path, model=model.path, metrics=metrics.path)


@dsl.notebook_component(
    notebook_path="notebooks/shared/evaluate-regression.ipynb",
    packages_to_install=[],
    install_kfp_package=False,
)
def evaluate(
    test_set: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    losses: dsl.Output[dsl.Dataset],
):
    """Judges the model."""
    dsl.run_notebook(test_set=test_set.path, model=model.path, metrics=metrics.path, losses=losses.path)


@dsl.pipeline
def auto_mpg(table: str):
    """Prepare, train, evaluate."""
    prepared = prepare(table=table)
    trained = train(train_set=prepared.outputs["train_set"])
    evaluate(test_set=prepared.outputs["test_set"], model=trained.outputs["model"])


local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root="kfp")
auto_mpg(table=str(Path("data.csv").absolute()))
