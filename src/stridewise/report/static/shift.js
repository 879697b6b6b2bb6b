// Area 6: move the picture by 0 to 2S pixels and see how far the network's answer moves; its period is the stride.

import { Chart, Curve } from "sw/chart";
import * as jobs from "sw/jobs";
import { percent } from "sw/format";
import { compared, look } from "sw/store";
import { html, Twin, useRef } from "sw/ui";

const coarsest = (found) => Math.max(...found.curves.map((c) => c.stride));
// The largest, and each plan's own where they differ.
const strides = (found) => `${coarsest(found)}, the coarsest stride${new Set(found.curves.map((c) => c.stride)).size > 1 ? ` (${found.curves.map((c) => `${c.plan} ${c.stride}`).join(", ")})` : ""}`;

const NOISE = 1e-4; // of the change another picture makes: below it float32 rounds

const boxes = (found) => found.curves.every((c) => c.of === "boxes");

// The picture behind the network's window, dragged or moved by the range below it; the answer's change stands beside.
function Moved({ found, shift, setShift }) {
  const frame = useRef(null);
  const far = found.shifts.at(-1);
  const [rows, columns] = found.size;
  const sideways = found.axis === 1;
  const grab = (event) => {
    event.preventDefault();
    const box = frame.current.getBoundingClientRect();
    const from = sideways ? event.clientX : event.clientY;
    const unit = (sideways ? box.width : box.height) / (sideways ? columns : rows);
    const begun = shift;
    const move = (e) => setShift(Math.min(far, Math.max(0, Math.round(begun + (from - (sideways ? e.clientX : e.clientY)) / unit))));
    const stop = () => ["pointermove", "pointerup", "pointercancel"].forEach((name) => window.removeEventListener(name, name === "pointermove" ? move : stop));
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", stop);
    window.addEventListener("pointercancel", stop);
  };
  const wide = sideways ? columns + far : columns;
  const high = sideways ? rows : rows + far;
  const style = { width: `${(100 * wide) / columns}%`, height: `${(100 * high) / rows}%`, left: sideways ? `${(-100 * shift) / columns}%` : 0, top: sideways ? 0 : `${(-100 * shift) / rows}%` };
  const lines = [];
  const stride = coarsest(found);
  for (let at = stride; at < (sideways ? columns : rows); at += stride) lines.push(at);
  return html`<figure class="moved"><div class="frame drag" ref=${frame} style=${{ aspectRatio: `${columns} / ${rows}` }} onPointerDown=${grab}>
      <img src=${found.picture} alt="the picture, moved behind the network's window" style=${style} draggable=${false} />
      <svg class="overlay" viewBox=${`0 0 ${columns} ${rows}`} aria-hidden="true">${lines.map((at) => html`<line key=${at} class="cut" x1=${sideways ? at : 0} x2=${sideways ? at : columns} y1=${sideways ? 0 : at} y2=${sideways ? rows : at} />`)}</svg></div>
    <label class="wipe">moved by <input type="range" id="shift-by" min="0" max=${far} value=${shift} onInput=${(e) => setShift(Number(e.target.value))} /> <output>${shift} px</output></label>
    <p class="caption">${found.curves.map((c) => (boxes(found) ? `${c.plan}: ${percent(c.change[shift], 0)} of the boxes are not found again` : `${c.plan}: change ${c.change[shift].toPrecision(2)}`)).join("; ")}${shift && found.curves.every((c) => shift % c.stride === 0) ? `, a multiple of ${strides(found)}: every step meets the same pixels` : ""}</p></figure>`;
}

// The curves' names over their right ends, a line apart: a picture of the chart says whose they are by itself.
function names(found, Y) {
  const rows = found.curves.map((c, i) => [i, c.plan, Y(c.change.at(-1)) - 8]).sort((a, b) => b[2] - a[2]);
  rows.forEach((now, at) => at && (now[2] = Math.min(now[2], rows[at - 1][2] - 14)));
  return rows.sort((a, b) => a[0] - b[0]).map(([, plan, y]) => [plan, y]);
}

