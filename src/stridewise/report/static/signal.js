// A convolution of one row of pixels, as the signal it is: samples above, what each stride keeps of the answer below.

import { Chart } from "sw/chart";
import { html } from "sw/ui";

const range = (values) => [Math.min(0, ...values), Math.max(0, ...values, 1e-6)];

// Where a cell of the answer stands over the samples: in the middle of its window.
const middle = (axis, i) => { const [from, span] = axis.windows[i]; return from + (span - 1) / 2; };

export function Signal({ found, maps, which, cell, onCell }) {
  const samples = found.pixels[0];
  const axis = maps[which].axes[1];
  const [from, span] = axis.windows[cell[1]];
  const x = { name: "column", low: -axis.begin - 0.5, high: samples.length - 0.5 + axis.end };
  const [low, high] = range(samples);
  return html`<div class="signals"><${Chart} label="The row of pixels, one sample a column" x=${x} y=${{ name: "brightness", low, high, format: (v) => v.toFixed(1) }} height=${190} draw=${(X, Y) => html`
      <rect class="window-1d" x=${X(from - 0.5)} width=${X(from + span - 0.5) - X(from - 0.5)} y=${Y(high)} height=${Y(low) - Y(high)} />
      ${samples.map((v, i) => html`<g key=${i}><line class="stem" x1=${X(i)} x2=${X(i)} y1=${Y(0)} y2=${Y(v)} /><circle class="sample" cx=${X(i)} cy=${Y(v)} r="3.4" /></g>`)}`} />
    ${maps.map((map, n) => {
      const out = map.out[0];
      const [least, most] = range(out);
      return html`<${Chart} key=${n} label=${`The answer at stride ${map.stride[1]}: ${out.length} samples`} role="group" x=${x} y=${{ name: `stride ${map.stride[1]}: ${out.length} samples`, low: least, high: most, format: (v) => String(Number(v.toPrecision(2))) }} height=${190} draw=${(X, Y) => html`
        <line class="zero" x1=${X(x.low)} x2=${X(x.high)} y1=${Y(0)} y2=${Y(0)} />
        ${out.map((v, i) => html`<g key=${i} class=${`answer ${v < 0 ? "minus" : "plus"} ${n === which && i === cell[1] ? "chosen" : ""}`} onClick=${() => onCell(n, [0, i])}><line x1=${X(middle(map.axes[1], i))} x2=${X(middle(map.axes[1], i))} y1=${Y(0)} y2=${Y(v)} /><circle cx=${X(middle(map.axes[1], i))} cy=${Y(v)} r="4.2" /></g>`)}`} />`;
    })}</div>`;
}
