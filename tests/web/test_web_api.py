"""What the page is told equals what the library says; errors are one line; jobs run, report and stop."""

import importlib.util
import json
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from browsing import rebuilt
from starlette.testclient import TestClient
from torch import nn

import stridewise as sw
from stridewise.errors import PlanError, UsageError
from stridewise.web.jobs import Job, Jobs
from stridewise.web.plans import Runs, exported
from stridewise.web.server import make_app
from stridewise.web.whatif import Studied
from stridewise.web.workbench import Workbench

ZOO = "resnet18 resnet50 mobilenet_v2 squeezenet1_1 googlenet densenet121 shufflenet_v2_x0_5 vgg11 regnet_y_400mf"
NETWORKS = ["builtin:resnet20", *(f"torchvision:{name}" for name in ZOO.split())]


def some_changes(data: dict[str, Any], draw: random.Random) -> dict[str, str]:
    """One to three wishes at free sites and slots."""
    sites = [g["sites"][0] for g in data["groups"] if g["free"]]
    places = sites + [f"+{slot['key']}" for slot in data["slots"]]
    return {key: draw.choice(["1", "2", "2x1"]) for key in draw.sample(places, min(len(places), draw.randint(1, 3)))}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_page_shows_what_show_says(name: str):
    if name.startswith("torchvision") and importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    studied = Workbench([name]).opened[0].wait()
    graph, data = studied.graph, studied.original
    said = sw.show(graph).to_json()
    assert {key: data[key] for key in said} == said
    draw, fitted = random.Random(name), 0
    for _ in range(8):
        changes = some_changes(data, draw)
        try:
            plan = sw.plan(graph, changes)
            expected = sw.show(graph, [plan]).to_json()["plans"][0]
        except PlanError:
            continue
        fitted += 1
        answer = studied.what_if({"changes": changes})
        assert rebuilt(data["layers"], json.loads(json.dumps(answer["layers"]))) == expected["layers"]
        told = studied.rules({"changes": changes})
        assert answer["totals"] | {"smallest_input": list(told["smallest_input"])} == expected["totals"]
        assert answer["outputs"] == expected["outputs"]
        assert told["findings"] == expected["findings"]
    assert fitted


def test_a_what_if_over_the_wire(client: TestClient):
    data = client.get("/api/network/0").json()
    answer = client.post("/api/what-if", json={"network": 0, "changes": {"+layers.3": "1"}}).json()
    assert answer["totals"]["output_stride"] == [2, 2]
    assert data["totals"]["output_stride"] == [4, 4]
    assert answer["plan"] == {"+layers.3": {"stride": [1, 1], "was": [2, 2], "downsample": "max", "how": "max"}}
    assert "findings" in client.post("/api/findings", json={"network": 0, "changes": {"+layers.3": "1"}}).json()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"network": 7}, "no network number 7"),
        ({"network": "0"}, "no network number 0"),
        ({}, "no network number None"),
        ({"network": 0, "changes": []}, "at most 200"),
        ({"network": 0, "changes": {"layers.9.conv1": {"a": 1}}}, "a stride is written"),
        ({"network": 0, "changes": {"nowhere": "2"}}, "nowhere: no site of that name"),
        ({"network": 0, "changes": {"+layers.8": "999"}}, "+layers.8: no window fits: span 999 on 8 positions"),
        ({"network": 0, "changes": {"layers.9.conv1": "2"}}, "layers.9.conv1"),
        ({"network": 0, "output_stride": "8"}, "output_stride"),
        ({"network": 0, "changes": {f"s{i}": "1" for i in range(300)}}, "at most 200"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(client: TestClient, asked: dict[str, Any], says: str):
    answer = client.post("/api/what-if", json=asked)
    assert answer.status_code == 422
    assert says in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("place", "wish", "fix"),
    [
        ("+layers.8", "999", ": the plan does not fit; take smaller steps, or an input size that they divide"),
        ("layers.4.conv1", "17", "larger than the map it steps over (16x16): take a smaller one"),
        ("layers.9.conv1", "2", "; insert a step at a slot instead"),
    ],
)
def test_a_refused_wish_names_the_place_first_and_a_way_out_last(client: TestClient, place: str, wish: str, fix: str):
    said = client.post("/api/what-if", json={"network": 0, "changes": {place: wish}}).json()["error"]
    assert said.startswith(f"{place}: ")
    assert said.endswith(fix)


