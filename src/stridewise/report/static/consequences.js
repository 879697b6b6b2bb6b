// Area 3: what a plan changes, each figure with its difference from the original, how it was found, and its formula.

import * as jobs from "sw/jobs";
import { by, bytes, change, count, number } from "sw/format";
import { base, kinds, layer, live, tab, view } from "sw/store";
import { Badge, html, Panel, useState } from "sw/ui";

const last = (v) => v.layers.findLast((r) => by(r.cumulative_stride) === by(v.totals.output_stride) && r.out_size.length);

const FACTS = [
  ["last map", (v) => by(last(v)?.out_size), null, "exact", "floor((n + pad − dilation·(kernel − 1) − 1) / stride) + 1, layer by layer"],
  ["output stride", (v) => by(v.totals.output_stride), null, "exact", "the product of all steps on the way"],
  ["receptive field", (v) => by(v.totals.receptive_field), (v) => v.totals.receptive_field[0], "exact", "grows by (kernel − 1) · dilation · stride before the layer"],
  ["multiply-adds", (v) => count(v.totals.macs), (v) => v.totals.macs, "exact", "output positions · kernel positions · channels in · channels out / groups, summed"],
  ["activations", (v) => count(v.totals.activations), (v) => v.totals.activations, "exact", "output elements of convolutions and products"],
  ["peak memory", (v) => bytes(v.totals.peak_activation_bytes), (v) => v.totals.peak_activation_bytes, "estimated", "most bytes of activations alive at once, batch 1, evaluation, as traced; a framework may keep more"],
  ["parameters", (v) => count(v.totals.params), (v) => v.totals.params, "exact", "strides have no weights: they stay as they are"],
  ["smallest input", (v) => by(v.totals.smallest_input), null, "exact", "fewest positions on which every window still fits"],
];

function Fact({ name, text, now, before, was, badge, formula }) {
  if (text === "–" && base.value.unknown?.length)
    return html`<div class="fact" tabindex="0"><dt>${name}</dt><dd><span class="value muted">unknown</span><span class="formula">an op that nobody described stands before it: see below</span></dd></div>`;
  const diff = now === null ? (text !== was ? `was ${was}` : "") : change(now, before);
  const way = !diff ? "" : now === null ? "other" : now < before ? "less" : "more";
  return html`<div class="fact" tabindex="0" title=${formula}><dt>${name} <${Badge} is=${badge} /></dt>
    <dd><span class="value">${text}</span> <span class=${`diff ${way}`}>${way === "less" ? "▼ " : way === "more" ? "▲ " : ""}${diff}</span><span class="formula">${formula}</span></dd></div>`;
}

const WEIGHTS = {
  same: ["as they were", "nothing changes what they read"],
  exact: ["exact", "the old maps are every m-th position of the new ones, with the same weights"],
  means: ["exact except means", "every weight reads what it was trained on; means are now over more positions"],
  retrain: ["need retraining", "a changed step changes what later weights read; tick ‘keep trained weights’ to dilate instead"],
};

function Weights() {
  const found = view.value.weights ?? { state: "same", reasons: [] };
  const [text, why] = WEIGHTS[found.state];
  return html`<div class="fact" tabindex="0" title=${why}><dt>trained weights <${Badge} is="exact" /></dt>
    <dd><span class="value">${text}</span><span class="formula">${why}</span>
    ${found.reasons.length > 0 && html`<details class="twin"><summary>${found.reasons.length} op${found.reasons.length > 1 ? "s" : ""} over all positions</summary><ul class="plain">${found.reasons.map((r) => html`<li key=${r}>${r.replace("--means grid takes", "‘means on the old grid’ takes")}</li>`)}</ul></details>`}</dd></div>`;
}

