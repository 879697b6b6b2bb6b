// Parallel coordinates: one axis for each place where plans differ, then cost and accuracy; one line a plan.

import { count, once, percent } from "sw/format";
import { metricOf, role, words } from "sw/study";
import { html, useWidth } from "sw/ui";

const TOP = 46;
const HEIGHT = 300;
const WIDEST = 12; // axes side by side; more make names unreadable, so the drawing scrolls

export function Coordinates({ study, load, lit, setLit }) {
  const [ref, wide] = useWidth();
  const places = study.axes.map((axis) => ({ name: axis.name, title: axis.sites.join(", "), values: axis.strides.map((s) => Math.log2(s.reduce((a, b) => a * b, 1)) / s.length), shown: axis.strides.map(once) }));
  const figures = [
    { name: "multiply-adds", title: "exact", values: study.plans.map((p) => p.macs.value), shown: study.plans.map((p) => count(p.macs.value)) },
    { name: metricOf(study), title: "measured", values: study.plans.map((p) => p.accuracy?.mean ?? null), shown: study.plans.map((p) => percent(p.accuracy?.mean)) },
  ];
  const axes = [...places, ...figures];
  const width = Math.max(wide, Math.min(axes.length, WIDEST) * 78, axes.length * 62);
  const X = (i) => 46 + (i * (width - 120)) / Math.max(axes.length - 1, 1);
  const ends = axes.map((axis) => { const known = axis.values.filter((v) => v !== null); return [Math.min(...known), Math.max(...known)]; });
  const Y = (i, v) => { const [a, b] = ends[i]; return v === null ? HEIGHT - 30 : HEIGHT - 44 - ((v - a) / (b - a || 1)) * (HEIGHT - TOP - 58); };
  const marks = (axis, i) => [...new Map(axis.values.map((v, n) => [v, axis.shown[n]])).entries()].filter(([v]) => v !== null && (i < places.length || v === ends[i][0] || v === ends[i][1]));
  // Names at the right end, pushed apart where plans end close together.
  const last = axes.length - 1;
  const endsAt = new Map();
  let below = -Infinity;
  for (const n of [...study.plans.keys()].sort((a, b) => Y(last, figures[1].values[a]) - Y(last, figures[1].values[b]))) {
    below = Math.max(Y(last, figures[1].values[n]), below + 13);
    endsAt.set(n, below);
  }
  const short = (name) => (name.length > 13 ? `…${name.slice(-12)}` : name);
  return html`<div ref=${ref} class="canvas" tabindex="0" role="region" aria-label="Where each plan steps"><svg class="chart" style=${{ minWidth: `${width}px` }} viewBox=${`0 0 ${width} ${HEIGHT}`} role="group" aria-label="One axis for each place that steps, one line for each plan; the table above holds the same">
    ${axes.map((axis, i) => html`<g key=${i}><line class="rod" x1=${X(i)} x2=${X(i)} y1=${TOP} y2=${HEIGHT - 40} /><text class="axis-name" text-anchor="middle" x=${X(i)} y=${i % 2 ? 30 : 14}>${short(axis.name)}<title>${axis.title}</title></text>
      ${marks(axis, i).map(([v, text]) => html`<text key=${v} x=${X(i) + (i === last ? -5 : 5)} y=${Y(i, v) + 13} text-anchor=${i === last ? "end" : "start"}>${i < places.length ? `÷${text}` : text}</text>`)}</g>`)}
    ${study.plans.map((p, n) => html`<g key=${p.name} class=${`line ${role(study, p)} ${lit === p.name ? "lit" : ""}`} tabindex="0" role=${load ? "button" : "img"} aria-label=${`${load ? "Load " : ""}${words(study, p)}`} onPointerEnter=${() => setLit(p.name)} onPointerLeave=${() => setLit("")} onFocus=${() => setLit(p.name)} onBlur=${() => setLit("")}
        onClick=${() => load?.(p)} onKeyDown=${(e) => load && (e.key === "Enter" || e.key === " ") && (e.preventDefault(), load(p))}>
      <title>${words(study, p)}</title><path class="wide" d=${axes.map((axis, i) => `${i ? "L" : "M"}${X(i)} ${Y(i, axis.values[n])}`).join("")} /><path d=${axes.map((axis, i) => `${i ? "L" : "M"}${X(i)} ${Y(i, axis.values[n])}`).join("")} />
      <text x=${X(last) + 8} y=${endsAt.get(n) + 4}>${p.name}</text></g>`)}</svg></div>`;
}