def test_the_exported_plan_applies(client: TestClient):
    asked = {"network": 0, "changes": {"+layers.3": "1", "+layers.4": "2"}}
    text = client.post("/api/export", json=asked).json()
    plan = sw.Plan.from_toml(text["toml"])
    model = sw.load("builtin:resnet20")
    assert sw.apply(model, plan).changes
    assert "+layers.4=2" in text["command"]
    scope: dict[str, Any] = {}
    exec(text["python"].replace("print(sw.apply(model, plan))", ""), scope)
    assert dict(scope["plan"].insert) == dict(plan.insert)


def test_the_export_of_unequal_steps(bench: Workbench):
    text = exported(bench.opened[0], {"changes": {"+layers.1": "2x1"}})
    assert "stride = [2, 1]" in text["toml"]
    assert "'+layers.1': '2x1'" in text["python"]


def test_one_convolution_says_which_pixels_each_cell_reads(client: TestClient):
    asked = {"network": 0, "kernel": "sobel-x", "strides": [[1, 1], [2, 3]], "side": 12, "padding": [[1, 0], [0, 0]]}
    found = client.post("/api/convolution", json=asked).json()
    left, right = found["maps"]
    rows, columns = right["axes"]
    assert (rows["out_size"], columns["out_size"]) == (6, 4)
    assert [len(right["out"]), len(right["out"][0])] == [6, 4]
    y, x = 3, 2
    total = sum(
        found["weights"][i][j] * found["pixels"][r][c]
        for i, r in enumerate(rows["positions"][y])
        for j, c in enumerate(columns["positions"][x])
        if r >= 0
    )
    assert right["out"][y][x] == pytest.approx(total, abs=1e-3)
    assert left["axes"][0]["formula"].endswith("= 11")
    assert columns["dropped"] == 0
    assert sum(columns["reads"]) == 4 * 3


@pytest.mark.parametrize(
    "asked",
    [
        {"kernel": "/etc/passwd"},
        {"kernel": "box:99999"},
        {"strides": []},
        {"strides": [[0, 1]]},
        {"strides": [[1]]},
        {"strides": [[10**9, 1]]},
        {"side": 10**6},
        {"dilation": 0},
        {"padding": [[-1, 0], [0, 0]]},
        {"padding": [[10**9, 0], [0, 0]]},
        {"at": [2, 2]},
        {"kernel": "own", "layer": "layers"},
        {"kernel": "own", "layer": "__class__"},
    ],
)
def test_an_impossible_convolution_is_refused(client: TestClient, asked: dict[str, Any]):
    answer = client.post("/api/convolution", json={"network": 0} | asked)
    assert answer.status_code == 422
    assert answer.json()["error"]


def run(client: TestClient, asked: dict[str, Any]) -> dict[str, Any]:
    """A job to its end."""
    job = client.post("/api/jobs", json={"network": 0, **asked}).json()
    events = client.get(f"/api/jobs/{job['id']}/events").text
    assert '"state": "done"' in events or '"state": "failed"' in events
    found: dict[str, Any] = client.get(f"/api/jobs/{job['id']}").json()
    return found


def test_jobs_that_run_the_network(client: TestClient):
    changes = {"+layers.3": "1", "+layers.4": "2"}
    plans = [{"name": "original"}, {"name": "plan B", "changes": changes}]
    maps = run(client, {"kind": "maps", "layer": "layers.5.conv2", "plans": plans})["result"]
    assert [m["size"] for m in maps["maps"]] == [[16, 16], [16, 16]]
    assert len(maps["channels"]) == 12
    assert maps["maps"][0]["pictures"][0].startswith("data:image/png;base64,")
    field = run(client, {"kind": "field", "layer": "layers.1.conv1", "position": [9, 9]})["result"]
    assert 0 < field["share"] <= 25 / 1024
    shift = run(client, {"kind": "shift", "plans": plans})["result"]
    assert [(c["plan"], c["stride"]) for c in shift["curves"]] == [("original", 4), ("plan B", 4)]
    assert shift["curves"][0]["change"][0] == 0
    latency = run(client, {"kind": "latency", "plans": plans})["result"]
    assert [one["name"] for one in latency["plans"]] == ["original", "plan B"]
    assert latency["plans"][0]["ratio"] == 1
    assert latency["plans"][1]["kind"] == "measured"
    failed = run(client, {"kind": "maps", "layer": "nowhere"})
    assert failed["state"] == "failed"
    assert failed["error"].startswith("nowhere: ")
    outside = run(client, {"kind": "field", "layer": "layers.1.conv1", "position": [99, 0]})
    assert "no position 99, 0" in outside["error"]
    pool = run(client, {"kind": "maps", "layer": "+layers.6"})["result"]
    assert [m["size"] for m in pool["maps"]] == [[8, 8]]
    blurred = {"layers.4.conv1": "2:blur", "layers.4.shortcut.0": "2:blur", "+layers.3": "1"}
    plans = [{"name": "plan C", "changes": blurred}, {"name": "plan B", "changes": changes}]
    inside = run(client, {"kind": "maps", "layer": "layers.4.conv1/blur", "plans": plans})["result"]
    assert [(m["plan"], m["size"]) for m in inside["maps"]] == [("plan C", [16, 16])]
    asked = {"kind": "field", "layer": "layers.4.conv1/blur", "position": [1, 1], "plans": plans[:1]}
    assert 0 < run(client, asked)["result"]["share"] < 1
    assert client.post("/api/jobs", json={"network": 0, "kind": "rm"}).status_code == 422
    assert client.get("/api/jobs/j999").status_code == 422


