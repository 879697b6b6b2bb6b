"""What the page calls exact is exact, and what it calls a field is the field of that position, by autograd."""

import importlib.util
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from browsing import answered, fact, fields_by, needs_chromium, opened, rebuilt, until
from torch import nn

import stridewise as sw
from stridewise.errors import PlanError
from stridewise.web.server import make_app
from stridewise.web.whatif import Studied
from stridewise.web.workbench import Workbench

NETWORKS = """
import torch
from torch import nn


class Unet(nn.Module):
    def __init__(self):
        super().__init__()
        convs = [nn.Conv2d(4, 4, 3, 2, 1) for _ in range(2)]
        self.down = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU(), *convs)
        self.up = nn.Upsample(scale_factor=4, mode="bilinear")
        self.skip, self.last = nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 2, 3, 1, 1)

    def forward(self, x):
        return self.last(self.up(self.down(x)) + self.skip(x))


class Squeeze(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.gate = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 1)
        self.last = nn.Conv2d(4, 4, 3, 2, 1)

    def forward(self, x):
        x = self.first(x)
        return self.last(x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid())


def transposed():
    return nn.Sequential(nn.Conv2d(3, 4, 5, 2, 2), nn.ConvTranspose2d(4, 4, 3, 2, 1, 1), nn.Conv2d(4, 2, 3, 1, 1))


def nearest():
    up = nn.Upsample(scale_factor=2, mode="nearest")
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1), up, nn.Conv2d(4, 2, 3, 1, 1))


def pooled():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.AvgPool2d(3, 2, 1), nn.Conv2d(4, 4, 3, 2, 2, dilation=2))


def unequal():
    return nn.Sequential(nn.Conv2d(3, 4, (3, 5), (1, 2), (1, 2)), nn.Conv2d(4, 4, 3, 2, 1))
"""
NAMES = ("Unet", "Squeeze", "transposed", "nearest", "pooled", "unequal")


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("honest") / "honest.py"
    file.write_text(NETWORKS)
    return file


def positive(model: nn.Module) -> nn.Module:
    """With weights whose gradients cannot cancel, in double precision."""
    for p in model.parameters():
        nn.init.uniform_(p, 0.5, 1.0)
    return model.double().eval()


def seen_by(model: nn.Module, key: str, position: tuple[int, int], side: int) -> list[tuple[int, int]]:
    """First and last row and column that one position of a module's output depends on. The oracle: autograd."""
    x = torch.rand(1, 3, side, side, dtype=torch.double, requires_grad=True)
    caught: list[torch.Tensor] = []
    handle = model.get_submodule(key).register_forward_hook(lambda m, i, o: caught.append(o))
    model(x)
    handle.remove()
    (gradient,) = torch.autograd.grad(caught[-1][0, :, position[0], position[1]].sum(), x)
    moved = gradient[0].abs().sum(0) > 0
    out = []
    for axis in (1, 0):
        there = moved.any(axis).nonzero().flatten()
        out.append((int(there[0]), int(there[-1])))
    return out


def shown(row: dict[str, Any], fields: dict[str, Any], axis: int, at: int) -> tuple[int, int]:
    """The first and last position of the box that the page draws."""
    found = fields.get(row["key"])
    if found is None:
        first = row["start"][axis] + at * int(row["cumulative_stride"][axis])
        return first, first + row["receptive_field"][axis] - 1
    along = found["axes"][axis]
    turn, phase = divmod(at, len(along["spans"]))
    return tuple(v + turn * along["advance"] for v in along["spans"][phase])  # type: ignore[return-value]


@pytest.mark.parametrize("name", NAMES)
def test_the_box_is_that_position_s_field_by_autograd(name: str, honest: Path):
    side, draw = 64, random.Random(name)
    model = positive(sw.load(f"{honest}:{name}"))
    graph = sw.trace(model, (3, side, side))
    studied = Studied(graph=graph)
    wishes: list[dict[str, str]] = [{}]
    sites = [group["sites"][0] for group in studied.original["groups"] if group["free"]]
    wishes += [{site: "1"} for site in sites[:2]]
    compared = 0
    for changes in wishes:
        try:
            plan = studied.plan({"changes": changes})
        except PlanError:
            continue
        answer = studied.what_if({"changes": changes})
        changed = positive(sw.load(f"{honest}:{name}"))
        if plan:
            sw.apply(changed, plan)
        rows = rebuilt(studied.original["layers"], answer["layers"])
        fields = fields_by(answer["fields"])
        places = [(row, p) for row in rows if row["key"] in dict(changed.named_modules()) for p in range(4)]
        for row, _ in draw.sample(places, min(len(places), 7)):
            if not row["out_size"] or row["global"] or fields.get(row["key"], {}).get("approximate"):
                continue
            at = tuple(draw.randrange(n) for n in row["out_size"])
            for axis, (first, last) in enumerate(seen_by(changed, row["key"], at, side)):
                low, high = shown(row, fields, axis, at[axis])
                assert (max(low, 0), min(high, side - 1)) == (first, last), (row["key"], at, changes)
            compared += 1
    assert compared >= 4


