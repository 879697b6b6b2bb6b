// One network at several costs: a slider over plans that share one set of weights, each put on the ladder as it is met.

import { by, bytes, change as changeText, count } from "sw/format";
import * as jobs from "sw/jobs";
import { Refused, post } from "sw/net";
import { same } from "sw/state";
import { base, change, complain, network, now, view } from "sw/store";
import { html, signal, Twin, useEffect } from "sw/ui";

const known = signal({});

export function Elastic() {
  const of = network.value;
  const found = known.value[of];
  useEffect(() => {
    if (known.value[of]) return;
    const keep = (answer) => (known.value = { ...known.value, [of]: answer });
    post("/api/elastic", { network: of }).then(keep, (error) => (error instanceof Refused ? keep({ failed: error.message }) : complain(error)));
  }, [of]);
  if (!found) return html`<p class="muted" aria-busy="true">looking for a plan at every cost …</p>`;
  if (found.failed) return html`<p class="note">${found.failed}</p>`;
  const { plans, python } = found;
  const job = jobs.latest("elastic");
  const times = job?.state === "done" ? new Map(job.result.plans.map((p) => [p.name, p.median])) : null;
  const ms = (p) => (times?.has(p.name) ? `${(times.get(p.name) * 1e3).toFixed(1)} ms` : "–");
  const exact = plans.findIndex((p) => same(p.changes, now.value));
  const distance = (p) => Math.abs(Math.log(p.macs / view.value.totals.macs));
  const at = exact >= 0 ? exact : plans.reduce((best, p, i) => (distance(p) < distance(plans[best]) ? i : best), 0);
  const p = plans[at];
  const words = (one) => `${one.name}: ${count(one.macs)} multiply-adds${times ? `, ${ms(one)}` : ""}, output stride ${by(one.output_stride)}`;
  return html`<p class="muted">One set of weights under ${plans.length} plans, the best of the cost front at each share of the original's multiply-adds. The network switches between them in microseconds; its batch norms keep statistics for each. How accurate each is, a common training says, not this page.</p>
    <div class="controls"><label class="wide-range">cost <input type="range" id="cost" min="0" max=${plans.length - 1} value=${at} aria-valuetext=${words(p)} onInput=${(e) => change(plans[Number(e.target.value)].changes)} /></label>
      <output id="cost-now">${exact < 0 ? "the plan in hand is none of these; move the slider to take one" : words(p)}</output>
      ${python && html`<${jobs.Start} kind="elastic" className="small" onClick=${() => jobs.start("elastic", {})}>${times ? "measure again" : "measure each here"}<//>`}</div>
    <${Twin} label="The plans as a table" open heads=${["cost", "multiply-adds", "against the original", "activations", "peak memory", "output stride", "median here", "plan"]} rows=${plans.map((one, i) => [one.name, count(one.macs), changeText(one.macs, base.value.totals.macs) || "the same", count(one.activations), bytes(one.peak_activation_bytes), by(one.output_stride), ms(one), i === exact ? "in hand" : html`<button type="button" class="link" onClick=${() => change(one.changes)}>take ${one.name}</button>`])} />
    ${python ? html`<pre class="code" tabindex="0" role="region" aria-label="The lines that make it">${python}</pre>` : html`<p class="muted small-text">${base.value.cannot?.elastic}</p>`}`;
}
