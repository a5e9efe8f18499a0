import ast
import json
import math

import pytest
from kfp import dsl

from nbship.kubeflow.component import clean_notebook, notebook_literal
from nbship.workflow.incluster.step import run_step
from tests.projects import PREPARE, PREPARE_CODE, TABLE, TRAIN, TRAIN_CODE, write_notebook


@pytest.fixture
def artifact(tmp_path):
    """Makes an artifact of a type in a folder of its own, as KFP's launcher does."""

    def make(kind, name, content=None):
        path = tmp_path / "artifacts" / name
        path.parent.mkdir(exist_ok=True)
        if content is not None:
            path.write_text(content)
        return kind(name=name, uri=str(path))

    return make


def notebook_text(tmp_path, parameters, *code):
    return json.dumps(clean_notebook(write_notebook(tmp_path / "source/n.ipynb", parameters, *code)))


@pytest.mark.e2e
def test_a_step_reads_its_inputs_and_writes_outputs_and_results(tmp_path, artifact):
    arguments = {
        "table": artifact(dsl.Dataset, "table", TABLE),
        "rows": artifact(dsl.Dataset, "rows"),
        "count": str(tmp_path / "count"),
        # As KFP hands numbers over: whole ones may come as floats, and floats as whole ones.
        "most": 2.0,
        "names": [1.0, 2.0],
        "options": {"deep": {"flags": [True, 0.5]}},
        "C": 1,
        "note": "",
        "strict": False,
    }
    executed = artifact(dsl.HTML, "executed_notebook")

    run_step(
        arguments, executed, path="prepare.ipynb", notebook=notebook_text(tmp_path, PREPARE, PREPARE_CODE)
    )

    assert (tmp_path / "artifacts/rows").read_text().split() == ["x,y", "1,2", "2,4"]
    assert (tmp_path / "count").read_text() == "2"
    assert "{kept} 2" in (tmp_path / "artifacts/executed_notebook").read_text()


@pytest.mark.e2e
def test_metrics_are_logged_and_stay_in_the_file(tmp_path, artifact):
    written = '{"rmse": 2.5, "n": 3, "kind": "svr", "bad": NaN}'
    metrics = artifact(dsl.Metrics, "metrics")

    run_step(
        {"metrics": metrics},
        artifact(dsl.HTML, "executed_notebook"),
        path="n.ipynb",
        notebook=notebook_text(
            tmp_path, 'metrics: "Output[Metrics]" = "metrics.json"', f"open(metrics, 'w').write({written!r})"
        ),
    )

    assert metrics.metadata == {"rmse": 2.5, "n": 3, "kind": "svr", "bad": "nan"}
    assert math.isnan(json.loads((tmp_path / "artifacts/metrics").read_text())["bad"])


@pytest.mark.e2e
def test_a_step_that_writes_into_its_input_fails(tmp_path, artifact, capsys):
    code = "import os; os.chmod(table, 0o644); open(table, 'a').write('3,4'); open(rows, 'w').write('1')"
    signature = 'table: "Input[Dataset]" = "t.csv"\nrows: "Output[Dataset]" = "r.csv"\n'
    table = artifact(dsl.Dataset, "table", "x\n")
    with pytest.raises(SystemExit):
        run_step(
            {"table": table, "rows": artifact(dsl.Dataset, "rows")},
            artifact(dsl.HTML, "executed_notebook"),
            path="n.ipynb",
            notebook=notebook_text(tmp_path, signature, code),
        )
    assert f"error: n.ipynb: its input 'table' ({table.path}) was altered while" in capsys.readouterr().err
    assert not (tmp_path / "artifacts/rows").exists()


@pytest.mark.e2e
def test_an_output_that_is_a_link_arrives_as_what_it_leads_to(tmp_path, artifact):
    rows = artifact(dsl.Dataset, "rows")
    run_step(
        {"table": artifact(dsl.Dataset, "table", "x\n"), "rows": rows},
        artifact(dsl.HTML, "executed_notebook"),
        path="n.ipynb",
        notebook=notebook_text(
            tmp_path,
            'table: "Input[Dataset]" = "t.csv"\nrows: "Output[Dataset]" = "r.csv"\n',
            "import os; os.symlink(table, rows)",
        ),
    )
    assert (tmp_path / "artifacts/rows").read_text() == "x\n"
    assert not (tmp_path / "artifacts/rows").is_symlink()


CLASSIFICATION = {
    "confusion_matrix": {"categories": ["no", "yes"], "matrix": [[5, 1], [2, 4]]},
    "roc_curve": {"fpr": [0.0, 0.5, 1.0], "tpr": [0.0, 0.9, 1.0], "threshold": [math.inf, 0.7, 0.1]},
}


@pytest.mark.e2e
def test_classification_metrics_are_logged(tmp_path, artifact):
    judged = artifact(dsl.ClassificationMetrics, "judged")
    code = f"from math import inf; import json; json.dump({CLASSIFICATION!r}, open(judged, 'w'))"

    run_step(
        {"judged": judged},
        artifact(dsl.HTML, "executed_notebook"),
        path="n.ipynb",
        notebook=notebook_text(tmp_path, 'judged: "Output[ClassificationMetrics]" = "judged.json"', code),
    )

    rows = judged.metadata["confusionMatrix"]["rows"]
    assert [row["row"] for row in rows] == [[5, 1], [2, 4]]
    points = judged.metadata["confidenceMetrics"]
    assert [point["confidenceThreshold"] for point in points] == [1.7, 0.7, 0.1]
    assert json.loads(json.dumps(judged.metadata, allow_nan=False)) == judged.metadata


