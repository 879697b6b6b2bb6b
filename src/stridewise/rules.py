"""The rules that findings come from: what each looks at, why that matters, an example, and what to do. Ids are stable.

`stridewise rule ID`, docs/rules.md, the notes below a report and every exchange format are made from this list.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stridewise.errors import UsageError
from stridewise.findings import Finding
from stridewise.report.document import Document, Facts, Remark, Remarks, Table, Term, Terms
from stridewise.report.values import of_fields, plain
from stridewise.shown import Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Shown):
    """One rule. severity: what it usually is, in words; what: what is found; why: what follows from it; example: a
    layer it speaks of; fix: what to do; see: rules, commands and papers beside it."""

    id: str
    name: str
    severity: str
    what: str
    why: str
    example: str
    fix: str
    see: tuple[str, ...] = ()

    def document(self) -> Document:
        """The rule, a sentence each."""
        rows = [("severity", self.severity), ("what", self.what), ("why", self.why), ("example", self.example)]
        rows += [("fix", self.fix), *([("see", "; ".join(self.see))] if self.see else [])]
        every = frozenset(name for name, _ in rows)
        return Document(title=f"{self.id} {self.name}", parts=(Facts(rows=tuple(rows), breaks=every),))

    def to_json(self) -> dict[str, object]:
        """Plain values, schema "stridewise.rule/1"."""
        return {"schema": "stridewise.rule/1", **of_fields(self)}


RULES = tuple(
    Rule(id=id, name=name, severity=severity, what=what, why=why, example=example, fix=fix, see=see)
    for id, name, severity, what, why, example, fix, see in (
        (
            "SW101",
            "positions never read",
            "info",
            "A layer steps over positions that none of its windows reads: its kernel is smaller than its stride, or "
            "dilation and stride share a factor and the windows are sparse.",
            "What lies there cannot matter to anything behind the layer, whatever is learnt.",
            "A 1x1 convolution of stride 2 reads 25 % of its positions; 3x3 of stride 2 and dilation 2 does so too.",
            "Widen the kernel to the stride or more, or average before the step (a 2x2 mean, then the 1x1).",
            ("SW108", "resnet-d, He et al. 2019, arXiv:1812.01187"),
        ),
        (
            "SW102",
            "rows or columns dropped",
            "info",
            "At this input size the windows do not come out even: the last positions are dropped, or the padding is "
            "used on one side only.",
            "The map is shifted against the input by part of a step, and content at one border is lost or padded more "
            "than at the other. Detectors and segmentation see it as a small offset.",
            "3x3 of stride 2 and padding 1 on 224 positions: one row of padding before, none used behind.",
            "Take one of the input sizes that the finding names, or pad the other side.",
            ("SW103", "stridewise slide"),
        ),
        (
            "SW103",
            "branches joined off centre",
            "warning",
            "Tensors that are added or concatenated are centred on different input positions.",
            "The join mixes features of different places: one branch says what is here, the other what is beside it.",
            "A 2x2 convolution in one branch and a 3x3 one in the other: centres half a position apart.",
            "Pad or crop one branch so that both lie on each other; give even kernels their end padding.",
            ("SW102",),
        ),
        (
            "SW104",
            "field covers the whole input",
            "info",
            "Every path into this layer sees the whole input already, so its window widens nothing.",
            "At this input size the layer mixes what was mixed before: positions on it tell no more places apart. It "
            "is called unproductive, and is often where layers can be saved.",
            "The last stage of a ResNet-50 on 32x32 pictures.",
            "Use a larger input, or fewer or later steps.",
            ("stridewise measure --what fields", "Richter et al. 2021, arXiv:2106.12307"),
        ),
        (
            "SW105",
            "channel cut",
            "info",
            "Fewer values can leave the layer than come in: channels out / (channels in x steps) is below 1.",
            "A bound on what can be kept, whatever is learnt. Nearly every network cuts somewhere, and that is how it "
            "summarises: look at the strongest cuts, and at those right at the input.",
            "A first layer of stride 4 from 3 to 32 channels: 32 / (3 x 16) = 67 %.",
            "Widen the layer, or take the step in two. Left out of a report with --ignore SW105.",
            ("stridewise measure --what detail",),
        ),
        (
            "SW106",
            "uneven overlap",
            "warning",
            "A transposed convolution whose kernel is not a multiple of its stride paints neighbouring positions "
            "unequally often.",
            "The output carries a checkerboard that training has to work against.",
            "Kernel 3, stride 2: positions get 1 or 2 products in turn.",
            "Take a kernel that is a multiple of the stride (4 for 2), or resize and then convolve.",
            ("Odena, Dumoulin and Olah 2016, doi:10.23915/distill.00003",),
        ),
        (
            "SW107",
            "gridding",
            "info",
            "Dilated layers behind each other read lattices that never mix: neighbouring positions depend on disjoint "
            "parts of the map.",
            "Neighbours do not know of each other; dense predictions show a grid.",
            "Three 3x3 convolutions of dilation 2 in a row.",
            "Let the dilations share no factor (1, 2, 5), or end with an undilated layer.",
            ("Wang et al. 2018, arXiv:1702.08502",),
        ),
        (
            "SW108",
            "computed and never read",
            "info",
            "A later step skips positions that were computed for it.",
            "Work without any effect: with the step taken earlier the outputs are the same numbers.",
            "ResNet v1 takes its step in a 1x1 layer: 9.7 % of ResNet-50's multiply-adds are for nothing read.",
            "Step earlier, at the layer the finding names; or put the step where all positions are read (v1.5).",
            ("SW101", "stridewise set"),
        ),
        (
            "SW109",
            "not attenuated before the step",
            "info",
            "A good part of the energy before a step lies above the new Nyquist frequency (measured, needs pictures).",
            "It folds onto lower frequencies: the output changes as the picture moves by a pixel.",
            "A max pool or a strided convolution over photographs of fine texture.",
            "Blur before the step (SITE=2:blur:3): outputs hold still, and some detail goes.",
            ("stridewise measure --what detail,shift", "Zhang 2019, arXiv:1904.11486"),
        ),
        (
            "SW201",
            "declared stride differs",
            "warning",
            "A stride that is written down somewhere (--declared, a config, timm's feature_info, a detector's `stride`)"
            " is not the one the network has.",
            "Anchors, boxes and label maps are laid out by the declared one and land in wrong places, silently.",
            "A backbone set to output stride 16 under a head that multiplies by 32.",
            "Change the declaration together with the stride; `sw.apply` does so for those it knows.",
            ("stridewise check --declared, --config FILE",),
        ),
        (
            "SW202",
            "size fixed",
            "warning, error where the forward fails, info where nothing depends on it",
            "A position table, a window split, a flattened head or a constant resize fixes sizes.",
            "Another input size or stride before it fails, or is resized away.",
            "A position table of 14x14 tokens; a linear layer behind a flatten.",
            "Resize the table, keep multiples of the window, pool adaptively before a flatten.",
            ("stridewise set --verify",),
        ),
        (
            "SW203",
            "trace ends early",
            "info",
            "The forward asks for a value that depends on the input (a count of boxes, a comparison), so the trace "
            "ends at that line.",
            "What comes behind is not known: the maps known until then are taken for the outputs, and sizes, costs and "
            "fields stop there.",
            "A detector that filters boxes by score inside its forward.",
            "Nothing, where only post-processing lies behind; else trace the part before it as a model of its own.",
            ("stridewise show",),
        ),
        (
            "SW301",
            "objects too small for the strides",
            "warning, info where a finer output keeps them",
            "Objects of the data set contain no cell of the network's output, or too few; or labels rounded to the "
            "output stride lose too much.",
            "What has no cell of its own cannot be answered for, however long is trained.",
            "12-pixel objects and output stride 32.",
            "Add a finer output, lower the output stride, or enlarge the pictures.",
            ("stridewise fit --model",),
        ),
        (
            "SW401",
            "window the target does not take",
            "warning",
            "A kernel, stride, dilation or padding lies outside what the chip or compiler of --target takes.",
            "The layer runs elsewhere, mostly on the CPU and slowly, or the compiler refuses the network.",
            "A convolution of stride 5 on Ethos-U55, whose strides end at 4.",
            "Step in two layers, or with a window that the target takes; the finding names the limit and its source.",
            ("stridewise check --target",),
        ),
        (
            "SW402",
            "map too large for the target",
            "warning",
            "A layer reads or makes a map with more positions along an axis, or more channels, than the target takes.",
            "The layer is refused, or runs elsewhere.",
            "A pool over 9,000 channels on an NPU whose pools end at 8,192.",
            "Take a smaller input, step earlier, or narrow the layer.",
            ("stridewise check --target",),
        ),
        (
            "SW403",
            "maps do not fit the target's memory",
            "warning",
            "The maps that are alive at once need more memory than the target has for them, at its bytes a value.",
            "The network does not run there, or its maps travel to slower memory and back.",
            "96 KiB of maps after the first layer, beside as many before it, on 128 KiB.",
            "Step earlier (the first layers hold the largest maps), or take a smaller input.",
            ("stridewise front", "stridewise check --target"),
        ),
    )
)


def rule_of(id: str) -> Rule:
    """The rule of an id, in upper or lower case. Raises: UsageError naming the nearest ones."""
    known = {rule.id: rule for rule in RULES}
    if id.upper() in known:
        return known[id.upper()]
    near = difflib.get_close_matches(id.upper(), known, n=3, cutoff=0.6)
    raise UsageError(
        f"no rule '{id}': {'did you mean ' + ' or '.join(near) if near else 'known are ' + ', '.join(known)}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview(Shown):
    """Every rule in a line."""

    def document(self) -> Document:
        """A table of the rules."""
        rows = tuple((r.id, r.severity.split(",")[0], r.name) for r in RULES)
        table = Table(title="", head=("rule", "severity", "name"), rows=rows, left=frozenset({1, 2}))
        return Document(
            title="Rules", parts=(table,), notes=("stridewise rule SW104 says more about one.",), quiet=True
        )

    def to_json(self) -> dict[str, object]:
        """Plain values, schema "stridewise.rules/1"."""
        return {"schema": "stridewise.rules/1", "rules": plain(RULES)}


def overview() -> Overview:
    """Every rule in a line."""
    return Overview()


def remarks(found: Sequence[Finding], title: str = "", none: str = "") -> Remarks:
    """Findings for a document, each linked to its rule below (`terms`)."""
    return Remarks(
        title=title,
        none=none,
        remarks=tuple(
            Remark(label=f.rule, level=f.severity, text=f.message, about=f.key, link=f"#{f.rule}") for f in found
        ),
    )


def terms(found: Iterable[Finding]) -> Terms:
    """What the rules of these findings mean, each once."""
    named = {f.rule for f in found}
    return Terms(
        title="What these rules mean",
        terms=tuple(Term(name=r.id, text=f"{r.name.capitalize()}. {r.why} {r.fix}") for r in RULES if r.id in named),
    )