export function ShiftTest() {
  const job = jobs.latest("shift");
  const found = job?.state === "done" ? job.result : null;
  const old = found && !jobs.current(job);
  const [axis, setAxis] = look("axis", 1);
  const [shift, setShift] = look("moved", 0);
  const at = found ? Math.min(shift, found.shifts.at(-1)) : 0;
  const plain = found && found.curves.every((c) => Math.max(...c.change) < NOISE);
  const top = found ? Math.max(...found.curves.flatMap((c) => c.change), 1e-6) : 1;
  return html`<p class="muted">The picture is moved pixel by pixel, real pixels coming in at the border, and every answer is compared with the unmoved one: 0 is no change, 1 as much as another photograph makes; an answer that is itself a map is moved back first, and of boxes the share counts that is not found again. Dips at multiples of the coarsest stride show what the steps do: shifts between them are sampled differently.</p>
    <div class="controls"><label>moved <select id="shift-axis" onChange=${(e) => setAxis(Number(e.target.value))}><option value="1" selected=${axis === 1}>sideways</option><option value="0" selected=${axis === 0}>up and down</option></select></label>
      <${jobs.Against} id="shift-against" />
      <${jobs.Start} kind="shift" onClick=${() => jobs.start("shift", { axis })}>${found ? "run again" : "run the shift test"} for ${compared.value.map((p) => p.name).join(" and ")}<//>
      ${old && html`<span class="muted">what is shown below belongs to other plans or another picture</span>`}</div>
    ${plain && html`<p class="note" role="status">Moving this picture changes nothing: it is plain, or the network does not look at where things are. What is left (${Math.max(...found.curves.flatMap((c) => c.change)).toPrecision(1)} at most) is rounding. Choose a picture with something in it.</p>`}
    ${found && !plain && html`<div class="beside"><${Moved} found=${found} shift=${at} setShift=${setShift} /><div><${Chart} label=${boxes(found) ? "Boxes not found again, against the shift" : "Change of the output against the shift"} x=${{ name: "shift in pixels", low: 0, high: found.shifts.at(-1) }} y=${{ name: boxes(found) ? "boxes not found again (measured share)" : "change (measured)", low: 0, high: top * 1.05, format: (v) => String(Number(v.toPrecision(2))) }}
        draw=${(X, Y, box) => html`
          ${found.shifts.filter((s) => s && s % coarsest(found) === 0).map((s) => html`<line key=${s} class="marker" x1=${X(s)} x2=${X(s)} y1=${box.top} y2=${box.bottom} />`)}
          ${found.curves.length > 1 && names(found, Y).map(([plan, y], i) => html`<text key=${plan} class=${`of s${i}`} x=${box.right - 2} y=${y} text-anchor="end">${plan}</text>`)}
          ${found.curves.map((c, i) => html`<${Curve} key=${c.plan} X=${X} Y=${Y} xs=${found.shifts} ys=${c.change} series=${i} />`)}
          <line class="cursor" x1=${X(at)} x2=${X(at)} y1=${box.top} y2=${box.bottom} />${found.curves.map((c, i) => html`<circle key=${i} class=${`now s${i}`} r="4.5" cx=${X(at)} cy=${Y(c.change[at])} />`)}`} />
      <p class="legend">${found.curves.map((c, i) => html`<span key=${c.plan} class=${`key s${i}`}></span>${c.plan}`)} <span class="key marker"></span>multiples of ${strides(found)}${found.random ? " · weights are random (start with --weights FILE for trained ones)" : ""}</p></div></div>
      <${Twin} label="The curves as a table" heads=${["shift", ...found.curves.map((c) => c.plan)]} rows=${found.shifts.map((s, i) => [s, ...found.curves.map((c) => c.change[i].toPrecision(3))])} />`}`;
}
