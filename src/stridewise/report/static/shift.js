// Area 6: move the picture by 0 to 2S pixels and see how far the network's answer moves; its period is the stride.

import { Chart, Curve } from "sw/chart";
import * as jobs from "sw/jobs";
import { tab } from "sw/store";
import { html, Twin } from "sw/ui";

export function ShiftTest() {
  const job = jobs.latest("shift");
  const found = job?.state === "done" ? job.result : null;
  const old = found && found.key !== jobs.key();
  const top = found ? Math.max(...found.curves.flatMap((c) => c.change), 1e-6) : 1;
  return html`<p class="muted">The picture is moved sideways pixel by pixel, real pixels coming in at the border, and every answer is compared with the unmoved one (1 − cosine of the network's output). Dips at multiples of the output stride show what the steps do: shifts between them are sampled differently.</p>
    <div class="controls">${jobs.runs("shift") ? html`<${jobs.Progress} kind="shift" />` : html`<button type="button" onClick=${() => jobs.start("shift", {})}>${found ? "run again" : "run the shift test"}${tab.value > 0 ? " for original and plan" : ""}</button>`}
      ${old && html`<span class="muted">the curves below belong to an earlier plan</span>`}</div>
    ${found && html`<${Chart} label="Change of the output against the shift" x=${{ name: "shift in pixels", low: 0, high: found.shifts.at(-1) }} y=${{ name: "change (measured)", low: 0, high: top * 1.05, format: (v) => v.toPrecision(2) }}
        draw=${(X, Y, box) => html`
          ${found.shifts.filter((s) => s && s % found.stride === 0).map((s) => html`<line key=${s} class="marker" x1=${X(s)} x2=${X(s)} y1=${box.top} y2=${box.bottom} />`)}
          ${found.curves.map((c, i) => html`<${Curve} key=${c.plan} X=${X} Y=${Y} xs=${found.shifts} ys=${c.change} series=${i} />`)}`} />
      <p class="legend">${found.curves.map((c, i) => html`<span key=${c.plan} class=${`key s${i}`}></span>${c.plan}`)} <span class="key marker"></span>multiples of the original's output stride, ${found.stride}${found.random ? " · weights are random" : ""}</p>
      <${Twin} label="The curves as a table" heads=${["shift", ...found.curves.map((c) => c.plan)]} rows=${found.shifts.map((s, i) => [s, ...found.curves.map((c) => c.change[i].toPrecision(3))])} />`}`;
}
