"""The page as people use it: a browser, the cluster's NGINX, and model servers, all real."""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from tests.browser import Browser, open_browser
from tests.nginx import CLIENT, nginx
from tests.served import serving, write_cars, write_churn, write_digits

pytestmark = pytest.mark.e2e
PAGE = CLIENT / "page"
TITLES = {"cars": "Fuel economy", "churn": "Customer churn", "digits": "Handwritten digits"}
SHOWN = "document.querySelector('#answer[aria-busy=false] .figure:not(.none)')"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("client")


@pytest.fixture(scope="module")
def ports(folder: Path) -> Iterator[dict[str, int]]:
    for name, write in {"cars": write_cars, "churn": write_churn, "digits": write_digits}.items():
        write(folder / name)
    with serving(*(folder / name for name in TITLES)) as ports:
        yield ports


@pytest.fixture(scope="module")
def address(folder: Path, ports: dict[str, int]) -> Iterator[str]:
    """Serves the page's files with the list of models among them, as the cluster's volume has them."""
    root = folder / "page"
    root.mkdir()
    for file in PAGE.iterdir():
        (root / file.name).symlink_to(file)
    models = [{"name": name, "title": title} for name, title in TITLES.items()]
    (root / "models.json").write_text(json.dumps({"models": [*models, {"name": "gone"}]}))
    with nginx(folder / "nginx", root, {**ports, "gone": 1}) as address:
        yield address


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Browser]:
    with open_browser(folder / "browser") as browser:
        yield browser


@pytest.fixture
def browser(running: Browser, address: str) -> Iterator[Browser]:
    """The browser with an empty history; what its console says must be nothing."""
    running.look()
    running.open(f"{address}/")
    running.wait(f"{SHOWN} && (sessionStorage.clear(), true)")
    running.log.clear()
    yield running
    assert running.log == []


def open_model(browser: Browser, address: str, name: str = "cars", values: str = "") -> None:
    browser.open(f"{address}/#/{name}{values}")
    browser.wait(f"document.title === {json.dumps(TITLES[name])} && !!{SHOWN}")


def figure(browser: Browser) -> float:
    return float(browser.text("#prediction .figure").split()[0])


def wait_for_change(browser: Browser, before: str) -> str:
    text = f"{SHOWN}?.innerText"
    return str(browser.wait(f"{text} !== {json.dumps(before)} && {text}"))


def test_the_form_is_made_of_what_the_model_says(browser: Browser, address: str) -> None:
    open_model(browser, address)
    fields = browser.text("#fields")
    assert all(text in fields for text in ("Curb weight", "lb", "weight · 1609 to 5090", "Europe"))
    assert 10 < figure(browser) < 50
    assert "between" in browser.text("#prediction .interval")
    assert not browser.run("document.getElementById('synthetic').checkVisibility()")


def test_typing_predicts_and_warns_outside_the_training_range(browser: Browser, address: str) -> None:
    open_model(browser, address, values="?weight=2000&hp=60&origin=1")
    light = browser.text("#prediction .figure")
    browser.fill("#field-weight", "9000")
    heavy = wait_for_change(browser, light)
    assert float(heavy.split()[0]) < float(light.split()[0])
    assert "outside 1609 to 5090" in browser.text("#field-weight-oddity")
    browser.wait("document.querySelector('#curves .outside')")
    browser.fill("#field-weight", "2000")
    browser.wait("!document.getElementById('field-weight-oddity').innerText")


def test_what_the_server_refuses_stands_beside_the_field(browser: Browser, address: str) -> None:
    open_model(browser, address)
    browser.fill("#field-weight", "")
    browser.wait("document.querySelector('#answer.refused')")
    assert "is missing" in browser.text("#field-weight-problem")
    assert browser.run("document.getElementById('field-weight').getAttribute('aria-invalid')") == "true"
    browser.click("#form .primary")
    browser.wait("document.activeElement.id === 'field-weight'")
    browser.send("Input.insertText", text="3000")
    browser.wait("!document.querySelector('#answer.refused')")
    assert browser.text("#field-weight-problem") == ""
    # The browser's console tells of every 4xx.
    browser.log[:] = [line for line in browser.log if "422" not in line]


def test_a_value_that_may_lack_is_left_out(browser: Browser, address: str) -> None:
    open_model(browser, address)
    browser.fill("#field-hp", "")
    browser.wait("!document.getElementById('curl').innerText.includes('hp')")
    browser.wait(SHOWN)
    assert browser.text("#field-hp-problem") == ""


