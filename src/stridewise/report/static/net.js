// Talking to this machine's server: JSON in, JSON out; a lost connection is an answer like any other.

import { signal } from "sw/ui";

export class Refused extends Error {}
export class Lost extends Refused {}

// Why the server cannot be spoken to; empty while it can.
export const lost = signal("");
export const lose = (text) => (lost.value = text);

const GONE = "The server does not answer: it was stopped, or this machine slept. Start `stridewise serve` again and open the address it prints, or wait: the page looks every few seconds.";
const STALE = "This page belongs to an earlier start of the server. Open the address that `stridewise serve` printed last; what comes after # in this one goes with it.";

const headers = { "content-type": "application/json" };

async function answered(response) {
  const found = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
  if (response.status === 403) throw new Lost(STALE);
  lost.value = "";
  if (!response.ok) throw new Refused(found.error ?? `the server answered ${response.status}`);
  return found;
}

async function reached(work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof TypeError)
      throw new Lost(GONE);
    throw error;
  }
}

export const get = (path) => reached(async () => answered(await fetch(path)));
export const post = (path, body) =>
  reached(async () => answered(await fetch(path, { method: "POST", headers, body: JSON.stringify(body) })));
export const remove = (path) => reached(async () => answered(await fetch(path, { method: "DELETE" })));
// A file sent; `told` hears how much of it is there, from 0 to 1.
export const upload = (path, file, told) =>
  new Promise((resolve, reject) => {
    const sent = new XMLHttpRequest();
    sent.open("POST", path);
    sent.setRequestHeader("x-name", encodeURIComponent(file.name.slice(0, 80).replace(/\p{Cs}/gu, "")));
    sent.upload.onprogress = (event) => event.lengthComputable && told(event.loaded / event.total);
    sent.onload = () => answered(new Response(sent.responseText, { status: sent.status })).then(resolve, reject);
    sent.onerror = () => reject(new Lost(GONE));
    sent.send(file);
  });

// Follow a job to its end; `told` hears of every change.
export function follow(id, told) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(`/api/jobs/${id}/events`);
    source.onmessage = (event) => {
      const job = JSON.parse(event.data);
      told(job);
      if (["done", "failed", "cancelled"].includes(job.state)) {
        source.close();
        job.state === "done" ? resolve(job.result) : reject(new Refused(job.error ?? "cancelled"));
      }
    };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) reject(new Lost(GONE));
    };
  });
}
