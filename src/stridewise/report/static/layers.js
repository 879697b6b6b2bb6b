// Area 4: the table of `show`, searchable and sortable; a row is highlighted from everywhere else.

import { beside, by, count, number, once, placeName } from "sw/format";
import { base, layer, look, said, scale, view } from "sw/store";
import { html, narrow, useEffect, useMemo, useRef, useState } from "sw/ui";

const first = (values) => (values.length ? number(values[0]) : -1);
const unit = (values) => beside(scale.value, values);
const COLUMNS = [
  ["layer", (r) => r.key, (r) => r.key],
  ["op", (r) => r.op.replace("_", " "), (r) => r.op],
  ["kernel", (r) => (r.kernel.length ? once(r.kernel) : ""), (r) => first(r.kernel)],
  ["step", (r) => (r.stride.length && r.stride.some((s) => s !== 1) ? once(r.stride) : ""), (r) => first(r.stride)],
  ["dilation", (r) => (r.dilation.some((d) => d !== 1) ? once(r.dilation) : ""), (r) => first(r.dilation)],
  ["channels", (r) => (r.channels ? r.channels.join("→") : ""), (r) => r.channels?.[1] ?? 0],
  ["size", (r) => (r.out_size.length ? by(r.out_size) : ""), (r) => first(r.out_size)],
  ["stride", (r) => (r.cumulative_stride.length ? once(r.cumulative_stride) + unit(r.cumulative_stride) : ""), (r) => first(r.cumulative_stride)],
  ["field", (r) => (r.global ? `all (${once(r.receptive_field)}${unit(r.receptive_field)})` : r.receptive_field.length ? once(r.receptive_field) + unit(r.receptive_field) : ""), (r) => (r.global ? Infinity : first(r.receptive_field))],
  ["MACs", (r) => (r.macs ? count(r.macs) : ""), (r) => r.macs],
  ["params", (r) => (r.params ? count(r.params) : ""), (r) => r.params],
];

// Pixels: rows are of one height, so that only those in sight are drawn; in a narrow window their cells wrap.
const height = () => (narrow.value ? 122 : 28);
const FEW = 60; // rows that are all drawn

export function Layers() {
  const [text, setText] = look("search", "");
  const [sort, setSort] = look("sort", ""); // a column's name, "-" before it from the largest down
  const [stepsOnly, setStepsOnly] = look("steps", false);
  const [top, setTop] = useState(0);
  const ROW = height();
  const column = COLUMNS.findIndex(([name]) => name === sort.replace(/^-/, ""));
  const way = sort.startsWith("-") ? -1 : 1;
  const list = useRef(null);
  const rows = view.value.layers;
  const before = useMemo(() => new Map(base.value.layers.map((r) => [r.key, r])), [base.value]);
  const shown = useMemo(() => {
    const wanted = rows.filter((r) => (r.key + " " + r.op).toLowerCase().includes(text.toLowerCase()) && (!stepsOnly || r.stride.some((s) => s !== 1)));
    if (column < 0) return wanted;
    const of = COLUMNS[column][2];
    return [...wanted].sort((a, b) => (of(a) > of(b) ? way : of(a) < of(b) ? -way : 0));
  }, [rows, text, sort, stepsOnly]);
  const at = shown.findIndex((r) => r.key === layer.value);
  useEffect(() => {
    const box = list.current;
    if (at < 0) return;
    if (at * ROW < box.scrollTop || (at + 2) * ROW > box.scrollTop + box.clientHeight) box.scrollTop = at * ROW - box.clientHeight / 3;
  }, [layer.value]);
  const all = shown.length <= FEW;
  const from = all ? 0 : Math.max(0, Math.min(Math.floor(top / ROW) - 8, shown.length - 32));
  const to = all ? shown.length : Math.min(shown.length, from + 32);
  // One stop of the Tab key: arrows go through the rows.
  const keys = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -shown.length, End: shown.length }[event.key];
    if (!step || !shown.length || event.target !== list.current) return;
    event.preventDefault();
    layer.value = shown[Math.min(shown.length - 1, Math.max(0, at + step))].key;
    said.value = `${placeName(layer.value)}, row ${Math.min(shown.length, Math.max(1, at + step + 1))} of ${shown.length}`;
  };
  const turn = (i) => setSort(column !== i ? COLUMNS[i][0] : way > 0 ? `-${sort}` : "");
  const gap = (n) => n > 0 && html`<tr class="gap" aria-hidden="true" style=${{ height: `${n * ROW}px` }}></tr>`;
  return html`<div class="tools"><label>Search <input type="search" value=${text} onInput=${(e) => setText(e.target.value)} placeholder="name or op" /></label>
      <label class="check"><input type="checkbox" checked=${stepsOnly} onChange=${(e) => setStepsOnly(e.target.checked)} /> only steps</label>
      <span class="muted">${shown.length} of ${rows.length} layers</span></div>
    <div class="scroll tall" ref=${list} tabindex="0" role="region" aria-label="Layers: arrow keys choose one" onKeyDown=${keys} onScroll=${(e) => !all && setTop(e.target.scrollTop)}><table class="layers stack" role="table" aria-rowcount=${shown.length + 1}>
      <thead role="rowgroup"><tr role="row" aria-rowindex="1">${COLUMNS.map(([name], i) => html`<th scope="col" role="columnheader" key=${name} aria-sort=${column === i ? (way > 0 ? "ascending" : "descending") : "none"}>
        <button type="button" onClick=${() => turn(i)}>${name}<span aria-hidden="true">${column === i ? (way > 0 ? " ↑" : " ↓") : ""}</span></button></th>`)}</tr></thead>
      <tbody role="rowgroup">${gap(from)}${shown.slice(from, to).map((r, i) => html`<${Row} key=${r.key} r=${r} old=${before.get(r.key)} index=${from + i + 2} chosen=${r.key === layer.value} />`)}${gap(shown.length - to)}</tbody></table></div>`;
}

function Row({ r, old, index, chosen }) {
  return html`<tr role="row" aria-rowindex=${index} class=${`${chosen ? "chosen" : ""} ${r.stride.some((s) => s !== 1) ? "steps" : ""}`} onClick=${() => (layer.value = r.key)}>
    ${COLUMNS.map(([, of], i) => {
      const now = of(r);
      const then = old && of(old);
      const diff = old ? then !== now : true;
      return i
        ? html`<td role="cell" data-head=${COLUMNS[i][0]} class=${diff ? "differs" : ""} title=${diff ? (old ? `was ${then || "–"}` : "new") : undefined}>${now}</td>`
        : html`<th scope="row" role="rowheader"><button type="button" class="link" tabindex="-1" aria-pressed=${chosen} onClick=${() => (layer.value = r.key)}>${placeName(now)}</button>${old ? "" : html` <span class="tag">new</span>`}</th>`;
    })}</tr>`;
}
