"""`stridewise train` as a person uses it: run folder, kill and resume, evaluation, prediction, one-line errors."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file
from task_nets import Small, gratings
from task_scenes import scenes

import stridewise as sw
from stridewise.plans import Plan, Setting

HERE = Path(__file__).parent
NET = f"{HERE / 'task_scenes.py'}:Stages"
FINER = Plan(model="", sites={"stages.3.0": Setting(stride=(1, 1), was=(2, 2))})


def stridewise(*arguments):
    """The command in a process of its own; (exit code, standard output, standard error)."""
    found = subprocess.run(
        [sys.executable, "-m", "stridewise", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return found.returncode, found.stdout, found.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The squares of task_scenes on disk: pictures beside masks, and their boxes as COCO writes them."""
    root = tmp_path_factory.mktemp("squares")
    for split, samples in scenes("detect", 48, 12).splits.items():
        coco = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "green"}]}
        for folder in ("images", "masks"):
            (root / folder / split).mkdir(parents=True)
        (root / "annotations").mkdir(exist_ok=True)
        for number, sample in enumerate(samples):
            name = f"{number}.png"
            Image.fromarray(sample.picture.source).save(root / "images" / split / name)
            Image.fromarray(sample.mask.source).save(root / "masks" / split / name)
            coco["images"].append({"id": number, "file_name": name, "width": 64, "height": 64})
            for (x0, y0, x1, y1), kind in zip(sample.boxes.corners.tolist(), sample.boxes.classes, strict=True):
                entry = {"id": len(coco["annotations"]), "image_id": number, "category_id": int(kind) + 1}
                box = [x0, y0, x1 - x0, y1 - y0]
                coco["annotations"].append({**entry, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
        (root / "annotations" / f"{split}.json").write_text(json.dumps(coco))
    (root / "classes.txt").write_text("ground\nred\ngreen\n")
    return root


def squares(task, root):
    return [
        "train",
        task,
        NET,
        "--data",
        root,
        "--format",
        {"segment": "masks", "detect": "coco"}[task],
        "--threads",
        1,
    ]


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A trained segmenter under a plan, in its run folder."""
    root = tmp_path_factory.mktemp("runs")
    FINER.write(root / "finer.toml")
    made = root / "run"
    code, out, err = stridewise(
        *squares("segment", data), "--plan", root / "finer.toml", "--epochs", 6, "--batch", 8, "--width", 8,
        "--rate", 0.01, "--run", made, "--json",
    )  # fmt: skip
    assert code == 0, err
    return made, json.loads(out)


def test_a_run_folder_holds_what_a_person_looks_for(run):
    folder, printed = run
    kept = json.loads((folder / "result.json").read_text())
    assert kept == printed
    assert kept["schema"] == "stridewise.train/1"
    assert kept["score"] > 0.35
    assert Plan.read(folder / "plan.toml").sites == FINER.sites
    rows = list(csv.reader((folder / "metrics.csv").read_text().splitlines()))
    assert rows[0] == ["epoch", "loss", "mean IoU"]
    assert [float(r[1]) for r in rows[1:]] == [e["loss"] for e in kept["curve"]]
    with Image.open(folder / "curves.png") as image:
        assert image.size[0] > 400
    assert load_file(folder / "model.safetensors")
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_tensorboard_is_told_what_the_curve_says(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = {"data": gratings(64, 32), "epochs": 3, "batch": 32, "run": tmp_path / "r"}
    stopped = sw.train("classify", Small, **settings, stop_after=2)
    record = sw.train("classify", Small, **settings, resume=True)
    assert record.curve[:2] == stopped.curve
    log = EventAccumulator(str(tmp_path / "r" / "tensorboard"))  # of both files, as TensorBoard shows them
    log.Reload()
    assert log.Tags()["scalars"] == ["loss", "accuracy"]
    for name, values in (("loss", [e.loss for e in record.curve]), ("accuracy", [e.score for e in record.curve])):
        found = log.Scalars(name)
        assert [event.step for event in found] == [1, 2, 3]
        assert [event.value for event in found] == pytest.approx(values, rel=1e-6)


def test_a_training_wants_no_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    sw.train("classify", Small, data=gratings(64, 32), epochs=1, batch=32, run=tmp_path / "r")
    assert (tmp_path / "r" / "metrics.csv").exists()
    assert not (tmp_path / "r" / "tensorboard").exists()


def test_a_checkpoint_is_judged_again_to_the_same_score(run, data, called):
    folder, kept = run
    code, out, err = called(*squares("segment", data), "--evaluate", folder, "--json")
    assert code == 0, err
    again = json.loads(out)
    assert again["score"] == pytest.approx(kept["score"], abs=1e-9)
    assert again["plan"] == kept["plan"]
    assert again["figures"] == pytest.approx(kept["figures"])


def test_pictures_are_answered_with_images_to_look_at(run, data, tmp_path, called):
    folder, _ = run
    pictures = sorted((data / "images" / "val").iterdir())  # what a shell makes of val/*
    trained = ["--evaluate", folder / "model.safetensors"]
    code, out, err = called("train", "segment", NET, *trained, "--predict", *pictures, "-o", tmp_path / "o")
    assert code == 0, err
    assert len(out.splitlines()) == 12
    assert "ground" in out
    images = sorted((tmp_path / "o").iterdir())
    assert len(images) == 12
    with Image.open(images[0]) as image:
        assert image.width > 2 * 360  # the picture, and the same under its mask
    assert "wrote 12 images" in err


def test_a_run_is_judged_and_used_by_its_name_alone(run, data, tmp_path, called):
    folder, kept = run
    code, out, err = called("evaluate", folder, "--data", data, "--format", "masks", "--json", "-o", tmp_path / "e")
    assert code == 0, err
    assert json.loads(out)["figures"] == pytest.approx(kept["figures"])
    with Image.open(tmp_path / "e" / "worst.png") as image:
        assert image.size[1] > 1000
    code, out, err = called("predict", folder, data / "images" / "val", "-o", tmp_path / "o", "--json")
    assert code == 0, err
    found = json.loads(out)["pictures"]
    assert len(found) == len(list((tmp_path / "o").iterdir())) == 12
    assert sum(found[0]["shares"].values()) == pytest.approx(1)
    code, out, err = called("evaluate", folder, "--data", "builtin:digits")
    assert (code, err.count("\n")) == (2, 1)


def test_a_training_without_a_name_keeps_its_run_and_tells_of_each_epoch(data, tmp_path, monkeypatch, called):
    monkeypatch.chdir(tmp_path)
    call = [*squares("segment", data), "--epochs", 2, "--batch", 8, "--width", 8]
    for number in (1, 2):
        code, out, err = called(*call)
        assert code == 0, err
        assert "epoch 1 of 2: loss " in err
        assert "epoch 2 of 2: loss " in err
        assert f"run folder: runs/segment-Stages-{number}" in err
        kept = json.loads((tmp_path / "runs" / f"segment-Stages-{number}" / "result.json").read_text())
        assert 0 < kept["figures"]["always ground"] < 0.5
        assert "always ground" in out


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_end(data, tmp_path, refused, called):
    call = [*squares("detect", data), "--epochs", 3, "--batch", 8, "--width", 8, "--augment", "shift,flip", "--run"]
    code, _, err = called(*call, tmp_path / "whole")
    assert code == 0, err
    process = subprocess.Popen(
        [sys.executable, "-m", "stridewise", *map(str, [*call, tmp_path / "cut"])],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    end = time.monotonic() + 200
    while not (tmp_path / "cut" / "last.ckpt").exists() and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "cut" / "last.ckpt").exists()
    code, line = refused(*call, tmp_path / "cut")
    assert code == 2
    assert "holds a training already: pass --resume" in line
    code, _, err = called(*call, tmp_path / "cut", "--resume")
    assert code == 0, err
    whole, cut = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "cut"))
    for key in ("curve", "score", "figures"):
        assert cut[key] == whole[key]
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all((one[key] == other[key]).all() for key in one)


@pytest.mark.slow
def test_a_training_stops_where_it_is_told_and_others_may_not_take_it_up(data, tmp_path, refused, called):
    call = [*squares("segment", data), "--epochs", 3, "--batch", 8, "--width", 8, "--run", tmp_path / "r"]
    code, out, err = called(*call, "--stop-after", 1)
    assert code == 0, err
    assert "stopped after epoch 1 of 3" in err
    assert not (tmp_path / "r" / "result.json").exists()
    code, line = refused(*call, "--resume", "--rate", 0.1)
    assert code == 1
    assert "checkpoint of another training (another recipe" in line
    FINER.write(tmp_path / "finer.toml")
    code, line = refused(*call, "--resume", "--plan", tmp_path / "finer.toml")
    assert code == 1
    assert "checkpoint of another training (another plan" in line
    code, out, err = called(*call, "--resume")
    assert code == 0, err
    assert "after 3 epochs" in out


@pytest.mark.slow
def test_what_cannot_be_done_is_one_line(run, data, tmp_path, refused):
    def one_line(*arguments):
        _, err = refused(*arguments)
        assert err.count("\n") == 1, err
        return err

    folder, _ = run
    segment = ["train", "segment", NET]
    assert "name the pictures with --data" in one_line(*segment)
    assert "name a folder for the images" in one_line(*segment, "--data", data, "--predict", data)
    assert "'x' is one argument too many" in one_line(*segment, "x", "--data", data)
    told = one_line("train", "classify", NET, "--data", "builtin:digits", "--levels", "4")
    assert told.endswith("classify: has no option 'levels'\n")
    (tmp_path / "empty").mkdir()
    assert "not a data set" in one_line(*segment, "--data", tmp_path / "empty")
    classify = ["train", "classify", NET, "--evaluate", folder, "--data", "builtin:digits"]
    assert "was trained to segment, not to classify" in one_line(*classify)
    other = ["train", "segment", "builtin:resnet20", "--evaluate", folder, "--data", data]
    assert "not of builtin:resnet20" in one_line(*other)
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    broken = [*squares("segment", data), "--evaluate", tmp_path / "w.safetensors"]
    assert "not a safetensors file" in one_line(*broken)
    assert "no such file" in one_line(*broken[:-1], tmp_path / "none")
    assert "name the pictures to judge on" in one_line("measure", folder, "--what", "accuracy")
    assert "is no trained network" in one_line("measure", "builtin:resnet20", "--beside", folder)
    devices = [*squares("segment", data), "--devices", 4, "--batch", 4]
    assert "batch 4 on 4 devices: two pictures or more" in one_line(*devices)


@pytest.mark.zoo
def test_two_processes_train_one_network(data, tmp_path):
    call = [*squares("segment", data), "--epochs", 2, "--batch", 8, "--width", 8, "--augment", "flip"]
    code, out, err = stridewise(*call, "--devices", 2, "--run", tmp_path / "r")
    assert code == 0, err
    assert out.count("mean IoU ") == 1  # one of them speaks
    kept = json.loads((tmp_path / "r" / "result.json").read_text())
    assert kept["conditions"]["devices"] == 2
    assert kept["curve"][1]["loss"] < kept["curve"][0]["loss"]


@pytest.mark.slow
def test_two_processes_train_a_classifier(tmp_path):
    """The one that judges must not wait for the other one's counts."""
    for split, count in (("train", 8), ("val", 4)):
        for name, colour in (("red", (200, 30, 30)), ("green", (30, 200, 30))):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (16, 16), colour).save(tmp_path / "data" / split / name / f"{number}.png")
    code, out, err = stridewise(
        "train", "classify", f"{HERE / 'task_nets.py'}:Small", "--data", tmp_path / "data", "--epochs", 2, "--batch", 4,
        "--devices", 2, "--threads", 1, "--json",
    )  # fmt: skip
    assert code == 0, err
    found = json.loads(out)  # one of them speaks
    assert (found["pictures"], len(found["curve"]), found["conditions"]["devices"]) == (8, 2, 2)


@pytest.mark.slow
def test_a_trained_network_is_measured(run, data, called):
    folder, kept = run
    code, out, err = called(
        "measure", folder, "--what", "accuracy,shift,latency", "--data", data, "--images", 3, "--rounds", 10, "--json"
    )
    assert code == 0, err
    found = json.loads(out)
    row = found["plans"][0] if "plans" in found else found["rows"][0]
    assert row["accuracy"]["value"] == pytest.approx(kept["score"], abs=1e-9)
    assert 0 < row["shift"]["agreement"]["value"] <= 1