def test_a_job_leaves_the_network_as_it_was(bench: Workbench, client: TestClient):
    before = {name: (type(m), dict(m._forward_hooks)) for name, m in bench.opened[0].model().named_modules()}
    changes = {"+layers.3": "1", "+layers.4": "2"}
    asked = {"kind": "maps", "layer": "layers.5.conv2", "plans": [{"name": "plan B", "changes": changes}]}
    assert run(client, asked)["state"] == "done"
    after = {name: (type(m), dict(m._forward_hooks)) for name, m in bench.opened[0].model().named_modules()}
    assert before == after


def test_one_job_at_a_time_and_cancel():
    jobs, running, most, gate = Jobs(), [], [], threading.Event()

    def work(report):
        running.append(1)
        most.append(len(running))
        while not gate.is_set():
            report(0.5, "waiting")
            time.sleep(0.005)
        running.pop()
        return {"x": 1}

    first, second = jobs.start("a", work), jobs.start("b", work)
    third = jobs.start("c", work)
    time.sleep(0.05)
    assert [first.state, second.state] == ["running", "waiting"] or [first.state, second.state] == [
        "waiting",
        "running",
    ]
    jobs.cancel(third.id)
    assert third.state in ("cancelled", "running")
    gate.set()
    deadline = time.time() + 5
    while not all(j.over for j in (first, second, third)) and time.time() < deadline:
        time.sleep(0.01)
    assert {first.state, second.state} == {"done"}
    assert third.state == "cancelled"
    assert max(most) == 1


def test_too_many_jobs_are_refused_and_a_crash_is_one_line():
    jobs, gate = Jobs(), threading.Event()

    def fail(_report):
        raise RuntimeError("boom\nand a second line")

    first = jobs.start("a", lambda _report: gate.wait(5))
    broken = jobs.start("b", fail)
    for _ in range(6):
        jobs.start("c", lambda _report: None)
    with pytest.raises(UsageError, match="8 jobs wait already"):
        jobs.start("d", lambda _report: None)
    gate.set()
    deadline = time.time() + 5
    while not (first.over and broken.over) and time.time() < deadline:
        time.sleep(0.01)
    assert broken.error == "the network's forward failed: boom"


