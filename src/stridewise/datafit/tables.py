"""The tables of a fit, as text cells: the terminal and the page show the same ones."""

from stridewise.datafit.figures import BoxRow, FitFigures, Limits, Lost, MaskRow, SpectrumRow
from stridewise.datafit.strides import written
from stridewise.errors import by
from stridewise.report.document import Table

CLASSES_SHOWN = 20
_CAVEAT = "Only training decides."


def tables(result: FitFigures) -> tuple[Table, ...]:
    """The main table, and one by class: the classes that lose the most first."""
    main, by_class = {"detect": _boxes, "segment": _masks, "classify": _spectrum}[result.task](result)
    return (main, by_class) if len(result.classes) > 1 else (main,)


def headline(result: FitFigures) -> str:
    """What was looked at, in one line."""
    size = by(result.picture_size) + (" (height x width)" if len(result.picture_size) == 2 else "")
    counts = [f"{result.pictures:,} pictures"]
    if result.objects:
        counts.append(f"{result.objects:,} {'objects' if result.task == 'detect' else 'connected regions'}")
    how = "resized to" if result.resize else "median size"
    where = result.data + (f" ({result.split})" if result.split else "")
    counts.append(f"{len(result.classes)} classes")
    return f"{where}, {result.task}: {', '.join(counts)}; {how} {size}"


def size_line(result: FitFigures) -> str | None:
    """The sizes of the objects in one line."""
    sizes = result.sizes
    if sizes is None:
        return None
    what = "object" if result.task == "detect" else "region"
    shares = f"5 % below {sizes.p5:.0f}, median {sizes.median:.0f}, 5 % above {sizes.p95:.0f} pixels"
    if result.scale is not None:
        own = [f"{value * result.side:.3g}" for value in (sizes.p5, sizes.median, sizes.p95)]
        shares += f" = {', '.join(own)} {result.scale.unit}"
    return f"{what} size (root of the area): {shares}"


def verdict(result: FitFigures) -> str:
    """The recommendation, the rule it follows and what it does not know."""
    limits = result.limits
    rule = {
        "detect": f">= {percent(limits.reachable, 0)} reachable and >= {limits.cells} cells at the 5th percentile",
        "segment": f">= {percent(limits.miou, 0)} mean IoU of rounded labels",
        "classify": f">= {percent(limits.energy, 0)} of the pixels' spectral energy",
    }[result.task]
    row = None if result.recommended is None else result.row(result.recommended)
    if row is None:
        advice = {
            "detect": "enlarge the pictures (--resize) or add a finer stride (--strides)",
            "segment": "let a decoder bring the maps back to a finer stride, or enlarge the pictures (--resize)",
            "classify": "step later, where more channels can carry the detail, or enlarge the pictures (--resize)",
        }[result.task]
        return f"none of these keeps {rule}: {advice}. {_CAVEAT}"
    if result.task == "classify":
        later = "later steps have channels to carry more"
        return f"steps up to {result.said(row.strides)} on the pixels keep {rule}; {later}. {_CAVEAT}"
    cost = f"{row.positions:,.0f} cells a picture"
    chosen = f"recommended: {result.said(row.strides)} ({cost}), the coarsest here that keeps {rule}"
    return f"{chosen}.{_weak(row, limits)} {_CAVEAT}"


def _weak(row: BoxRow | MaskRow | SpectrumRow, limits: Limits) -> str:
    names = [figures.name for figures in row.classes if not figures.passes(limits)] if isinstance(row, BoxRow) else []
    more = ", ..." if len(names) > 5 else ""
    return f" On their own these classes do not keep it: {', '.join(names[:5])}{more}." if names else ""


def lost_lines(result: FitFigures, names: int = 3) -> tuple[str, ...]:
    """For every stride set that loses objects: the pictures that lose the most."""
    what = "objects" if result.task == "detect" else "regions"
    return tuple(
        f"{written(row.strides)}: most {what} lost in {', '.join(_lost(lost) for lost in row.lost[:names])}"
        for row in result.rows
        if row.lost
    )


