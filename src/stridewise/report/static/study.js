// A study of `stridewise search`: the answer, accuracy against cost, every plan, one axis for each place that steps. The
// same in the page's area of runs and in the report that a run leaves. `load` puts a plan on the page, where there is one.

import { Chart } from "sw/chart";
import { ticks } from "sw/chart-ticks";
import { Coordinates } from "sw/coordinates";
import { bytes, count, once, percent } from "sw/format";
import { placed } from "sw/shape";
import { look } from "sw/store";
import { html, Twin, useState } from "sw/ui";

const WORDS = {
  better: "is better than the default at equal or lower cost",
  "as good and cheaper": "is as good as the default, to within the margin, at lower cost",
  "not settled": "stays: nothing is surely better",
  none: "stays: there is nothing to compare with",
};
const COSTS = [
  ["macs", "multiply-adds (exact)", (p) => p.macs.value, count],
  ["latency", "latency, ratio to the default (measured)", (p) => p.latency?.ratio ?? null, (v) => `${v.toFixed(2)}×`],
  ["peak", "peak memory (estimated)", (p) => p.peak_activation_bytes.value, bytes],
];
export const role = (study, p) => (p === study.plans[0] ? "default" : p.name === study.recommended.plan ? "chosen" : p.final ? "final" : "early");
const MARKS = { default: "M-5 -5h10v10h-10z", chosen: "M0 -8l2.4 5.2l5.6 .7l-4.2 3.8l1.1 5.6l-4.9 -2.8l-4.9 2.8l1.1 -5.6l-4.2 -3.8l5.6 -.7z", final: "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0", early: "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0" };
const LEGEND = { default: "■ the network as it is", chosen: "★ recommended", final: "● finalist, all epochs and seeds", early: "○ left early: compare only with equal epochs" };
const interval = (a) => (a?.low !== null && a?.low !== undefined ? `${percent(a.low)} to ${percent(a.high)}` : "");
export const metricOf = (study) => study.metric ?? "accuracy"; // in this task: accuracy, mean IoU, average precision
export const words = (study, p) => `${p.name}: ${p.accuracy ? `${metricOf(study)} ${percent(p.accuracy.mean)}` : p.error ? "failed" : "not trained yet"}, ${count(p.macs.value)} multiply-adds, ${p.steps}`;