function Latency() {
  const job = jobs.latest("latency");
  const found = job?.state === "done" ? job.result.plans : null;
  const [before, after] = found ? [found[0], found.at(-1)] : [];
  const alone = found?.length === 1;
  const old = found && !jobs.current(job);
  const ms = (seconds) => `${(seconds * 1e3).toFixed(1)} ms`;
  return html`<div class="fact"><dt>latency <${Badge} is="measured" /></dt><dd>
    ${found && html`<span class=${`value ${old ? "muted" : ""}`}>${alone ? ms(after.median) : `${after.ratio.toFixed(2)}× ${before.name === "original" ? "the original" : before.name}`}</span> <span class="diff">${alone ? after.name : `${after.name} ${ms(after.median)}, ${before.name} ${ms(before.median)}`}${old ? " (not what is shown now)" : ""}</span>`}
    <${jobs.Start} kind="latency" className="small" onClick=${() => jobs.start("latency", {})}>${found ? "measure again" : "measure here"}<//> <${jobs.Against} id="latency-against" />
    ${found && html`<span class="formula">median of ${after.rounds} rounds in turn${alone ? "" : `, ratio's quartiles ${after.ratio_low.toFixed(2)} to ${after.ratio_high.toFixed(2)}`}, ${job.result.by}, ${after.threads} thread${after.threads > 1 ? "s" : ""}, batch 1, this machine's CPU</span>`}
  </dd></div>`;
}

function Findings() {
  const [all, setAll] = useState(false);
  const found = view.value.findings;
  if (found === null || found === undefined) return html`<p class="muted" aria-busy="true">looking for findings …</p>`;
  if (!found.length) return html`<p class="muted">No findings.</p>`;
  const rules = new Map();
  for (const f of found) rules.set(f.rule, [...(rules.get(f.rule) ?? []), f]);
  const order = { error: 0, warning: 1, info: 2 };
  const rows = [...rules.values()].sort((a, b) => order[a[0].severity] - order[b[0].severity]);
  return html`<ul class="findings">${rows.slice(0, all ? 99 : 4).map(([f, ...more]) => html`<li key=${f.rule} class=${f.severity}>
      <span class="tag">${{ error: "✖", warning: "▲", info: "ℹ" }[f.severity]} ${f.rule} ${f.severity}</span>
      <button type="button" class="link" onClick=${() => (layer.value = f.key)}>${f.key}</button>
      <span> ${f.message.replace(`${f.key}: `, "").replace(/\.?$/, ".")}</span>
      ${more.length > 0 && html`<span class="muted"> Likewise ${more.length} more${all ? `: ${more.map((m) => m.key).join(", ")}` : ""}.</span>`}</li>`)}</ul>
    ${rows.length > 4 || all ? html`<button type="button" class="small" onClick=${() => setAll(!all)}>${all ? "fewer" : `all ${rows.length} rules`}</button>` : null}`;
}

// Where knowledge ends: an op without a rule leaves what follows it open, and everything here says so.
function Limits() {
  const { unknown = [], notes = [] } = base.value;
  if (!unknown.length && !notes.length) return null;
  return html`<h3>${unknown.length ? "Where knowledge ends" : "Notes"}</h3><ul class="findings">
    ${unknown.map((u) => html`<li key=${u.message} class="warning"><span class="tag">▲ unknown</span> ${u.message}</li>`)}
    ${notes.map((note) => html`<li key=${note}><span class="tag">ℹ note</span> ${note}</li>`)}</ul>`;
}

export function Consequences() {
  const now = view.value;
  const before = base.value;
  return html`<${Panel} id="consequences" title="Consequences" aside=${now.ms !== undefined && html`<span class="muted" title="computed on this machine">${now.ms.toFixed(1)} ms</span>`}>
    <dl class="facts">${FACTS.map(([name, text, value, badge, formula]) => html`<${Fact} key=${name} name=${name} text=${text(now)} was=${text(before)}
        now=${value ? number(value(now)) : null} before=${value ? number(value(before)) : null} badge=${badge} formula=${formula} />`)}
      ${live && html`<${Weights} />`}
      ${live && kinds.value.includes("latency") && html`<${Latency} />`}</dl>
    ${now.pads?.length > 0 && html`<p class="note">${now.pads.map(([key, axis, rows]) => `${key} gets ${rows} more at the end of axis ${axis}, to meet its parallel path.`).join(" ")}</p>`}
    <h3>Findings ${tab.value > 0 ? "under this plan" : ""}</h3><${Findings} />
    <${Limits} />
  </${Panel}>`;
}
