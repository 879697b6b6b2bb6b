// Area 3: what a plan changes, each figure with its difference from the original, how it was found, and its formula.

import * as jobs from "sw/jobs";
import { beside, by, bytes, change, count, number, placeName } from "sw/format";
import { sizesOf } from "sw/shape";
import { KEEP } from "sw/state";
import { base, change as propose, kinds, layer, live, look, now, scale, tab, view } from "sw/store";
import { Badge, html, Panel, Term, useState } from "sw/ui";

const lasting = (v) => v.layers.findLast((r) => by(r.cumulative_stride) === by(v.totals.output_stride) && r.out_size.length);
// The layer whose field is the network's: the last whose size and start the totals repeat.
const seeing = (v) => v.layers.findLast((r) => r.out_size.length && by(r.receptive_field) === by(v.totals.receptive_field) && by(r.start) === by(v.totals.start));

// The field of the last map: of every position, where they differ the least and the most, and where something lets in
// everything, that it does.
function fieldText(v) {
  const r = seeing(v);
  const fields = r && v.fields?.[r.key];
  const sizes = fields ? sizesOf(fields) : v.totals.receptive_field.map((n) => [n, n]);
  const local = sizes.map(([least, most]) => (least === most ? String(most) : `${least}–${most}`)).join("×") || "–";
  const own = unit(sizes.map(([, most]) => most));
  return r?.global ? `whole picture (local ${local}${own})` : `${fields?.approximate ? "at most " : ""}${local}${own}`;
}
const fieldBadge = (v) => { const r = seeing(v); return r && v.fields?.[r.key]?.approximate ? "estimated" : "exact"; };

const unit = (values) => beside(scale.value, values);
const widened = (v) => Object.values(v.plan ?? {}).some((site) => site.how.startsWith("space") && site.stride.some((s) => s > 1));
const weightsAre = (v) => (widened(v) ? "space-to-depth stacks the positions of a step as channels, so the filter behind it reads stride·stride times as many: it grows" : "strides have no weights: they stay as they are");

// [name, text, value that a bar and a percentage compare (none where only the text says it), badge, formula]
const FIRST = [
  ["output stride", (v) => by(v.totals.output_stride) + unit(v.totals.output_stride), null, () => "exact", () => "the product of all steps on the way, the most that any map steps"],
  ["receptive field", fieldText, null, fieldBadge, (v) => (seeing(v)?.global ? "attention, a mean over all positions or a squeeze-excite before it lets every pixel in; the local field is what windows alone read" : "grows by (kernel − 1) · dilation · stride before the layer; behind a resize it differs by position")],
  ["multiply-adds", (v) => count(v.totals.macs), (v) => v.totals.macs, () => "exact", () => "output positions · kernel positions · channels in · channels out / groups, summed"],
];
const REST = [
  ["last map", (v) => by(lasting(v)?.out_size), null, () => "exact", () => "floor((n + pad − dilation·(kernel − 1) − 1) / stride) + 1, layer by layer"],
  ["activations", (v) => count(v.totals.activations), (v) => v.totals.activations, () => "exact", () => "output elements of convolutions and products"],
  ["peak memory", (v) => bytes(v.totals.peak_activation_bytes), (v) => v.totals.peak_activation_bytes, () => "estimated", () => "most bytes of activations alive at once, batch 1, evaluation, as traced; a framework may keep more"],
  ["parameters", (v) => count(v.totals.params), (v) => v.totals.params, () => "exact", weightsAre],
  ["smallest input", (v) => (v.findings === null ? "…" : by(v.totals.smallest_input) + unit(v.totals.smallest_input)), null, () => "exact", () => "fewest positions on which every window still fits"],
];

// Two bars of one scale: the original, and what is so now.
function Against({ name, now: value, before }) {
  const most = Math.max(value, before) || 1;
  const wide = (v) => ({ width: `${Math.max(1, (100 * v) / most)}%` });
  return html`<span class="versus" role="img" aria-label=${`${name}: ${((100 * value) / (before || 1)).toFixed(0)} % of the original`}><span class="then" style=${wide(before)}></span><span class="is" style=${wide(value)}></span></span>`;
}

function Fact({ of: [name, text, value, badge, formula], bars }) {
  const [v, was] = [view.value, base.value];
  const shown = text(v);
  if (shown === "–")
    return html`<div class="fact" tabindex="0"><dt><${Term} is=${name} /></dt><dd><span class="value muted">${was.unknown?.length ? "unknown" : "–"}</span><span class="formula">${was.unknown?.length ? "an op that nobody described stands before it: see below" : "no layer of this network has one"}</span></dd></div>`;
  const [is, before] = value ? [number(value(v)), number(value(was))] : [null, null];
  const diff = value ? change(is, before) : text(was) === shown ? "" : `was ${text(was)}`;
  const way = !diff ? "" : !value ? "other" : is < before ? "less" : "more";
  return html`<div class="fact" tabindex="0" data-fact=${name}><dt><${Term} is=${name} /> <${Badge} is=${badge(v)} /></dt>
    <dd><span class="value">${shown}</span> <span class=${`diff ${way}`}>${way === "less" ? "▼ " : way === "more" ? "▲ " : ""}${diff}</span>
    ${bars && value && html`<${Against} name=${name} now=${is} before=${before} />`}<span class="formula">${formula(v)}</span></dd></div>`;
}

