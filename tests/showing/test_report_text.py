"""What is printed: the whole of a small report, folded repeats, the ladder, numbers as people read them."""

import pytest
import torch
from report_nets import Plain, Small
from torch import nn

import stridewise as sw
from stridewise.findings import Finding
from stridewise.report.terminal import WIDTH, joined, lines, remark_lines, text
from stridewise.report.units import binary, change, count, once, shortened
from stridewise.rules import remarks
from stridewise.showing.ladder import rungs
from stridewise.showing.rows import folded
from stridewise.showing.show import show


@pytest.fixture(scope="module")
def report():
    return show(sw.trace(Small().eval(), (3, 32, 48), name="small"))


def test_golden_text(report, golden):
    golden("show_small.txt", str(report) + "\n")


def test_golden_side_by_side(golden):
    graph = sw.trace(Plain(), (3, 32, 32), name="plain")
    plans = {"finer": sw.plan(graph, {"b": 1}), "coarser": sw.plan(graph, {"c": 2})}
    golden("show_plans.txt", str(show(graph, plans, batch=32, train=True)) + "\n")


def test_columns_of_many_plans_do_not_touch():
    graph = sw.trace(Plain(), (3, 32, 32), name="plain")
    plans = {f"plan{n}": sw.plan(graph, {"c": 2}) for n in range(6)}
    head, *rows = text(show(graph, plans).document(), 140).split("\n\n")[1].splitlines()
    assert any("%" in row for row in rows)  # the longest change there is
    for at in (head.index(name) for name in plans):
        assert all(row[at - 2 : at] == "  " and row[at : at + 1].strip() for row in rows)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_no_line_is_wider_than_asked(report, width):
    assert max(len(line) for line in text(report.document(), width).splitlines()) <= width


def test_styles_do_not_change_the_text(report):
    assert joined(lines(report.document(), WIDTH)) == str(report)


@pytest.mark.parametrize(
    ("shares", "said"),
    [((25, 25, 25), "likewise 2 more: b, c"), ((25, 50, 67), "2 more, each with its own figures: b, c")],
)
def test_findings_are_called_alike_only_where_they_say_the_same(shares, said):
    found = [
        Finding(rule="SW105", severity="info", key=key, message=f"{key}: at most {share} % can go out")
        for key, share in zip("abc", shares, strict=True)
    ]
    told = [
        "".join(text for text, _ in line).strip() for line in remark_lines(remarks(found).remarks, WIDTH, every=False)
    ]
    assert told == ["SW105 info    a: at most 25 % can go out", said]
    assert len(remark_lines(remarks(found).remarks, WIDTH)) == 3


def test_repeats_are_folded_and_nothing_is_lost(report):
    rows = folded(report.layers)
    assert sum(row.repeats for row in rows) == len(report.layers)
    names = {row.name: row.repeats for row in rows}
    assert names["stage1.0-3.conv1"] == names["stage1.0-3.conv2"] == 4
    (row,) = [row for row in rows if row.name == "stage1.0-3.conv1"]
    assert (row.first.receptive_field, row.last.receptive_field) == ((7, 7), (19, 19))


def test_what_differs_is_not_folded():
    widths = (4, 4, 4, 8, 8, 8)
    net = nn.Sequential(*(nn.Conv2d(a, b, 3, 1, 1) for a, b in zip((4, *widths), widths, strict=False)))
    layers = show(sw.trace(net, (4, 16, 16))).layers
    assert [(row.name, row.repeats) for row in folded(layers)] == [("0-2", 3), ("3", 1), ("4-5", 2)]


def test_numbers_with_a_gap_are_not_folded():
    net = nn.Sequential(*(m for _ in range(3) for m in (nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU())))
    assert [row.name for row in folded(show(sw.trace(net, (4, 16, 16))).layers)] == ["0", "2", "4"]


def test_nested_repeats_fold_into_one_row():
    stages = nn.Sequential(*(nn.Sequential(*(nn.Conv2d(4, 4, 3, 1, 1) for _ in range(3))) for _ in range(2)))
    rows = folded(show(sw.trace(stages, (4, 16, 16))).layers)
    assert [(row.name, row.repeats) for row in rows] == [("0-1.0-2", 6)]
    assert rows[0].last.receptive_field == (13, 13)


def test_the_ladder_has_a_mark_for_every_step():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, 1, 1),
        nn.Upsample(scale_factor=4), nn.Conv2d(4, 4, 3, 1, 1),
    )  # fmt: skip
    view = show(sw.trace(net, (3, 32, 32))).views[0]
    ladder = rungs(view, (32, 32), 24, 40)
    assert [(r.stride, r.size) for r in ladder] == [("1", "32×32"), ("2", "16×16"), ("4", "8×8")]
    assert [r.steps for r in ladder] == ["↑4 4", "↓2 0 3×3", "↓2 2 2×2"]
    assert "".join(r.bar for r in ladder).count("▼") == 2
    assert ladder[0].bar.count("▲") == 1
    assert ladder[1].bar[ladder[0].bar.index("▲")] == "│"
    assert {len(r.bar) for r in ladder} == {24}


def test_a_resize_to_another_size_and_a_fork_are_on_the_ladder():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 3, 2, 1)

        def forward(self, x):
            a = self.a(x)
            return a + nn.functional.interpolate(self.b(a), size=a.shape[2:], mode="nearest")

    view = show(sw.trace(Net(), (3, 32, 32))).views[0]
    ladder = {r.stride: r for r in rungs(view, (32, 32), 20, 40)}
    assert "≠" in ladder["2"].bar
    assert "↑2" in ladder["2"].steps
    assert [f.rule for f in view.findings if f.severity == "warning"] == ["SW103"]


def test_unknown_ops_are_named():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, x):
            return torch.linalg.matrix_exp(self.conv(x))

    report = show(sw.trace(Net(), (3, 16, 16)))
    assert report.to_json()["unknown"][0]["op"].startswith("aten.linalg_matrix_exp")
    assert "unknown" in str(report)
    assert "aten.linalg_matrix_exp" in str(report)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (999.6, "1.00 k"), (9413, "9.41 k"), (4.089e9, "4.09 G"), (118e6, "118 M")],
)
def test_counts(number, text):
    assert count(number) == text


def test_other_numbers():
    assert [binary(n) for n in (100, 2048, 9633792, 2**31)] == ["100 B", "2.00 KiB", "9.19 MiB", "2.00 GiB"]
    assert [change(n, 100) for n in (100, 130, 88, 199, 200, 400)] == [
        "",
        "+30.0 %",
        "−12.0 %",
        "+99.0 %",
        "×2.0",
        "×4.0",
    ]
    assert once((2, 2)) == "2"
    assert once((1, 2)) == "1×2"
    assert shortened("abcdefghij", 5) == "ab…ij"
    assert shortened("abc", 5) == "abc"
