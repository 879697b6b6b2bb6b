// Work that takes a while: started here, followed by events, called off with a button, found again after a reload.

import { follow, post, remove } from "sw/net";
import { jobKey, tabName } from "sw/state";
import { against, base, compared, complain, network, picture, said, tab, tabs } from "sw/store";
import { html, signal } from "sw/ui";

const known = signal({});
export const latest = (kind) => (known.value[kind]?.asked?.network === network.value ? known.value[kind] : undefined);
export const runs = (kind) => ["waiting", "running"].includes(latest(kind)?.state);

// The plans a job is run under: the field is measured under the plan in hand alone.
const plansFor = (kind) => (kind === "field" ? compared.value.slice(-1) : compared.value);
export const current = (job) => job?.state === "done" && jobKey(job.asked) === jobKey({ network: network.value, plans: plansFor(job.kind), picture: picture.value.number });

async function attend(kind, id) {
  try {
    return await follow(id, (job) => (known.value = { ...known.value, [kind]: job }));
  } catch (error) {
    if (error.message !== "cancelled") complain(error);
    known.value = { ...known.value, [kind]: { ...known.value[kind], state: "failed" } };
    return null;
  }
}

// What is told, to those who do not see it appear, when a job that was started here is done.
const DONE = { maps: "The feature maps are there.", field: "The field is measured.", latency: "The latency is measured.", shift: "The shift test is done." };

export async function start(kind, asked) {
  try {
    const job = await post("/api/jobs", { kind, network: network.value, plans: plansFor(kind), ...asked });
    known.value = { ...known.value, [kind]: job };
    const found = await attend(kind, job.id);
    if (found) said.value = DONE[kind];
    return found;
  } catch (error) {
    complain(error);
    return null;
  }
}

// After a reload: the last job of each kind, whether it still runs or is done.
export function reattach(listed) {
  const last = new Map(listed.map((job) => [job.kind, job]));
  for (const [kind, job] of last)
    if (["waiting", "running", "done"].includes(job.state)) {
      known.value = { ...known.value, [kind]: { ...job, state: job.state === "done" ? "waiting" : job.state } };
      attend(kind, job.id);
    }
}

export const cancel = (kind) => known.value[kind] && remove(`/api/jobs/${known.value[kind].id}`).catch(complain);

export function Progress({ kind }) {
  const job = latest(kind);
  if (!runs(kind)) return null;
  return html`<span class="progress"><progress max="1" value=${job.share || undefined} aria-label=${job.doing || "waiting for the job before it"}></progress>
    <span class="muted">${job.doing || "waiting"}</span> <button type="button" class="small" onClick=${() => cancel(kind)}>cancel</button></span>`;
}

// A button that starts a job, its progress while it runs, or why it cannot be done with this network.
export function Start({ kind, onClick, className = "", children }) {
  const reason = base.value.cannot?.[kind];
  if (runs(kind)) return html`<${Progress} kind=${kind} />`;
  return html`<button type="button" class=${className} disabled=${Boolean(reason)} aria-describedby=${reason ? `cannot-${kind}` : undefined} onClick=${onClick}>${children}</button>
    ${reason && html`<span class="muted small-text" id=${`cannot-${kind}`}>${reason}</span>`}`;
}

// With which plan the one in hand is compared: any other, or none.
export function Against({ id }) {
  const others = tabs.value.map((_, i) => i).filter((i) => i !== tab.value);
  if (!others.length) return null;
  const chosen = others.includes(against.value) ? against.value : -1;
  return html`<label>compare with <select id=${id} value=${chosen} onChange=${(e) => (against.value = Number(e.target.value))}>
    ${others.map((i) => html`<option key=${i} value=${i} selected=${i === chosen}>${tabName(i)}</option>`)}<option value="-1" selected=${chosen < 0}>nothing</option></select></label>`;
}