def test_a_slider_moves_the_prediction_and_the_curve_has_axes(browser: Browser, address: str) -> None:
    open_model(browser, address)
    browser.wait("document.querySelectorAll('#curves .line').length === 2")
    assert "Curb weight (lb)" in browser.run("document.querySelector('#curves svg').textContent")
    before = browser.text("#prediction .figure")
    curve = browser.run("document.querySelectorAll('#curves .line')[1].getAttribute('points')")
    browser.run("document.getElementById('what-if-weight').focus()")
    x, y = browser.middle("#what-if-weight")
    browser.press_mouse(x, y, x - 60, y)
    wait_for_change(browser, before)
    browser.wait(f"document.querySelectorAll('#curves .line')[1].getAttribute('points') !== '{curve}'")
    assert browser.run("document.getElementById('field-weight').value") in browser.text("#curves output")
    weight = float(browser.run("document.getElementById('field-weight').value"))
    browser.press("ArrowRight")
    browser.wait(f"document.getElementById('field-weight').value == {weight + 1}")


def test_the_curve_meets_the_prediction(browser: Browser, address: str) -> None:
    """Where the curve's dot is, read on its axis, is what is shown large."""
    open_model(browser, address, values="?weight=3000&hp=100&origin=1")
    browser.wait("document.querySelector('#curves .dot')")
    shown, read = browser.run(
        "(() => { const svg = document.querySelector('#curves svg');"
        "const ticks = [...svg.querySelectorAll('text.end')]"
        ".map(t => [Number(t.textContent), t.getAttribute('y') - 4]);"
        "const [[a, ya], [b, yb]] = ticks; const y = Number(svg.querySelector('.dot').getAttribute('cy'));"
        f"return [parseFloat({SHOWN}.innerText), a + (b - a) * (y - ya) / (yb - ya)] }})()"
    )
    assert read == pytest.approx(shown, abs=0.8)


def test_the_history_brings_back(browser: Browser, address: str) -> None:
    open_model(browser, address, values="?weight=2000&hp=60&origin=1")
    browser.click("#form .primary")
    browser.wait("document.querySelectorAll('#entries button').length === 1")
    light = browser.text("#prediction .figure")
    browser.choose("#field-origin", "3")
    browser.fill("#field-weight", "4500")
    browser.press("Enter")
    browser.wait("document.querySelectorAll('#entries button').length > 1")
    wait_for_change(browser, light)
    browser.click("#entries li:last-child button")
    browser.wait(f"{SHOWN}?.innerText === {json.dumps(light)}")
    assert browser.run("document.getElementById('field-weight').value") == "2000"
    browser.send("Page.reload")
    browser.wait(f"document.querySelectorAll('#entries button').length > 1 && {SHOWN}")
    browser.wait("document.querySelectorAll('#curves .line').length === 2")
    browser.click("#clear")
    browser.wait("!document.querySelector('#entries button')")


def test_a_link_carries_the_inputs(browser: Browser, address: str) -> None:
    open_model(browser, address)
    browser.fill("#field-weight", "2345")
    browser.wait("location.hash.includes('weight=2345')")
    shown, link = browser.wait(f"{SHOWN}?.innerText"), browser.run("location.href")
    browser.open(link)
    browser.wait(f"{SHOWN}?.innerText === {json.dumps(shown)}")
    assert browser.run("document.getElementById('field-weight').value") == "2345"


@pytest.mark.parametrize("values", ["?weight=%3Cb%3E&none=1", "?" + "a" * 5000, "?origin=77", "%%%"])
def test_a_damaged_link_does_no_harm(browser: Browser, address: str, values: str) -> None:
    browser.open(f"{address}/#/cars{values}")
    browser.wait("document.querySelector('#prediction .figure')")
    browser.log[:] = [line for line in browser.log if "422" not in line]


def test_the_chooser_changes_the_model(browser: Browser, address: str) -> None:
    open_model(browser, address)
    browser.choose("#model", "churn")
    browser.wait(f"document.title === 'Customer churn' && !!{SHOWN}")
    assert browser.run("[...document.querySelectorAll('#field-contract option')].length") == 4
    assert "100%" in browser.wait("document.querySelector('#curves svg')?.textContent")
    assert browser.run("location.hash").startswith("#/churn?")