@pytest.mark.e2e
@pytest.mark.parametrize(
    "content", ["[1]", "{", '{"auc": 0.9}', '{"roc_curve": {"fpr": [1]}}', '{"confusion_matrix": {"x": 1}}']
)
def test_a_file_that_holds_no_classification_metrics(tmp_path, artifact, capsys, content):
    with pytest.raises(SystemExit):
        run_step(
            {"judged": artifact(dsl.ClassificationMetrics, "judged")},
            artifact(dsl.HTML, "executed_notebook"),
            path="n.ipynb",
            notebook=notebook_text(
                tmp_path,
                'judged: "Output[ClassificationMetrics]" = "judged.json"',
                f"open(judged, 'w').write({content!r})",
            ),
        )
    assert (
        "error: n.ipynb: its output 'judged' is not a classification metrics file" in capsys.readouterr().err
    )


@pytest.mark.e2e
def test_a_failing_cell_is_told_and_the_notebook_so_far_is_kept(tmp_path, artifact, capfd):
    with pytest.raises(SystemExit) as stopped:
        run_step(
            {"rows": artifact(dsl.Dataset, "rows", "x,y\n"), "scale": 1, "metrics": None, "model": None},
            artifact(dsl.HTML, "executed_notebook"),
            path="notebooks/train.ipynb",
            notebook=notebook_text(tmp_path, TRAIN, "print('came so far')", TRAIN_CODE),
        )
    assert stopped.value.code == 1
    error = capfd.readouterr().err
    assert "error: train.ipynb, cell 4: ZeroDivisionError" in error
    assert "slope = sum(" in error
    assert "came so far" in (tmp_path / "artifacts/executed_notebook").read_text()


@pytest.mark.e2e
def test_an_output_that_was_not_written_is_told(tmp_path, artifact, capsys):
    with pytest.raises(SystemExit):
        run_step(
            {"model": artifact(dsl.Model, "model")},
            artifact(dsl.HTML, "executed_notebook"),
            path="n.ipynb",
            notebook=notebook_text(tmp_path, 'model: "Output[Model]" = "model.joblib"', "1"),
        )
    assert "did not write its output 'model'" in capsys.readouterr().err


@pytest.mark.e2e
def test_files_keep_the_ending_that_the_notebook_gives_them(tmp_path, artifact):
    code = "import shutil\nshutil.copy(table, model)\nassert (table[-7:], model[-4:]) == ('.csv.gz', '.npz')"
    run_step(
        {"table": artifact(dsl.Dataset, "table", "content"), "model": artifact(dsl.Model, "model")},
        artifact(dsl.HTML, "executed_notebook"),
        path="n.ipynb",
        notebook=notebook_text(
            tmp_path, 'table: "Input[Dataset]" = "t.csv.gz"\nmodel: "Output[Model]" = "build/m.npz"', code
        ),
    )
    assert (tmp_path / "artifacts/model").read_text() == "content"


@pytest.mark.e2e
def test_an_output_may_be_a_folder(tmp_path, artifact):
    run_step(
        {"model": artifact(dsl.Model, "model")},
        artifact(dsl.HTML, "executed_notebook"),
        path="n.ipynb",
        notebook=notebook_text(
            tmp_path,
            'model: "Output[Model]" = "model"',
            "from pathlib import Path\nPath(model).mkdir()\nPath(model, 'weights').write_text('w')",
        ),
    )
    assert (tmp_path / "artifacts/model/weights").read_text() == "w"


@pytest.mark.parametrize("content", ["", "a model"])
def test_where_there_is_no_champion_nothing_is_run(tmp_path, artifact, capsys, content):
    arguments = {
        "model": artifact(dsl.Model, "model", content),
        "losses": artifact(dsl.Dataset, "losses"),
    }
    declared = 'model: "Input[Model]" = "m"\nlosses: "Output[Dataset]" = "losses.csv"'
    notebook = notebook_text(tmp_path, declared, "open(losses, 'w').write('judged')")
    executed = artifact(dsl.HTML, "executed_notebook")
    run_step(arguments, executed, path="n.ipynb", notebook=notebook, champion="model")
    assert (tmp_path / "artifacts/losses").read_text() == ("judged" if content else "")
    assert (tmp_path / "artifacts/executed_notebook").exists()
    assert ("no champion" in capsys.readouterr().out) is not bool(content)


@pytest.mark.e2e
def test_a_packed_notebook_is_run_with_its_variables(tmp_path, artifact, monkeypatch):
    monkeypatch.setenv("LEVEL", "of the pod")
    source = write_notebook(
        tmp_path / "n.ipynb", 'said: "Output[str]" = ""', "import os\nsaid = os.environ['LEVEL']"
    )
    packed = ast.literal_eval(notebook_literal(source, packed=True))
    assert "environ" not in packed
    run_step(
        {"said": str(tmp_path / "said")},
        artifact(dsl.HTML, "executed_notebook"),
        path="n.ipynb",
        notebook=packed,
        variables='{"LEVEL": "$$"}',
    )
    assert (tmp_path / "said").read_text() == "$$"
