// Curves and points as SVG, without a library: axes with a few round numbers, a mark for each series beside its colour.

import { ticks } from "sw/chart-ticks";
import { html, useWidth } from "sw/ui";

const DASHES = ["", "7 4", "2 4"];

export function Chart({ label, role = "img", x, y, height = 280, draw }) {
  const [ref, wide] = useWidth();
  const width = Math.max(wide, 300);
  const box = { left: 62, right: width - 26, top: 28, bottom: height - 40 };
  const on = (axis, from, to) => {
    const f = axis.log ? Math.log : (v) => v;
    const [a, b] = [f(axis.low), f(axis.high)];
    return (v) => from + ((f(v) - a) / (b - a || 1)) * (to - from);
  };
  const X = on(x, box.left, box.right);
  const Y = on(y, box.bottom, box.top);
  const at = (axis) => axis.ticks ?? ticks(axis.low, axis.high);
  const show = (axis, v) => (axis.format ? axis.format(v) : String(v));
  return html`<div ref=${ref} class="canvas"><svg class="chart" viewBox=${`0 0 ${width} ${height}`} role=${role} aria-label=${label}>
    ${at(y).map((v) => html`<g key=${v}><line class="grid" x1=${box.left} x2=${box.right} y1=${Y(v)} y2=${Y(v)} /><text x=${box.left - 7} y=${Y(v) + 4} text-anchor="end">${show(y, v)}</text></g>`)}
    ${at(x).map((v) => html`<g key=${v}><line class="grid" x1=${X(v)} x2=${X(v)} y1=${box.top} y2=${box.bottom} /><text x=${X(v)} y=${box.bottom + 16} text-anchor="middle">${show(x, v)}</text></g>`)}
    <text class="axis-name" x=${(box.left + box.right) / 2} y=${height - 4} text-anchor="middle">${x.name}</text>
    <text class="axis-name" x=${box.left - 54} y="12">${y.name}</text>
    ${draw(X, Y, box)}
  </svg></div>`;
}

export const Curve = ({ X, Y, xs, ys, series }) => html`<path class=${`curve s${series}`} stroke-dasharray=${DASHES[series]} d=${ys.map((v, i) => `${i ? "L" : "M"}${X(xs[i]).toFixed(1)} ${Y(v).toFixed(1)}`).join("")} />`;