def test_a_model_that_does_not_answer_is_told_and_tried_again(browser: Browser, address: str) -> None:
    open_model(browser, address)
    browser.choose("#model", "gone")
    browser.wait("document.getElementById('notice').innerText.includes('the model does not answer')")
    browser.choose("#model", "cars")
    browser.wait("!document.getElementById('notice').checkVisibility()")
    browser.log[:] = [line for line in browser.log if "502" not in line]


def test_the_command_does_the_same(browser: Browser, address: str) -> None:
    open_model(browser, address, "churn")
    command = browser.text("#curl")
    body = command.split("-d '")[1].rstrip("'")
    url = command.split("'")[1]
    answer = requests.post(url, data=body, headers={"content-type": "application/json"}, timeout=30).json()
    assert str(answer["predictions"][0]) == browser.text("#prediction .figure").split()[0]
    browser.click("#copy")
    browser.wait("document.getElementById('said').textContent === 'Copied'")


def test_a_dropped_table_is_predicted_row_by_row(browser: Browser, address: str, tmp_path: Path) -> None:
    open_model(browser, address)
    rows = [f'{1700 + index},{60 + index / 10},1,"car ""{index}"", red"' for index in range(1200)]
    rows[700] = 'heavy,90,1,"broken"'
    (tmp_path / "cars.csv").write_text("\n".join(["weight,hp,origin,name", *rows]))
    browser.drop_file("#file", tmp_path / "cars.csv")
    browser.wait("document.getElementById('batch').innerText.includes('1199 rows predicted, 1 refused')")
    assert "Not used: name." in browser.text("#batch")
    assert "701" in browser.text("#batch tbody tr")
    browser.click("#batch .tools button")
    header, *lines = csv.reader(io.StringIO(browser.downloaded("cars-predicted.csv")))
    assert header == [
        "weight",
        "hp",
        "origin",
        "name",
        "predicted mpg",
        "prediction low",
        "prediction high",
        "problem",
    ]
    assert len(lines) == 1200
    assert lines[0][:4] == ["1700", "60.0", "1", 'car "0", red']
    assert "weight: is text" in lines[700][-1]
    assert float(lines[300][5]) < float(lines[300][4]) < float(lines[300][6])
    body = {"instances": [{"weight": 2000, "hp": 90, "origin": 1}]}
    same = requests.post(f"{address}/v1/models/cars:predict", json=body, timeout=30).json()["predictions"][0]
    assert float(lines[300][4]) == pytest.approx(same)
    browser.log[:] = [line for line in browser.log if "422" not in line]


def test_a_download_holds_no_formula(browser: Browser, address: str, tmp_path: Path) -> None:
    open_model(browser, address)
    notes = ['=HYPERLINK("http://127.0.0.1")', "@SUM(1)", "+1 800", "-2.5", "-a", "plain", "\t=1"]
    with (tmp_path / "notes.csv").open("w", newline="") as file:
        write = csv.writer(file)
        write.writerow(["weight", "hp", "origin", "=note"])
        write.writerows([2000, 90, 1, note] for note in notes)
    browser.give_file("#chosen", tmp_path / "notes.csv")
    browser.wait("document.getElementById('batch').innerText.includes('7 rows predicted.')")
    browser.click("#batch .tools button")
    header, *lines = csv.reader(io.StringIO(browser.downloaded("notes-predicted.csv")))
    assert header[3] == "'=note"
    assert [line[3] for line in lines] == [
        '\'=HYPERLINK("http://127.0.0.1")',
        "'@SUM(1)",
        "'+1 800",
        "-2.5",
        "'-a",
        "plain",
        "'\t=1",
    ]


def test_a_table_from_a_spreadsheet_in_europe(browser: Browser, address: str, tmp_path: Path) -> None:
    """Semicolons, decimal commas, dots between thousands, and the words of the form."""
    open_model(browser, address)
    rows = ["weight;hp;origin", "2000;90,5;USA", "2.000;90,5;1", "1800;1.090,5;Europe", "1800;90,5;Mars"]
    (tmp_path / "autos.csv").write_text("\r\n".join(rows))
    browser.give_file("#chosen", tmp_path / "autos.csv")
    browser.wait("document.getElementById('batch').innerText.includes('3 rows predicted, 1 refused')")
    assert "1 far outside the training range" in browser.text("#batch .lead")
    browser.click("#batch .tools button")
    lines = list(csv.DictReader(io.StringIO(browser.downloaded("autos-predicted.csv")), delimiter=";"))
    assert lines[0]["predicted mpg"] == lines[1]["predicted mpg"]
    body = {"instances": [{"weight": 2000, "hp": 90.5, "origin": 1}]}
    same = requests.post(f"{address}/v1/models/cars:predict", json=body, timeout=30).json()["predictions"][0]
    assert float(lines[0]["predicted mpg"].replace(",", ".")) == pytest.approx(same)
    assert (lines[2]["far outside"], lines[2]["prediction low"]) == ("Engine power", "")
    assert "origin: is text" in lines[3]["problem"]
    browser.log[:] = [line for line in browser.log if "422" not in line]


