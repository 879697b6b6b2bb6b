"""One convolution on the page: numbers by torch, also transposed, with every border, and of a layer's real input."""

from typing import Any

import pytest
import torch
from browsing import needs_chromium, opened, until
from starlette.testclient import TestClient
from torch.nn import functional

from stridewise.web.work import incoming
from stridewise.web.workbench import Workbench


def asked(client: TestClient, **settings: Any) -> dict[str, Any]:
    answer = client.post("/api/convolution", json={"network": 0, "side": 12, **settings})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def summed(found: dict[str, Any], made: dict[str, Any]) -> torch.Tensor:
    """What the cells come to when the taps that the page is told of are multiplied out."""
    rows, columns = (axis["taps"] for axis in made["axes"])
    return torch.tensor(
        [
            [
                sum(
                    found["pixels"][i][j] * found["weights"][k][m] for i, k in row for j, m in line if i >= 0 and j >= 0
                )
                for line in columns
            ]
            for row in rows
        ]
    )


BORDERS = ("zeros", "reflect", "replicate", "circular")


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize(("stride", "dilation", "pads"), [((1, 1), 1, ((1, 1), (1, 1))), ((2, 3), 2, ((2, 0), (1, 3)))])
def test_every_border_is_torch_s(client: TestClient, border: str, stride: Any, dilation: int, pads: Any):
    found = asked(client, strides=[list(stride)], dilation=dilation, padding=pads, border=border, kernel="gabor:5")
    x, w = torch.tensor(found["pixels"])[None, None], torch.tensor(found["weights"])[None, None]
    around = (*pads[1], *pads[0])
    padded = functional.pad(x, around, mode="constant" if border == "zeros" else border)
    expected = functional.conv2d(padded, w, stride=stride, dilation=dilation)[0, 0]
    (made,) = found["maps"]
    assert torch.tensor(made["out"]).shape == expected.shape
    assert torch.allclose(torch.tensor(made["out"]), expected, atol=1e-3)
    assert torch.allclose(summed(found, made), expected, atol=1e-3)


@pytest.mark.parametrize(("stride", "dilation"), [((1, 1), 1), ((2, 2), 2), ((2, 3), 1), ((4, 4), 1)])
def test_a_transposed_convolution_is_torch_s(client: TestClient, stride: tuple[int, int], dilation: int):
    for pads in ("valid", [[1, 1], [0, 0]]):
        found = asked(client, transposed=True, strides=[list(stride)], dilation=dilation, padding=pads, side=6)
        x, w = torch.tensor(found["pixels"])[None, None], torch.tensor(found["weights"])[None, None]
        crop = (0, 0) if pads == "valid" else (1, 0)
        expected = functional.conv_transpose2d(x, w, stride=stride, dilation=dilation, padding=crop)[0, 0]
        (made,) = found["maps"]
        assert torch.allclose(torch.tensor(made["out"]), expected, atol=1e-3)
        assert torch.allclose(summed(found, made), expected, atol=1e-3)
    same = asked(client, transposed=True, strides=[list(stride)], padding="same", side=6)["maps"][0]
    assert [axis["out_size"] for axis in same["axes"]] == [5 * s + 3 - max(0, 3 - s) for s in stride]


def test_a_signal_is_one_row_and_its_filter_has_one_axis(client: TestClient):
    found = asked(client, signal=True, strides=[[1, 1], [2, 2]], side=24)
    assert (len(found["pixels"]), len(found["weights"]), found["weights"][0]) == (1, 1, [-4, 0, 4])
    x, w = torch.tensor(found["pixels"])[None], torch.tensor(found["weights"])[None]
    for made, stride in zip(found["maps"], (1, 2), strict=True):
        expected = functional.conv1d(x, w, stride=stride, padding=1)[0]
        assert torch.allclose(torch.tensor(made["out"]), expected, atol=1e-3)


def test_an_edge_is_found_and_is_one(client: TestClient):
    found = asked(client, at="edge", strides=[[1, 1], [2, 2]])
    pixels = torch.tensor(found["pixels"])
    half = pixels.shape[1] // 2
    anywhere = torch.tensor(asked(client, at=[0, 0])["pixels"])
    contrast = [abs(float(p[:, :half].mean() - p[:, half:].mean())) for p in (pixels, anywhere)]
    assert contrast[0] > 2 * contrast[1]
    again = asked(client, at=found["cut"]["at"])
    assert again["pixels"] == found["pixels"]


def test_a_layer_s_filter_names_its_channel_on_its_real_input(client: TestClient, bench: Workbench):
    key = "layers.4.conv1"
    found = asked(client, kernel="own", layer=key, channel=5, reads=3, padding=[[1, 1], [1, 1]], side=48)
    assert found["kernel"] == f"{key}, filter 5 of 32"
    assert found["own"]["place"] == "channel 3 of 16 of the layer's real input"
    weight = bench.opened[0].model().get_submodule(key).weight.detach()
    assert torch.allclose(torch.tensor(found["weights"]), weight[5, 3], atol=1e-3)
    caught: list[torch.Tensor] = []
    model = bench.opened[0].model().eval()
    handle = model.get_submodule(key).register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0][0]))
    from stridewise.web.api import Api

    pictures = Api(bench).pictures
    with torch.no_grad():
        model(bench.opened[0].standardised(torch.from_numpy(pictures.fitted(3, (32, 32))).float()[None]))
    handle.remove()
    assert torch.allclose(torch.from_numpy(incoming(bench.opened[0], pictures, key)), caught[0], atol=1e-6)
    assert torch.allclose(torch.tensor(found["pixels"]), caught[0][3], atol=1e-3)