function Scatter({ study, cost, load, lit, setLit }) {
  const [, title, of, format] = cost;
  const points = study.plans.filter((p) => p.accuracy && of(p) !== null);
  if (!points.length) return html`<p class="muted">No finished training yet.</p>`;
  const lows = points.map((p) => p.accuracy.low ?? p.accuracy.mean);
  const highs = points.map((p) => p.accuracy.high ?? p.accuracy.mean);
  const costs = points.map(of);
  const pad = (values) => { const [a, b] = [Math.min(...values), Math.max(...values)]; return (b - a || Math.abs(b) || 1) * 0.09; };
  // A little room around, but none beyond what a share can be; a score of somebody's own may be any number.
  const within = (end, way) => { const v = end + way * pad([...lows, ...highs]); return way < 0 ? (end >= 0 ? Math.max(0, v) : v) : end <= 1 ? Math.min(1, v) : v; };
  const x = { low: Math.max(0, Math.min(...costs) - pad(costs)), high: Math.max(...costs) + pad(costs), name: title, format };
  const y = { low: within(Math.min(...lows), -1), high: within(Math.max(...highs), 1), name: `${metricOf(study)} (measured, 95 % interval)`, format: (v) => percent(v, 0) };
  // A name beside its mark, where no other name and no mark lies; else it is in the table, and said on hover.
  const named = (X, Y) => {
    const marks = points.map((p) => ({ x: X(of(p)) - 6, y: Y(p.accuracy.mean) - 6, wide: 12, tall: 12 }));
    const places = (p) => { const wide = 7.4 * p.name.length; return [-16, 2, -34, 20, -52, 38].flatMap((off) => [9, -9 - wide].map((left) => ({ x: X(of(p)) + left, y: Y(p.accuracy.mean) + off, wide, tall: 15, left, off }))); };
    return placed(points.map(places), marks);
  };
  x.ticks = ticks(x.low, x.high, 5);
  y.ticks = ticks(y.low, y.high, 5);
  return html`<${Chart} label=${`${metricOf(study)} against ${title}`} role="group" height=${320} x=${x} y=${y} draw=${(X, Y, box, names = named(X, Y)) => html`
    ${of(study.plans[0]) !== null && html`<line class="marker" x1=${X(of(study.plans[0]))} x2=${X(of(study.plans[0]))} y1=${box.top} y2=${box.bottom} />`}
    ${points.map((p, i) => html`<g key=${p.name} class=${`plan ${role(study, p)} ${lit === p.name ? "lit" : ""}`} transform=${`translate(${X(of(p))},0)`} tabindex="0" role=${load ? "button" : "img"} aria-label=${`${load ? "Load " : ""}${words(study, p)}`}
        onPointerEnter=${() => setLit(p.name)} onPointerLeave=${() => setLit("")} onFocus=${() => setLit(p.name)} onBlur=${() => setLit("")} onClick=${() => load?.(p)} onKeyDown=${(e) => load && (e.key === "Enter" || e.key === " ") && (e.preventDefault(), load(p))}>
      <title>${words(study, p)}</title>
      ${p.accuracy.low !== null && html`<path class="interval" d=${`M0 ${Y(p.accuracy.low)}V${Y(p.accuracy.high)}M-4 ${Y(p.accuracy.low)}h8M-4 ${Y(p.accuracy.high)}h8`} />`}
      <path class="mark-of" transform=${`translate(0,${Y(p.accuracy.mean)})`} d=${MARKS[role(study, p)]} />${names[i] && html`<text x=${names[i].left} y=${Y(p.accuracy.mean) + names[i].off + 11}>${p.name}</text>`}</g>`)}`} />`;
}

