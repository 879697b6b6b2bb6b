// Area 8: every plan that no other beats, exact; a click loads one. Trainings decide between them, not this page.

import { Chart } from "sw/chart";
import { by, bytes, count, number, once } from "sw/format";
import { post } from "sw/net";
import { addTab, base, complain, look, network, tab, change, view } from "sw/store";
import { html, signal, Twin, useEffect } from "sw/ui";

const known = signal({});
const SHAPES = ["M-4 -4h8v8h-8z", "M0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z", "M-5 4l5 -9l5 9z", "M-5 -4l5 9l5 -9z", "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0", "M-4.5 -1.5h3v-3h3v3h3v3h-3v3h-3v-3h-3z"];

export function Front() {
  const found = known.value[network.value];
  const strides = found ? [...new Set(found.points.map((p) => once(p.output_stride)))] : [];
  const [only, setOnly] = look("front", "");
  useEffect(() => {
    const of = network.value;
    if (!known.value[of]) post("/api/front", { network: of }).then((f) => (known.value = { ...known.value, [of]: f })).catch((error) => { known.value = { ...known.value, [of]: { failed: error.message } }; });
  }, [network.value]);
  if (!found) return html`<p class="muted" aria-busy="true">counting all plans …</p>`;
  if (found.failed) return html`<p class="note">${found.failed}</p>`;
  const near = base.value.totals.output_stride.map(number)[0];
  const chosen = only || once(base.value.totals.output_stride);
  const points = found.points.filter((p) => chosen === "all" ? number(p.output_stride[0]) >= near / 4 : once(p.output_stride) === chosen);
  const load = async (p) => {
    try {
      const { changes } = await post("/api/front-plan", { network: network.value, index: p.index });
      tab.value === 0 ? addTab(changes) : change(changes);
    } catch (error) {
      complain(error);
    }
  };
  const macs = points.map((p) => p.macs).concat(found.current.macs);
  const acts = points.map((p) => p.activations).concat(found.current.activations);
  const range = (values) => ({ low: Math.min(...values) * 0.94, high: Math.max(...values) * 1.06, log: true });
  const logTicks = (r) => { const out = []; for (let i = 0; i <= 4; i += 1) out.push(r.low * (r.high / r.low) ** (i / 4)); return out; };
  const [x, y] = [range(macs), range(acts)];
  const words = (p) => `output stride ${once(p.output_stride)}: ${count(p.macs)} MACs, ${count(p.activations)} activations, ${bytes(p.peak_bytes)} peak, ${p.changes} changes`;
  return html`<div class="tools"><label>Output stride <select value=${chosen} onChange=${(e) => setOnly(e.target.value)}>${strides.map((s) => html`<option value=${s}>${s}</option>`)}<option value="all">all</option></select></label>
      <span class="muted">${found.all} plans that no other plan beats in multiply-adds, peak memory and activations${found.points.length < found.all ? `; ${found.points.length} drawn` : ""}. A click loads one. Only training says which is best.</span></div>
    <${Chart} label="Cost front: activations against multiply-adds" role="group" height=${320} x=${{ ...x, name: "multiply-adds (exact)", ticks: logTicks(x), format: count }} y=${{ ...y, name: "activations (exact)", ticks: logTicks(y), format: count }}
      draw=${(X, Y) => html`
        ${points.map((p) => html`<path key=${p.index} class="point" tabindex="0" role="button" aria-label=${`Load the plan: ${words(p)}`} transform=${`translate(${X(p.macs)},${Y(p.activations)})`} d=${SHAPES[Math.abs(Math.round(Math.log2(number(p.output_stride[0])))) % SHAPES.length]}
          onClick=${() => load(p)} onKeyDown=${(e) => (e.key === "Enter" || e.key === " ") && (e.preventDefault(), load(p))}><title>${words(p)}</title></path>`)}
        <g transform=${`translate(${X(found.current.macs)},${Y(found.current.activations)})`} class="today"><circle r="9" /><text x="13" y="4">as it is</text></g>
        ${view.value.totals.macs >= x.low && view.value.totals.macs <= x.high && view.value.totals.activations >= y.low && view.value.totals.activations <= y.high && view.value !== base.value && html`<circle class="shown" r="12" cx=${X(view.value.totals.macs)} cy=${Y(view.value.totals.activations)} />`}`} />
    <${Twin} label="The front as a table" heads=${["output stride", "MACs", "activations", "peak memory", "changes", "plan"]} rows=${points.map((p) => [by(p.output_stride), count(p.macs), count(p.activations), bytes(p.peak_bytes), p.changes, html`<button type="button" class="link" onClick=${() => load(p)}>load</button>`])} />`;
}