@pytest.mark.parametrize("text", ["x", '""', ", "])
def test_a_value_of_any_length_is_read(browser: Browser, text: str) -> None:
    script = f"""(async () => {{
      const {{ parseTable, toCsv }} = await import("/table.js");
      const value = {json.dumps(text)}.repeat(10_000_000);
      const {{ rows, style }} = parseTable(`a,b\\r\\n1,"${{value}}"\\r\\n2,y\\n`);
      return [rows.length, rows[0].b.length, rows[1].b, toCsv(rows, style).length > rows[0].b.length];
    }})()"""
    length = 10_000_000 if text == '""' else len(text) * 10_000_000
    assert browser.run(script) == [2, length, "y", True]


def test_nothing_is_promised_far_outside_the_training_range(browser: Browser, address: str) -> None:
    open_model(browser, address, values="?weight=2000&hp=60&origin=1")
    assert "between" in browser.text("#prediction .interval")
    browser.fill("#field-weight", "30750")
    browser.wait("document.querySelector('#prediction .far')")
    assert "Curb weight 30,750 (1609 to 5090)" in browser.text("#prediction .far")
    assert not browser.run("document.querySelector('#prediction .interval')")
    browser.fill("#field-weight", "5100")
    browser.wait("document.querySelector('#prediction .interval')")
    assert not browser.run("document.querySelector('#prediction .far')")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (
            "i.json",
            '[{"weight": 2000, "origin": 2, "x": ' + "[" * 50_000 + "]" * 50_000 + "}]",
            "1 rows predicted.",
        ),
        ("a.json", '[{"weight": 2000, "hp": null, "origin": 2}]', "1 rows predicted."),
        ("b.jsonl", '{"weight": 2000, "origin": 2}\n{"weight": 2100, "origin": 2}', "2 rows predicted."),
        ("c.csv", "weight;hp;origin\n2000;90;1\n", "1 rows predicted."),
        ("d.csv", "wait,hp,origin\n2000,90,1\n", "no column weight"),
        ("e.csv", "weight,hp,origin\n2000,90\n", "Row 1 has 2 values"),
        ("f.csv", 'weight,hp,origin\n"2000,90,1\n', "a quote is not closed"),
        ("g.json", "[1, 2]", "does not hold a list of records"),
        ("h.csv", "", "The file is empty"),
    ],
)
def test_files_of_all_kinds(
    browser: Browser, address: str, tmp_path: Path, name: str, content: str, told: str
) -> None:
    open_model(browser, address)
    (tmp_path / name).write_text(content)
    browser.give_file("#chosen", tmp_path / name)
    browser.wait(f"document.getElementById('batch').innerText.includes({json.dumps(told)})")


def test_a_drawing_is_recognized(browser: Browser, address: str) -> None:
    open_model(browser, address, "digits")
    browser.click(".picture button")
    browser.wait("document.querySelector('#answer.refused')")
    x, y = browser.middle("canvas")
    side = browser.run("document.querySelector('canvas').getBoundingClientRect().width")
    browser.press_mouse(x, y - side * 0.42, x, y, x, y + side * 0.42)
    browser.wait("!document.querySelector('#answer.refused')")
    assert browser.text("#prediction .figure").split()[0] == "1"
    before = browser.text("#curl")
    browser.run("document.querySelector('canvas').focus()")
    browser.press("ArrowLeft")
    browser.press("ArrowLeft", shift=True)
    browser.wait(f"document.getElementById('curl').innerText !== {json.dumps(before)}")
    browser.log[:] = [line for line in browser.log if "422" not in line]


