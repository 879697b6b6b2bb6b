// Work that takes a while: started here, followed by events, called off with a button, found again after a reload.

import { follow, post, remove } from "sw/net";
import { request } from "sw/state";
import { complain, network, now, picture } from "sw/store";
import { html, signal } from "sw/ui";

const known = signal({});
export const latest = (kind) => (known.value[kind]?.asked?.network === network.value ? known.value[kind] : undefined);
export const runs = (kind) => ["waiting", "running"].includes(latest(kind)?.state);

// What a result belongs to: network, plan and picture.
const keyOf = ({ network: of, changes = {}, keep_weights: keep = false, means = "", picture: number }) =>
  JSON.stringify([of, Object.entries(changes).sort(), keep, keep && means, number]);
export const key = () => keyOf({ network: network.value, ...request(now.value), picture: picture.value.number });
export const current = (job) => job?.state === "done" && keyOf(job.asked) === key();

async function attend(kind, id) {
  try {
    return await follow(id, (job) => (known.value = { ...known.value, [kind]: job }));
  } catch (error) {
    if (error.message !== "cancelled") complain(error);
    known.value = { ...known.value, [kind]: { ...known.value[kind], state: "failed" } };
    return null;
  }
}

export async function start(kind, asked) {
  try {
    const job = await post("/api/jobs", { kind, network: network.value, ...request(now.value), ...asked });
    known.value = { ...known.value, [kind]: job };
    return await attend(kind, job.id);
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
