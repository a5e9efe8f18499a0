import os
import shutil

import pytest
import typer
import yaml
from typer.testing import CliRunner

from nbship import __version__
from nbship.cli import image as image_command
from nbship.errors import UsageError
from nbship.workflow.compile import compile_pipeline
from nbship.workflow.image import image_reference, image_tag, ingredients, with_image
from tests.projects import write_project

LIST = "# what goes in\n*\n!src\n!pyproject.toml\n**/__pycache__\n**/*.pyc\nsrc/desk\n"


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "project"
    write(
        root,
        {
            "Dockerfile": "FROM scratch\n",
            ".dockerignore": LIST,
            "pyproject.toml": "",
            "src/room/a.py": "a = 1\n",
            "src/desk/b.py": "b = 1\n",
            "docs/page.md": "",
        },
    )
    return root


def write(root, texts):
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def names(root):
    return [path.relative_to(root).as_posix() for path in ingredients(root)]


def test_what_an_image_is_made_of(root):
    assert names(root) == ["Dockerfile", "pyproject.toml", "src/room/a.py"]


def test_the_same_files_give_the_same_tag_wherever_and_whenever(root, tmp_path):
    tag = image_tag(root)
    assert len(tag) == 16
    other = shutil.copytree(root, tmp_path / "elsewhere/other")
    os.utime(other / "src/room/a.py", (1, 1))
    (other / "src/room/a.py").chmod(0o600)
    write(
        other,
        {"src/room/__pycache__/a.pyc": "x", "src/b.pyc": "x", "src/desk/b.py": "b", "docs/page.md": "x"},
    )
    assert image_tag(other) == tag


@pytest.mark.parametrize(
    "changed",
    [
        {"src/room/a.py": "a = 2\n"},
        {"src/room/c.py": ""},
        {"pyproject.toml": "[project]"},
        {"Dockerfile": "FROM other\n"},
    ],
)
def test_any_change_gives_another_tag(root, changed):
    tag = image_tag(root)
    write(root, changed)
    assert image_tag(root) != tag


def test_a_file_that_moves_gives_another_tag(root):
    tag = image_tag(root)
    (root / "src/room/a.py").rename(root / "src/room/b.py")
    assert image_tag(root) != tag


def test_links_are_not_followed(root):
    (root / "src/page").symlink_to("../docs")
    (root / "src/gone").symlink_to("nowhere")
    tag = image_tag(root)
    write(root, {"docs/page.md": "other"})
    assert image_tag(root) == tag
    (root / "src/gone").unlink()
    (root / "src/gone").symlink_to("elsewhere")
    assert image_tag(root) != tag


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, ".dockerignore is missing"),
        ("", "not a list of what goes in"),
        ("!src\n", "not a list of what goes in"),
        ("*\n", "not a list of what goes in"),
        ("*\n!src\n!gone\n", "there is no gone"),
    ],
)
def test_a_list_that_is_not_understood(root, text, said):
    (root / ".dockerignore").unlink()
    if text is not None:
        write(root, {".dockerignore": text})
    with pytest.raises(UsageError, match=said):
        image_tag(root)


@pytest.mark.parametrize(
    ("image", "tagged"),
    [
        ("nbship", "nbship:TAG"),
        ("registry.example.org:5000/cars/nbship", "registry.example.org:5000/cars/nbship:TAG"),
        ("registry.example.org:5000/cars/nbship:1", "registry.example.org:5000/cars/nbship:1"),
        ("nbship@sha256:0123", "nbship@sha256:0123"),
    ],
)
def test_only_an_image_without_tag_and_digest_gets_the_tag(root, image, tagged):
    assert image_reference(root, image) == tagged.replace("TAG", image_tag(root))


def test_without_a_dockerfile_the_tag_is_nbships_version(root):
    (root / "Dockerfile").unlink()
    assert image_reference(root, "nbship") == f"nbship:{__version__}"


@pytest.mark.parametrize("image", ["nbship", "registry.example.org/cars"])
def test_the_tag_is_in_a_compiled_pipeline_that_is_not_committed(root, image, monkeypatch):
    write_project(root)
    path = root / "pipelines/line.yaml"
    path.write_text(f"{path.read_text()}image: {image}\n")
    step = "  other: {notebook: notebooks/prepare.ipynb, image: 'own:1'}\n"
    path.write_text(path.read_text().replace("  train-line:", f"{step}  train-line:", 1))
    path.write_text(
        path.read_text().replace("{scale: prepare.count}", "{scale: prepare.count, rows: prepare.rows}")
    )
    tagged = f"{image}:{image_tag(root)}"
    elsewhere = compile_pipeline(root, "line", root / "other.yaml").text
    assert images(elsewhere) == {
        "exec-fetch-table": tagged,
        "exec-resolve": tagged,
        "exec-report": tagged,
        "exec-prepare": tagged,
        "exec-other": "own:1",
        "exec-train-line": tagged,
    }
    committed = compile_pipeline(root, "line").text
    assert set(images(committed).values()) == {image, "own:1"}
    # One of earlier days has the tag in it.
    exact = f"{image}@sha256:0123"
    for text in (committed, elsewhere):
        assert set(images(with_image(text, image, exact)[0]).values()) == {exact, "own:1"}
    monkeypatch.chdir(root)
    assert printed("line") == f"{tagged}\n"
    assert printed() == f"{image_tag(root)}\n"


def test_code_that_changes_no_pipeline_changes_no_compiled_pipeline(root):
    write_project(root)
    before, tag = compile_pipeline(root, "line").text, image_tag(root)
    write(root, {"src/room/a.py": '"""Says more."""\n\na = 1\n'})
    assert image_tag(root) != tag
    assert compile_pipeline(root, "line").text == before


@pytest.mark.parametrize(
    ("image", "line", "taken"),
    [
        ("cars", "image: cars", True),
        ("cars", "image: cars:1", True),
        ("cars", "image: cars@sha256:0123", False),
        ("cars", "image: cars/other", False),
        ("cars", "image: fast-cars", False),
        ("c.rs", "image: cars", False),
        ("cars:1", "image: cars:1", True),
        ("cars:1", "image: cars:12", False),
    ],
)
def test_only_the_projects_image_is_replaced(image, line, taken):
    text, count = with_image(f"  {line}\n", image, "cars:2")
    assert (text, count) == (("  image: cars:2\n", 1) if taken else (f"  {line}\n", 0))


def images(text):
    executors = next(yaml.safe_load_all(text))["deploymentSpec"]["executors"]
    return {name: executor["container"]["image"] for name, executor in executors.items()}


def printed(*arguments):
    app = typer.Typer()
    image_command.register(app)
    return CliRunner().invoke(app, arguments).output