def test_a_picture_on_white_paper_is_recognized(browser: Browser, address: str, tmp_path: Path) -> None:
    open_model(browser, address, "digits")
    (tmp_path / "one.png").write_bytes(picture_of_a_one())
    browser.give_file("#field-image-file", tmp_path / "one.png")
    browser.wait(f"{SHOWN}?.innerText.startsWith('1')")
    link, shown = browser.run("location.href"), browser.text("#prediction .figure")
    browser.open(link)
    browser.wait(f"{SHOWN}?.innerText === {json.dumps(shown)}")


def picture_of_a_one(side: int = 80) -> bytes:
    """A grey PNG: a black stroke down the middle of white paper."""
    row = b"\0" + bytes(0 if 32 <= x < 50 else 255 for x in range(side))
    blank = b"\0" + b"\xff" * side

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    head = chunk(b"IHDR", side.to_bytes(4) * 2 + b"\x08\x00\x00\x00\x00")
    data = zlib.compress(blank * 3 + row * (side - 6) + blank * 3)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_everything_can_be_reached_with_the_keyboard_and_has_a_name(browser: Browser, address: str) -> None:
    open_model(browser, address)
    browser.run("document.activeElement.blur()")
    reached = []
    for _ in range(16):
        browser.press("Tab")
        reached.append(browser.run("document.activeElement.id || document.activeElement.className"))
    wanted = ["skip", "model", "field-weight", "field-hp", "field-origin", "what-if-weight", "chosen", "copy"]
    assert [each for each in dict.fromkeys(reached) if each in wanted] == wanted
    tree = browser.send("Accessibility.getFullAXTree")["nodes"]
    controls = [
        n for n in tree if n["role"]["value"] in ("button", "spinbutton", "slider", "combobox", "textbox")
    ]
    assert len(controls) > 8
    assert all(node["name"]["value"] for node in controls)


@pytest.mark.parametrize("name", TITLES)
def test_nothing_is_wider_than_a_phone(browser: Browser, address: str, name: str) -> None:
    browser.look(360, 740)
    open_model(browser, address, name)
    assert browser.run("document.documentElement.scrollWidth") <= 360


def test_dark_is_dark(browser: Browser, address: str) -> None:
    shades = []
    for dark in (False, True):
        browser.look(dark=dark)
        open_model(browser, address)
        color = browser.run("getComputedStyle(document.body).backgroundColor")
        shades.append(sum(map(int, color.removeprefix("rgb(").rstrip(")").split(","))))
    assert shades[0] > 600
    assert shades[1] < 120


def test_nginx_passes_predictions_on_and_nothing_else(address: str) -> None:
    def status(method: str, path: str, **arguments: object) -> int:
        return requests.request(method, address + path, timeout=30, **arguments).status_code

    assert status("GET", "/v2/models/cars") == 200
    assert status("POST", "/v2/repository/models/cars/load") in (403, 404, 405)
    assert status("GET", "/v1/models/cars:predict") == 403
    assert status("GET", "/metrics") == 404
    assert status("GET", "/v2/models/none") == 502
    assert status("GET", "/..%2f..%2fnginx.conf") in (400, 404)
    too_large = requests.post(f"{address}/v1/models/cars:predict", data=b" " * (2**20 + 1), timeout=30)
    assert (too_large.status_code, list(too_large.json())) == (413, ["error"])


def test_the_page_may_load_nothing_from_elsewhere(address: str) -> None:
    headers = requests.get(address, timeout=30).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    tag = requests.get(f"{address}/app.js", timeout=30).headers["ETag"]
    assert requests.get(f"{address}/app.js", headers={"If-None-Match": tag}, timeout=30).status_code == 304


def test_a_page_on_another_host_asks_the_server_that_allows_it(browser: Browser, folder: Path) -> None:
    with serving(folder / "cars", arguments=("--allowed_origins", "*")) as ports:
        server = f"http://127.0.0.1:{ports['cars']}"
        with nginx(folder / "elsewhere", PAGE, {}, PAGE_SERVER=server) as page:
            browser.open(page)
            browser.wait(f"!!{SHOWN}")
            assert server in browser.text("#curl")


def test_the_kustomization_has_every_file_of_the_page() -> None:
    content = yaml.safe_load((CLIENT / "kustomization.yaml").read_text())
    maps = {each["name"]: each.get("files", []) for each in content["configMapGenerator"]}
    files = {f"page/{file.name}" for file in PAGE.iterdir() if file.name != "settings.json"}
    assert set(maps["nbship-client-page"]) == files