def _boxes(result: FitFigures) -> tuple[Table, Table]:
    rows = [row for row in result.rows if isinstance(row, BoxRow)]
    head = ["strides", "reachable", "cells p5", "cells median", "share a cell", "with another class", "cells/picture"]
    body = []
    for row in rows:
        figures = row.overall
        cells = [percent(figures.reachable), _number(figures.cells_p5), _number(figures.cells_median)]
        cells += [percent(figures.shared), percent(figures.shared_classes), f"{row.positions:,.0f}"]
        body.append((*_marked(result, row), *cells))
    notes = [
        "reachable: contains a cell centre; cells: centres inside; share a cell: two object centres in one finest cell"
    ]
    field = rows[0].overall
    if result.receptive_field and field.field_median is not None and field.larger_than_field is not None:
        notes.append(
            f"receptive field {result.said((result.receptive_field,))}: median {field.field_median:.1f} times the "
            "object; "
            f"{percent(field.larger_than_field)} of the objects are larger than the field"
        )
    main = Table(title="stride sets", head=_head(result, *head), rows=tuple(body), notes=tuple(notes))
    names = [(row.classes[index].objects, [row.classes[index] for row in rows]) for index in range(len(result.classes))]
    order = sorted(names, key=lambda entry: (entry[0] == 0, min(f.reachable or 0.0 for f in entry[1]), -entry[0]))
    classes = tuple(
        (own[0].name, f"{count:,}", *(f"{percent(f.reachable)} / {_number(f.cells_p5):>3}" for f in own))
        for count, own in order[:CLASSES_SHOWN]
    )
    title = "by class: reachable / cells at the 5th percentile" + _first_of(len(names))
    return main, Table(title=title, head=("class", "objects", *(written(row.strides) for row in rows)), rows=classes)


def _masks(result: FitFigures) -> tuple[Table, Table]:
    rows = [row for row in result.rows if isinstance(row, MaskRow)]
    body = tuple(
        (
            *_marked(result, row),
            *(percent(value) for value in (row.miou, row.boundary_f1, row.vanished)),
            f"{row.positions:,.0f}",
        )
        for row in rows
    )
    head = _head(result, "stride", "mean IoU", "boundary F1", "regions lost", "cells/picture")
    note = "labels rounded to the stride by majority and written back: a bound for maps that nothing refines"
    main = Table(title="strides", head=head, rows=body, notes=(note,))
    indices = sorted(
        range(len(result.classes)), key=lambda k: (rows[0].classes[k].iou is None, rows[0].classes[k].iou or 0)
    )
    classes = tuple(
        (
            rows[0].classes[k].name,
            f"{rows[0].classes[k].components:,}",
            *(f"{percent(row.classes[k].iou)} / {percent(row.classes[k].vanished, 0):>5}" for row in rows),
        )
        for k in indices[:CLASSES_SHOWN]
    )
    title = "by class: IoU / regions lost" + _first_of(len(indices))
    return main, Table(title=title, head=("class", "regions", *(written(row.strides) for row in rows)), rows=classes)


def _spectrum(result: FitFigures) -> tuple[Table, Table]:
    rows = [row for row in result.rows if isinstance(row, SpectrumRow)]
    body = tuple(
        (*_marked(result, row), percent(row.overall.kept), percent(row.overall.kept_p5), f"{row.positions:,.0f}")
        for row in rows
    )
    note = "energy of the pixels below the Nyquist frequency of the step, the mean removed"
    main = Table(
        title="strides",
        head=_head(result, "stride", "energy kept", "5 % below", "cells/picture"),
        rows=body,
        notes=(note,),
    )
    indices = sorted(range(len(result.classes)), key=lambda k: rows[0].classes[k].kept or 2.0)
    classes = tuple(
        (
            rows[0].classes[k].name,
            f"{rows[0].classes[k].pictures:,}",
            *(percent(row.classes[k].kept) for row in rows),
        )
        for k in indices[:CLASSES_SHOWN]
    )
    title = "by class: energy kept" + _first_of(len(indices))
    return main, Table(title=title, head=("class", "pictures", *(written(row.strides) for row in rows)), rows=classes)


def _marked(result: FitFigures, row: BoxRow | MaskRow | SpectrumRow) -> tuple[str, ...]:
    """The first cells of a row: its strides, and these in the unit where there is one."""
    star = " *" if row.strides == result.recommended else ""
    own = () if result.scale is None else (", ".join(map(result.scale.number, row.strides)),)
    return written(row.strides) + star, *own


def _head(result: FitFigures, *names: str) -> tuple[str, ...]:
    own = () if result.scale is None else (f"in {result.scale.unit}",)
    return names[0], *own, *names[1:]


def _first_of(count: int) -> str:
    return f" (the worst {CLASSES_SHOWN} of {count})" if count > CLASSES_SHOWN else ""


def _lost(lost: Lost) -> str:
    return f"{lost.name} ({lost.count:,})"


def percent(value: float | None, digits: int = 1) -> str:
    """`99.0 %`; never rounded up to 100 while something is missing, nor down to 0 while something is there."""
    if value is None:
        return "-"
    shown = round(100 * value, digits)
    step = 10**-digits
    if shown >= 100 > 100 * value:
        shown = 100 - step
    if shown <= 0 < value:
        shown = step
    return f"{shown:.{digits}f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