@pytest.mark.parametrize(
    "wish",
    [
        {"border": "moebius"},
        {"border": "reflect", "padding": [[12, 0], [0, 0]]},
        {"border": "reflect", "transposed": True},
        {"transposed": 1},
        {"transposed": True, "padding": [[33, 33], [33, 33]], "side": 4},
        {"transposed": True, "strides": [[64, 64]], "side": 48},
        {"signal": "yes"},
        {"at": [True, 0]},
        {"at": "corner"},
        {"kernel": "own", "layer": "layers.4.conv1", "reads": 99},
    ],
)
def test_what_cannot_be_shown_is_refused(client: TestClient, wish: dict[str, Any]):
    answer = client.post("/api/convolution", json={"network": 0, "side": 12, **wish})
    assert answer.status_code == 422
    assert answer.json()["error"]


class TestInTheBrowser:
    pytestmark = needs_chromium

    def test_it_opens_on_an_edge_at_two_strides_with_cells_of_one_size(self, page: Any, address: str):
        opened(page, address)
        page.locator("#room-convolution").click()
        page.locator(".products").wait_for()
        assert page.locator("#filter").input_value() == "sobel-x"
        units = page.locator("#room canvas").evaluate_all("all => all.map(c => c.dataset.unit)")
        assert len(units) == 3
        assert len(set(units)) == 1
        left, right = (page.locator(f"#one-output-{i}").bounding_box() for i in range(2))
        assert right["width"] * 2 == pytest.approx(left["width"], rel=0.1)
        assert page.locator(".ramp.signed").count() == 2
        assert "-0.00" not in page.locator("#room").inner_text()

    def test_both_windows_move_together_and_pixels_fly_unless_motion_is_unwelcome(self, page: Any, address: str):
        opened(page, address)
        page.locator("#room-convolution").click()
        products = page.locator(".products")
        products.wait_for()
        for _ in range(19):
            page.get_by_role("button", name="step", exact=True).click()
        until(page, lambda: products.get_attribute("data-cell") == "1,1@1,1")
        assert int(products.get_attribute("data-flown") or 0) >= 4
        until(page, lambda: page.locator(".flying").count() == 0)
        before = page.locator("#one-output-1").screenshot()
        page.locator("#one-output-0").press("ArrowDown")
        page.locator("#one-output-0").press("ArrowDown")
        until(page, lambda: products.get_attribute("data-cell") == "1,1@3,1")
        assert products.get_attribute("data-flown") == "0"  # by hand: nothing flies
        assert page.locator("#one-output-1").screenshot() != before
        page.emulate_media(reduced_motion="reduce")
        page.get_by_role("button", name="step", exact=True).click()
        until(page, lambda: products.get_attribute("data-cell") == "1,1@3,2")
        assert products.get_attribute("data-flown") == "0"
        assert page.locator(".flying").count() == 0

    def test_the_square_is_moved_on_the_photograph(self, page: Any, address: str):
        opened(page, address)
        page.locator("#room-convolution").click()
        page.locator(".products").wait_for()
        crop = page.locator("#crop")
        top, left = map(int, (crop.get_attribute("data-at") or "").split(","))
        move = "ArrowUp" if top else "ArrowDown"
        crop.press(move)
        until(page, lambda: crop.get_attribute("data-at") == f"{top + (1 if not top else -1)},{left}")
        box = page.locator(".cutter .frame").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
        page.mouse.down()
        page.mouse.move(box["x"] + 2, box["y"] + 2, steps=4)
        page.mouse.up()
        until(page, lambda: min(map(int, (crop.get_attribute("data-at") or "").split(","))) <= 1)

    def test_a_layer_s_own_filter_names_its_channel(self, page: Any, address: str):
        opened(page, address)
        page.locator(".layers button", has_text="layers.4.conv1").click()
        page.locator("#room-convolution").click()
        page.locator("#filter").select_option("own")
        about = page.locator("#one-about", has_text="of 16 of the layer's real input")
        about.wait_for()
        assert "filter 0 of 32" in about.inner_text()
        page.locator("#own-reads").fill("7")
        page.locator("#own-reads").press("Tab")
        page.locator("#one-about", has_text="reads channel 7 of 16").wait_for()

    def test_transposed_borders_and_a_signal(self, page: Any, address: str):
        opened(page, address)
        page.locator("#room-convolution").click()
        page.locator(".products").wait_for()
        page.locator("#border").select_option("reflect")
        until(page, lambda: "zeros around" not in page.locator(".sum").inner_text())
        page.locator("#transposed").check()
        page.locator("#one-about", has_text="Transposed").wait_for()
        assert "12×12 cells" in page.locator(".made").nth(1).inner_text()
        page.locator("#transposed").uncheck()
        page.locator("#signal").check()
        page.locator(".signals .answer.chosen").first.wait_for()
        until(page, lambda: page.locator(".signals .answer").count() == 60)
        counts = [page.locator(".signals svg").nth(i).locator(".answer").count() for i in (1, 2)]
        assert counts == [40, 20]
