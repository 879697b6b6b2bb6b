// Work that takes a while: started here, followed by events, called off with a button. One runs at a time.

import { follow, post, remove } from "sw/net";
import { complain, network, tab, tabs } from "sw/store";
import { html, signal } from "sw/ui";

const known = signal({});
export const latest = (kind) => known.value[kind];
export const runs = (kind) => ["waiting", "running"].includes(known.value[kind]?.state);
export const key = () => JSON.stringify([network.value, tabs.value[tab.value]?.now ?? {}]);

export async function start(kind, asked, plan = tabs.value[tab.value]?.now ?? {}) {
  const of = key();
  try {
    const job = await post("/api/jobs", { kind, network: network.value, changes: plan, ...asked });
    known.value = { ...known.value, [kind]: job };
    const result = await follow(job.id, (now) => {
      known.value = { ...known.value, [kind]: now.state === "done" ? { ...now, result: { ...now.result, key: of } } : now };
    });
    return { ...result, key: of };
  } catch (error) {
    if (error.message !== "cancelled") complain(error);
    known.value = { ...known.value, [kind]: { ...known.value[kind], state: "failed" } };
    return null;
  }
}

export const cancel = (kind) => known.value[kind] && remove(`/api/jobs/${known.value[kind].id}`).catch(complain);

export function Progress({ kind }) {
  const job = latest(kind);
  if (!runs(kind)) return null;
  return html`<span class="progress"><progress max="1" value=${job.share || undefined} aria-label=${job.doing || "waiting for the job before it"}></progress>
    <span class="muted">${job.doing || "waiting"}</span> <button type="button" class="small" onClick=${() => cancel(kind)}>cancel</button></span>`;
}
