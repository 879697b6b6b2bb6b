// What is done to steps by hands that do not drag: earlier, later, the factor along each axis, how a step is made, a
// new one, an output stride for the whole network, trained weights kept.

import { number, placeName } from "sw/format";
import { candidates, ladder, riseOf } from "sw/shape";
import { BORDERS, idle, KEEP, moved, NOTHING, partsOf, wish, written } from "sw/state";
import { base, change, changed, errors, layer, now, read, said, view } from "sw/store";
import { html, NumberField, useState } from "sw/ui";

export const wasOf = (key) => candidates(base.value).find((c) => c.key === key)?.was ?? base.value.layers.find((r) => r.key === key)?.stride.map(number) ?? null;
const nowOf = (key) => ladder(base.value, view.value).rises.find((r) => r.key === key)?.stride ?? null;
const spotOf = (spot) => ({ original: spot.was, now: nowOf(spot.key) ?? spot.was.map(() => 1) });

// How a step can be made at a place, the usual way first, and how it is made now.
const kindsAt = (key) => base.value.kinds?.[key] ?? base.value.kinds?.[key.startsWith("+") ? "+" : ""] ?? [];
const kindNow = (key) => {
  const planned = view.value.plan?.[key]?.how;
  return planned ?? base.value.slots.find((s) => `+${s.key}` === key)?.downsample ?? kindsAt(key)[0] ?? "";
};
const wished = (wishes, key, stride, kind = kindNow(key)) => wish(wishes, key, stride, wasOf(key), kind, kindsAt(key)[0]);

// Wishes without those for the sites that step beside a step: they follow it.
export const alone = (wishes, rise) => Object.fromEntries(Object.entries(wishes).filter(([key]) => !rise.others.includes(key)));

// Another factor for a step; how it is made stays, unless it is no step any more.
export function restrided(wishes, rise, stride) {
  if (stride.every((s) => s === 1)) return wished(alone(wishes, rise), rise.key, stride, kindsAt(rise.key)[0]);
  return [rise.key, ...rise.others.filter((key) => key in wishes)].reduce((next, key) => wished(next, key, stride), wishes);
}

export const setStride = (rise, stride) => change(restrided(now.value, rise, stride));

// Another way for a step and those beside it.
const setKind = (rise, kind) =>
  change([rise.key, ...rise.others].filter((key) => kindsAt(key).includes(kind.split(":")[0])).reduce((wishes, key) => wished(wishes, key, rise.stride, kind), now.value));

// The step on to the next place where the network allows one.
export async function shift(rise, direction) {
  const places = candidates(base.value).filter((c) => c.key !== rise.key && (c.group === null || c.group !== rise.group));
  const ahead = places.filter((c) => (direction > 0 ? c.x > rise.x + 1e-6 : c.x < rise.x - 1e-6));
  if (direction < 0) ahead.reverse();
  let nearest = null; // what forbids the place beside it: one card, not one for each place tried
  for (const spot of ahead.slice(0, 6)) {
    if (await change(moved(alone(now.value, rise), rise.key, spot.key, rise.stride, wasOf(rise.key), spotOf(spot)))) {
      layer.value = view.value.layers.some((r) => r.key === spot.key) ? spot.key : layer.value;
      return spot.key;
    }
    nearest ??= errors.value;
  }
  if (nearest) errors.value = nearest;
  if (!ahead.length) said.value = "There is no place further on for this step.";
  return null;
}