function Plans({ study, load, lit, setLit }) {
  const base = study.plans[0].macs.value;
  const columns = [
    ["multiply-adds", (p) => count(p.macs.value)],
    ["of the default", (p) => `${(p.macs.value / base).toFixed(2)}×`],
    [metricOf(study), (p) => (p.accuracy ? percent(p.accuracy.mean) : p.error ? "failed" : "")],
    ["95 % interval", (p) => interval(p.accuracy)],
    ["epochs", (p) => (p.accuracy ? p.budget : "")],
    ["seeds", (p) => p.accuracy?.seeds ?? ""],
    ["latency", (p) => (p.latency ? `${p.latency.ratio.toFixed(2)}×` : "")],
    ["peak memory", (p) => bytes(p.peak_activation_bytes.value)],
    ["steps", (p) => p.steps],
  ].filter(([, of]) => study.plans.some((p) => of(p) !== ""));
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Every plan of the shortlist"><table class="plans stack" role="table"><thead role="rowgroup"><tr role="row">${["plan", ...columns.map(([head]) => head)].map((head) => html`<th scope="col" role="columnheader" key=${head}>${head}</th>`)}</tr></thead>
    <tbody role="rowgroup">${study.plans.map((p) => html`<tr role="row" key=${p.name} class=${`${p.name === study.recommended.plan ? "chosen" : ""} ${lit === p.name ? "lit" : ""}`} onPointerEnter=${() => setLit(p.name)} onPointerLeave=${() => setLit("")}>
      <th scope="row" role="rowheader">${load ? html`<button type="button" class="link" title="Load this plan" onClick=${() => load(p)}>${p.name}</button>` : p.name}</th>
      ${columns.map(([head, of]) => html`<td role="cell" key=${head} data-head=${head} class=${head === "steps" ? "wrap" : ""}>${of(p)}</td>`)}</tr>`)}</tbody></table></div>`;
}

function CostFront({ study }) {
  const points = study.front.points;
  if (points.length < 2) return null;
  const ends = (values) => ({ low: Math.min(...values) * 0.95, high: Math.max(...values) * 1.05 });
  const all = [...points, ...study.plans.map((p) => ({ macs: p.macs.value, activations: p.activations.value }))];
  const [x, y] = [ends(all.map((p) => p.macs)), ends(all.map((p) => p.activations))];
  return html`<h3>The ${study.front.known === "exact" ? "exact " : ""}cost front it was chosen from</h3><${Chart} label="Activations against multiply-adds of every plan on the front" height=${240} x=${{ ...x, name: "multiply-adds (exact)", format: count }} y=${{ ...y, name: "activations (exact)", format: count }} draw=${(X, Y) => html`
    ${points.map((p, i) => html`<circle key=${i} class="dot" r="3" cx=${X(p.macs)} cy=${Y(p.activations)} />`)}
    ${study.plans.map((p) => html`<g key=${p.name} class=${`plan ${role(study, p)}`} transform=${`translate(${X(p.macs.value)},${Y(p.activations.value)})`}><title>${words(study, p)}</title><path class="mark-of" d=${MARKS[role(study, p)]} /></g>`)}`} />
  <${Twin} label="The front as a table" heads=${["multiply-adds", "activations", "peak memory"]} rows=${points.map((p) => [count(p.macs), count(p.activations), bytes(p.peak_activation_bytes)])} />`;
}

const onOneLine = (toml) => toml.replace(/\[\s+([^\]]*?),?\s+\]/g, (_, inner) => `[${inner.replace(/\s+/g, " ")}]`);

export function Study({ study, load }) {
  const costs = COSTS.filter(([, , of]) => study.plans.some((p) => of(p) !== null));
  const [by, setBy] = look("cost", "macs");
  const [lit, setLit] = useState("");
  const cost = costs.find(([id]) => id === by) ?? costs[0];
  const { recommended } = study;
  const roles = [...new Set(study.plans.map((p) => role(study, p)))];
  return html`<p class="muted">Which strides suit ${study.model} for ${study.task} on ${study.data}, pictures of ${once(study.input.slice(2))} pixels?</p>
    ${study.state !== "finished" && html`<p class="note">Interrupted: the same command goes on.</p>`}
    <div class="answer"><p><strong>${recommended.plan} ${WORDS[recommended.kind] ?? recommended.kind}.</strong></p><ul class="plain">${recommended.reasons.map((r) => html`<li key=${r}>${r}</li>`)}</ul></div>
    <div class="tools"><label>cost <select id="cost" onChange=${(e) => setBy(e.target.value)}>${costs.map(([id, title]) => html`<option value=${id} selected=${id === cost[0]}>${title}</option>`)}</select></label>${load && html`<span class="muted">A click loads a plan.</span>`}</div>
    <${Scatter} study=${study} cost=${cost} load=${load} lit=${lit} setLit=${setLit} />
    <p class="legend">${roles.map((r) => html`<span key=${r} class=${`word ${r}`}>${LEGEND[r]}</span>`)}</p>
    <${Plans} study=${study} load=${load} lit=${lit} setLit=${setLit} />
    ${study.axes?.length > 0 && html`<h3>Where each plan steps</h3><${Coordinates} study=${study} load=${load} lit=${lit} setLit=${setLit} />`}
    <${CostFront} study=${study} />
    ${recommended.toml.includes("[") && html`<h3>The recommended plan</h3><div class="scroll"><pre>${onOneLine(recommended.toml)}</pre></div><p class="muted small-text">Saved as plan.toml in the run folder. To use it: <code>sw.apply(model, sw.Plan.read("plan.toml"))</code></p>`}
    ${study.method?.length > 0 && html`<h3>How it was found</h3><ol>${study.method.map((line) => html`<li key=${line}>${line}</li>`)}</ol>`}
    ${(study.notes ?? []).map((line) => html`<p class="muted small-text" key=${line}>${line}</p>`)}`;
}
