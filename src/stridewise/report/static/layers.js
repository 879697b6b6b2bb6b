// Area 4: the table of `show`, searchable and sortable; a row is highlighted from everywhere else.

import { by, count, number, once } from "sw/format";
import { base, layer, look, view } from "sw/store";
import { html, useEffect, useMemo, useRef } from "sw/ui";

const first = (values) => (values.length ? number(values[0]) : -1);
const COLUMNS = [
  ["layer", (r) => r.key, (r) => r.key],
  ["op", (r) => r.op.replace("_", " "), (r) => r.op],
  ["kernel", (r) => (r.kernel.length ? once(r.kernel) : ""), (r) => first(r.kernel)],
  ["step", (r) => (r.stride.length && r.stride.some((s) => s !== 1) ? once(r.stride) : ""), (r) => first(r.stride)],
  ["dilation", (r) => (r.dilation.some((d) => d !== 1) ? once(r.dilation) : ""), (r) => first(r.dilation)],
  ["channels", (r) => (r.channels ? r.channels.join("→") : ""), (r) => r.channels?.[1] ?? 0],
  ["size", (r) => (r.out_size.length ? by(r.out_size) : ""), (r) => first(r.out_size)],
  ["stride", (r) => (r.cumulative_stride.length ? once(r.cumulative_stride) : ""), (r) => first(r.cumulative_stride)],
  ["field", (r) => (r.global ? "all" : r.receptive_field.length ? once(r.receptive_field) : ""), (r) => (r.global ? Infinity : first(r.receptive_field))],
  ["MACs", (r) => (r.macs ? count(r.macs) : ""), (r) => r.macs],
  ["params", (r) => (r.params ? count(r.params) : ""), (r) => r.params],
];

export function Layers() {
  const [text, setText] = look("search", "");
  const [sort, setSort] = look("sort", ""); // a column's name, "-" before it from the largest down
  const [stepsOnly, setStepsOnly] = look("steps", false);
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
  useEffect(() => {
    const chosen = list.current?.querySelector("tr.chosen");
    if (!chosen) return;
    const box = list.current.getBoundingClientRect();
    const at = chosen.getBoundingClientRect();
    if (at.top < box.top + 32 || at.bottom > box.bottom) list.current.scrollTop += at.top - box.top - box.height / 3;
  }, [layer.value]);
  const turn = (i) => setSort(column !== i ? COLUMNS[i][0] : way > 0 ? `-${sort}` : "");
  return html`<div class="tools"><label>Search <input type="search" value=${text} onInput=${(e) => setText(e.target.value)} placeholder="name or op" /></label>
      <label class="check"><input type="checkbox" checked=${stepsOnly} onChange=${(e) => setStepsOnly(e.target.checked)} /> only steps</label>
      <span class="muted">${shown.length} of ${rows.length} layers</span></div>
    <div class="scroll tall" ref=${list} tabindex="0" role="region" aria-label="Layers"><table class="layers">
      <thead><tr>${COLUMNS.map(([name], i) => html`<th scope="col" key=${name} aria-sort=${column === i ? (way > 0 ? "ascending" : "descending") : "none"}>
        <button type="button" onClick=${() => turn(i)}>${name}<span aria-hidden="true">${column === i ? (way > 0 ? " ↑" : " ↓") : ""}</span></button></th>`)}</tr></thead>
      <tbody>${shown.map((r) => {
        const old = before.get(r.key);
        return html`<tr key=${r.key} class=${`${r.key === layer.value ? "chosen" : ""} ${r.stride.some((s) => s !== 1) ? "steps" : ""}`} onClick=${() => (layer.value = r.key)}>
          ${COLUMNS.map(([name, of], i) => {
            const now = of(r);
            const then = old && of(old);
            const diff = old ? then !== now : true;
            return i
              ? html`<td class=${diff ? "differs" : ""} title=${diff ? (old ? `was ${then || "–"}` : "new") : undefined}>${now}</td>`
              : html`<th scope="row"><button type="button" class="link" aria-pressed=${r.key === layer.value} onClick=${() => (layer.value = r.key)}>${now}</button>${old ? "" : html` <span class="tag">new</span>`}</th>`;
          })}</tr>`;
      })}</tbody></table></div>`;
}