@pytest.mark.parametrize("means", ["dense", "grid"])
def test_kept_weights_are_exact_where_the_answer_does_not_move(means: str):
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    before, after = (sw.load("torchvision:resnet18").eval() for _ in range(2))
    after.load_state_dict(before.state_dict())
    studied = Studied(graph=sw.trace(before, (3, 64, 64)))
    asked = {"output_stride": 8, "keep_weights": True, "means": means}
    sw.apply(after, studied.plan(asked))
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        moved = float((after(x) - before(x)).abs().max())
    assert studied.what_if(asked)["weights"]["tried"] is False
    exact = studied.tried(asked)["state"] == "exact"
    assert exact == (moved < 1e-4), moved


def test_below_a_resize_positions_have_fields_of_their_own(honest: Path):
    graph = sw.trace(sw.load(f"{honest}:Unet"), (3, 64, 64))
    fields = fields_by(Studied(graph=graph).original["fields"])
    along = fields["last"]["axes"][0]
    assert len({b - a for a, b in along["spans"]}) > 1
    assert "skip" not in fields


@pytest.fixture(scope="module")
def place(honest: Path, serve: Any) -> Any:
    bench = Workbench([*(f"{honest}:{name}" for name in NAMES), "builtin:resnet20"], input=(3, 64, 64))
    with serve(lambda port: make_app(bench, token="t", port=port)) as where:
        yield where


class TestInTheBrowser:
    pytestmark = needs_chromium

    def test_fields_say_what_they_are(self, page: Any, place: str):
        opened(page, place)
        assert re.fullmatch(r"\d+–\d+×\d+–\d+", fact(page, "receptive field"))
        caption = page.locator(".caption")
        found = set()
        for _ in range(4):
            found.add(re.search(r"sees ([\d×]+) px", caption.inner_text())[1])  # type: ignore[index]
            page.locator(".overlay").press("ArrowRight")
        assert len(found) > 1
        page.locator("#network").select_option("1")
        until(page, lambda: "whole picture (local " in fact(page, "receptive field"))

    def test_exact_except_means_is_not_badged_exact_and_one_click_mends_it(self, page: Any, place: str):
        opened(page, place)
        page.locator("#network").select_option("1")
        until(page, lambda: "whole picture" in fact(page, "receptive field"))
        answered(page, lambda: page.locator("#output-stride").select_option("1"))
        answered(page, lambda: page.locator("#keep").click())
        weights = page.locator("[data-fact='trained weights']")
        until(page, lambda: fact(page, "trained weights") == "exact except means")
        assert "exact" not in weights.locator(".badge").inner_text()
        assert weights.locator("li").first.is_visible()
        answered(page, lambda: page.locator("#old-grid").click())
        until(page, lambda: fact(page, "trained weights") == "exact")
        assert "exact" in weights.locator(".badge").inner_text()

    def test_a_change_of_columns_alone_is_flagged(self, page: Any, place: str):
        opened(page, place)
        page.locator("#network").select_option("5")
        until(page, lambda: fact(page, "output stride") == "2×4")
        before = fact(page, "receptive field")
        page.locator("#ladder .rise").first.focus()
        page.locator("#step-1").fill("1")
        answered(page, lambda: page.locator("#step-1").press("Tab"))
        assert fact(page, "receptive field") != before
        assert f"was {before}" in page.locator("[data-fact='receptive field']").inner_text()

    def test_latency_without_a_difference_says_so(self, page: Any, place: str):
        opened(page, place)
        said = page.evaluate(
            """async () => {
                const { verdict } = await import('sw/consequences');
                const before = {name: 'original'};
                const of = (ratio, low, high) => verdict({ratio, ratio_low: low, ratio_high: high}, before);
                return [of(1.02, 0.97, 1.05), of(1.4, 1.3, 1.5)];
            }"""
        )
        assert said == ["no difference shown", "1.40× the original"]