const WEIGHTS = {
  same: ["as they were", "exact", "nothing changes what they read"],
  exact: ["exact", "exact", "the old maps are every m-th position of the new ones, with the same weights"],
  means: ["exact except means", "changed", "maps up to the first mean are exact; what comes out behind one moves, for it is now taken over more positions"],
  retrain: ["need retraining", "changed", "a changed step changes what later weights read; tick ‘keep trained weights’ to dilate instead"],
  refused: ["cannot be kept", "changed", "the plan was tried on the model, which cannot carry it out"],
};

function Weights() {
  const found = view.value.weights ?? { state: "same", reasons: [] };
  const [text, badge, why] = found.tried === false ? ["being tried on the model …", "estimated", `counted: ${WEIGHTS[found.state][0]}; the model itself says more as soon as the hand rests`] : WEIGHTS[found.state];
  const means = found.state === "means" && found.tried !== false;
  return html`<div class="fact" tabindex="0" data-fact="trained weights"><dt><${Term} is="trained weights" /> <${Badge} is=${badge} /></dt>
    <dd><span class="value">${text}</span><span class=${means ? "formula always" : "formula"}>${why}</span>
    ${means && html`<button type="button" class="small" id="old-grid" onClick=${() => propose({ ...now.value, [KEEP]: "grid" })}>take the means on the old grid: exact</button>`}
    ${found.reasons.length > 0 && found.state !== "refused" && html`<details class="twin" open=${means}><summary>${found.reasons.length} op${found.reasons.length > 1 ? "s" : ""} over all positions</summary><ul class="plain">${found.reasons.map((r) => html`<li key=${r}>${r.replace("--means grid takes", "‘means on the old grid’ takes")}</li>`)}</ul></details>`}</dd></div>`;
}

// Whether two plans differ in time: not where the quartiles of the rounds' ratios lie on both sides of 1.
export const verdict = (after, before) =>
  after.ratio_low <= 1 && after.ratio_high >= 1 ? "no difference shown" : `${after.ratio.toFixed(2)}× ${before.name === "original" ? "the original" : before.name}`;

function Latency() {
  const job = jobs.latest("latency");
  const found = job?.state === "done" ? job.result.plans : null;
  const [before, after] = found ? [found[0], found.at(-1)] : [];
  const alone = found?.length === 1;
  const old = found && !jobs.current(job);
  const ms = (seconds) => `${(seconds * 1e3).toFixed(1)} ms`;
  return html`<div class="fact" data-fact="latency"><dt><${Term} is="latency" /> <${Badge} is="measured" /></dt><dd>
    ${found && html`<span class=${`value ${old ? "muted" : ""}`}>${alone ? ms(after.median) : verdict(after, before)}</span> <span class="diff">${alone ? after.name : `${after.name} ${ms(after.median)}, ${before.name} ${ms(before.median)}`}${old ? " (not what is shown now)" : ""}</span>`}
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
      <button type="button" class="link" onClick=${() => (layer.value = f.key)}>${placeName(f.key)}</button>
      <span> ${f.message.replace(`${f.key}: `, "").replace(/\.?$/, ".")}</span>
      ${more.length > 0 && html`<details class="likewise"><summary>Likewise ${more.length} more</summary>${more.map((m, i) => html`${i ? ", " : ""}<button type="button" class="link" key=${m.key + i} title=${m.message} onClick=${() => (layer.value = m.key)}>${placeName(m.key)}</button>`)}</details>`}</li>`)}</ul>
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
  const v = view.value;
  const [all, setAll] = look("figures", false);
  return html`<${Panel} id="consequences" title="Consequences" aside=${v.ms !== undefined && html`<span class="muted small-text" title="how long this machine took to work out the plan">worked out in ${v.ms < 0.1 ? "under 0.1" : v.ms.toFixed(1)} ms</span>`}>
    <dl class="facts first">${FIRST.map((of) => html`<${Fact} key=${of[0]} of=${of} bars />`)}${live ? html`<${Weights} />` : html`<${Fact} of=${REST[1]} bars />`}</dl>
    <details class="more" open=${all} onToggle=${(e) => setAll(e.target.open)}><summary>${all ? "Fewer figures" : `${REST.length + (live && kinds.value.includes("latency") ? 1 : 0)} more figures: memory, latency, parameters …`}</summary>
      <dl class="facts">${REST.map((of) => html`<${Fact} key=${of[0]} of=${of} bars />`)}
      ${live && kinds.value.includes("latency") && html`<${Latency} />`}</dl></details>
    ${v.pads?.length > 0 && html`<p class="note">${v.pads.map(([key, axis, rows]) => `${key} gets ${rows} more at the end of axis ${axis}, to meet its parallel path.`).join(" ")}</p>`}
    <h3>Findings ${tab.value > 0 ? "under this plan" : ""}</h3><${Findings} />
    <${Limits} />
  </${Panel}>`;
}