function Step({ rise }) {
  const kinds = kindsAt(rise.key);
  const how = partsOf(kindNow(rise.key));
  const { kind, taps, border } = how;
  const axes = rise.stride.length;
  if (!rise.free) return html`<strong class="site">${rise.row.key}</strong> <span class="muted">its step is tied to a fixed resize and cannot change alone</span>`;
  const name = (axis) => (axes === 2 ? ["rows", "columns"][axis] : axes === 1 ? "step" : `axis ${axis}`);
  return html`<strong class="site">${placeName(rise.row.key)}</strong>
    <button type="button" onClick=${() => shift(rise, -1)}>← earlier</button><button type="button" onClick=${() => shift(rise, 1)}>later →</button>
    ${rise.stride.map((s, axis) => html`<label key=${axis}>${name(axis)}
      <${NumberField} min="1" max="64" value=${s} token=${errors.value} id=${`step-${axis}`} onCommit=${(n) => setStride(rise, rise.stride.map((old, i) => (i === axis ? n : old)))} /></label>`)}
    ${kinds.length > 1 && rise.stride.some((s) => s > 1) && html`<label>by <select id="step-kind" value=${kind} onChange=${(e) => setKind(rise, e.target.value)}>${kinds.map((k) => html`<option value=${k}>${k}</option>`)}</select></label>`}
    ${taps && html`<label title="Taps of the low-pass filter, 2 to 7">filter <${NumberField} id="step-taps" min="2" max="7" value=${taps} token=${errors.value} onCommit=${(n) => setKind(rise, written({ ...how, taps: n }))} /></label>`}
    ${border && html`<label title="How the map goes on beyond its border">border <select id="step-border" value=${border} onChange=${(e) => setKind(rise, written({ ...how, border: e.target.value }))}>${BORDERS.map((b) => html`<option value=${b} selected=${b === border}>${b}</option>`)}</select></label>`}
    <button type="button" onClick=${() => setStride(rise, rise.stride.map(() => 1))}>remove</button>`;
}

// The most any map may step: halved from what the network has, down to 1.
function OutputStride() {
  const has = Math.max(...base.value.totals.output_stride.map(number));
  const steps = [];
  for (let s = has; Number.isInteger(s) && s >= 1; s /= 2) steps.push(s);
  if (steps.length < 2) return null;
  const is = Math.max(...view.value.totals.output_stride.map(number));
  const keep = now.value[KEEP];
  const set = async (stride) => {
    const wishes = await read({ changes: {}, output_stride: stride, ...(keep ? { keep_weights: true, means: keep } : {}) }, "/api/request");
    if (wishes) change(wishes);
  };
  return html`<label>output stride <select id="output-stride" value=${is} onChange=${(e) => set(Number(e.target.value))}>
    ${[...new Set([...steps, is])].sort((a, b) => b - a).map((s) => html`<option value=${s}>${s}</option>`)}</select></label>`;
}

function Keep() {
  const means = now.value[KEEP];
  const set = (value) => {
    const { [KEEP]: _, ...rest } = now.value;
    change(value ? { ...rest, [KEEP]: value } : rest);
  };
  const mixes = view.value.weights?.reasons.length > 0;
  return html`<label class="check" title="Steps that go become dilation: every weight reads the pixels it was trained on"><input type="checkbox" id="keep" checked=${Boolean(means)} onChange=${(e) => set(e.target.checked ? "dense" : "")} /> keep trained weights (dilate)</label>
    ${means && (mixes || means === "grid") && html`<label class="check" title="Squeeze-excite and other means are taken over the positions the old network had"><input type="checkbox" id="means" checked=${means === "grid"} onChange=${(e) => set(e.target.checked ? "grid" : "dense")} /> means on the old grid</label>`}`;
}

export function Controls() {
  void errors.value; // a refused wish is drawn over: what is not so is not shown
  const shape = ladder(base.value, view.value);
  const rise = riseOf(shape, layer.value);
  const free = candidates(base.value).filter((c) => !shape.rises.some((r) => r.key === c.key || (c.group !== null && r.group === c.group)));
  const [where, setWhere] = useState("");
  const axes = base.value.layers.find((r) => r.stride.length)?.stride.length ?? 2;
  const spot = free.find((c) => c.key === where) ?? free.at(-1);
  const add = () => change(wish(now.value, spot.key, Array(axes).fill(2), spot.was)).then((done) => done && view.value.layers.some((r) => r.key === spot.key) && (layer.value = spot.key));
  return html`<div class="controls" role="group" aria-label="Change a step">
    ${rise ? html`<${Step} rise=${rise} />` : html`<span class="muted">Choose a step to change it.</span>`}</div>
    <div class="controls" role="group" aria-label="Change the network">
    <${OutputStride} />
    <${Keep} />
    ${spot && html`<span class="adder"><label><span class="unseen">Place for a new step</span><select onChange=${(e) => setWhere(e.target.value)}>
        ${free.map((c) => html`<option value=${c.key} selected=${c.key === spot.key}>${placeName(c.key)}</option>`)}</select></label>
      <button type="button" onClick=${add}>add a step of 2</button></span>`}
    ${(changed.value || !idle(now.value)) && html`<button type="button" onClick=${() => change(NOTHING)}>reset</button>`}
  </div>`;
}
