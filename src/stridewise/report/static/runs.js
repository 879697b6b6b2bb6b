// Area 8, runs: what the run folders of `stridewise search` hold; a click puts a plan on the ladder.

import { quoted } from "sw/format";
import { get } from "sw/net";
import { addTab, base, complain, look, network, networks, read, tab } from "sw/store";
import { openNetwork } from "sw/opening";
import { Study } from "sw/study";
import { html, signal, useEffect } from "sw/ui";

const known = signal(null);

export function Runs() {
  const [which, setWhich] = look("run", 0);
  const fetched = () => get("/api/runs").then((found) => (known.value = found)).catch(complain);
  useEffect(() => void fetched(), []);
  if (!known.value) return html`<p class="muted" aria-busy="true">reading the run folders …</p>`;
  const run = known.value[Math.min(which, known.value.length - 1)];
  const study = run.result;
  const other = study && study.model !== base.value.model ? networks.value.findIndex((n) => n.name === study.model) : network.value;
  const load = async (p) => {
    if (!p.plan.includes("[")) return void (tab.value = 0);
    const wishes = await read({ toml: p.plan });
    if (wishes) addTab(wishes);
  };
  return html`<div class="tools">${known.value.length > 1 && html`<label>run <select id="run" onChange=${(e) => setWhich(Number(e.target.value))}>${known.value.map((r, i) => html`<option value=${i} selected=${r === run}>${r.name}</option>`)}</select></label>`}
      <button type="button" class="small" onClick=${fetched}>read again</button>
      ${study && other !== network.value && (other >= 0 ? html`<span class="muted">a run of ${study.model}:</span> <button type="button" class="small" onClick=${() => openNetwork(other)}>open it</button>` : html`<span class="muted">a run of ${study.model}: start <code>stridewise serve ${quoted(study.model)} --run …</code> to load its plans</span>`)}</div>
    ${run.error ? html`<p class="note">${run.error}</p>` : html`<${Study} key=${run.name} study=${study} load=${other === network.value ? load : null} />`}`;
}