def test_the_front_loads_as_a_plan(client: TestClient):
    found = client.post("/api/front", json={"network": 0}).json()
    assert found["all"] >= len(found["points"]) > 10
    point = found["points"][len(found["points"]) // 2]
    changes = client.post("/api/front-plan", json={"network": 0, "index": point["index"]}).json()["changes"]
    totals = client.post("/api/what-if", json={"network": 0, "changes": changes}).json()["totals"]
    assert (totals["macs"], totals["activations"]) == (point["macs"], point["activations"])
    assert client.post("/api/front-plan", json={"network": 0, "index": -1}).status_code == 422


def test_a_network_that_cannot_be_opened_is_one_card_and_the_others_work():
    bench = Workbench(["builtin:nothing", "builtin:resnet20"])
    with pytest.raises(UsageError, match="no built-in model 'nothing'"):
        bench.find(0).wait()
    assert bench.find(1).wait().original["model"] == "builtin:resnet20"
    assert bench.listed()[0]["error"]


GOOD = 'format = 1\n[insert."layers.3"]\nstride = [1, 1]\nwas = [2, 2]\n'


def test_a_plan_file_and_an_output_stride_become_wishes(client: TestClient):
    found = client.post("/api/plan", json={"network": 0, "toml": GOOD}).json()
    assert found == {"changes": {"+layers.3": "1"}, "keep_weights": False, "means": "dense"}
    found = client.post("/api/request", json={"network": 0, "changes": {}, "output_stride": 2}).json()
    assert found["changes"] == {"+layers.6": "1"}
    kinds = {"layers.4.conv1": "2:blur:5:zero", "layers.4.shortcut.0": "2:blur:5:zero", "+layers.3": "1"}
    answer = client.post("/api/what-if", json={"network": 0, "changes": kinds}).json()
    assert answer["plan"]["layers.4.conv1"]["how"] == "blur:5:zero"
    assert answer["weights"]["state"] == "retrain"
    text = client.post("/api/export", json={"network": 0, "changes": kinds}).json()["toml"]
    again = client.post("/api/plan", json={"network": 0, "toml": text}).json()["changes"]
    assert client.post("/api/what-if", json={"network": 0, "changes": again}).json()["totals"] == answer["totals"]


@pytest.mark.parametrize(
    ("path", "asked", "said"),
    [
        ("/api/plan", {"toml": 3}, "the text of a plan file is wanted"),
        ("/api/plan", {"toml": "format = 2"}, "format 2 is not 1"),
        ("/api/plan", {"toml": GOOD.replace("layers.3", "nowhere")}, "has no such slot"),
        ("/api/plan", {"toml": GOOD.replace("was = [2, 2]", "was = [3, 3]")}, "the plan says it was 3"),
        ("/api/what-if", {"keep_weights": "yes"}, "keep_weights: true or false is wanted"),
        ("/api/what-if", {"keep_weights": True, "means": "x"}, "keep_weights: true or false is wanted"),
        ("/api/report", {"plans": "all"}, "at most 8 plans"),
        ("/api/report", {"plans": [{}] * 9}, "at most 8 plans"),
        ("/api/request", {"output_stride": "2"}, "output_stride: a whole number is wanted"),
        ("/api/request", {"output_stride": 0}, "output stride"),
    ],
)
def test_a_request_that_makes_no_sense_is_one_line(client: TestClient, path: str, asked: dict[str, Any], said: str):
    answer = client.post(path, json={"network": 0} | asked)
    assert answer.status_code == 422
    assert said in answer.json()["error"]


def test_run_folders_are_read_whenever_they_are_asked_for(tmp_path: Path, bench: Workbench):
    origin = "http://127.0.0.1:8765"
    app = make_app(bench, token="secret", port=8765, runs=Runs([tmp_path]))
    client = TestClient(app, base_url=origin)
    client.get("/?token=secret")
    client.headers["origin"] = origin
    assert client.get("/api/start").json()["runs"] == 1
    for content, said in (
        (None, "holds no result.json yet"),
        ("{", "cannot be read"),
        ("[1]", "is not a study's result"),
        ('{"schema": "stridewise.fit/1"}', "is not a study's result"),
    ):
        if content is not None:
            (tmp_path / "result.json").write_text(content)
        assert said in client.get("/api/runs").json()[0]["error"]
    (tmp_path / "result.json").write_text('{"schema": "stridewise.search/1"}')
    assert client.get("/api/runs").json()[0]["result"]["schema"] == "stridewise.search/1"


def test_a_module_whose_calls_differ_keeps_its_weights():
    class Again(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.step, self.flat = (
                nn.Conv2d(3, 4, 3, 2, 1),
                nn.Conv2d(4, 4, 3, 2, 1),
                nn.Conv2d(4, 4, 3, 1, 1),
            )

        def forward(self, x):
            return self.flat(self.step(self.flat(self.step(self.stem(x)))))

    graph = sw.trace(Again(), (3, 32, 32))
    asked = {"output_stride": 4, "keep_weights": True}
    assert Studied(graph=graph).what_if(asked)["weights"]["state"] == "exact"


def test_a_job_that_ends_while_it_is_told_is_told_again(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    job = client.post("/api/jobs", json={"network": 0, "kind": "latency"}).json()
    whole = Job.to_json

    def slowly(told: Job) -> dict[str, Any]:
        found = whole(told)
        while not told.over:
            time.sleep(0.01)
        return found

    monkeypatch.setattr(Job, "to_json", slowly)
    assert '"state": "done"' in client.get(f"/api/jobs/{job['id']}/events").text


@pytest.mark.parametrize(
    "asked",
    [
        {"changes": {"+layers.3": "16", "+layers.6": "16"}},
        {"changes": {"+layers.3": "1"}, "keep_weights": True},
        {"changes": {}, "output_stride": 64},
    ],
)
def test_what_is_offered_instead_works_and_costs_what_is_said(asked: dict[str, Any], bench: Workbench):
    studied = bench.find(0).wait()
    with pytest.raises(PlanError):
        studied.what_if(asked)
    found = studied.offers(asked)
    assert 1 <= len(found) <= 5
    assert found == studied.offers(asked)
    for offer in found:
        assert studied.what_if(offer["request"])["totals"]["macs"] == offer["macs"]
