// Area 7: what a data set permits, as `stridewise fit` found it: sizes of objects under the stride bands. Beside a
// network its own output stride is marked; in a report of `fit` the bands stand alone.

import { Chart } from "sw/chart";
import { ticks } from "sw/chart-ticks";
import { base, extras, view } from "sw/store";
import { by, number, percent } from "sw/format";
import { html, Twin } from "sw/ui";

const name = (strides) => strides.map((s) => (s.every((v) => v === s[0]) ? s[0] : s.join("×"))).join(", ");
const plainNumber = (v) => (typeof v === "number" ? (Number.isInteger(v) ? v.toLocaleString("en") : v.toPrecision(3)) : v === null || v === undefined ? "–" : String(v));
const side = (stride) => Math.sqrt(stride.reduce((a, b) => a * b, 1));
const cell = (fact, v) => (typeof v === "number" && v >= 0 && v <= 1 && !/cells|objects|components|positions/.test(fact) ? percent(v) : plainNumber(v));

// From the band of a stride on, a square object always contains a cell centre of that stride.
const bandsOf = (found) => {
  const all = [...new Set([...found.sets, ...(found.singles ?? [])].flatMap((r) => r.strides.map((s) => side(s))))].sort((a, b) => a - b);
  return all.map((from, i) => ({ from, to: all[i + 1] ?? Infinity }));
};

function Histogram({ found, stride }) {
  const { edges, counts } = found.sizes.histogram;
  const top = Math.max(...counts);
  const bands = bandsOf(found);
  const low = Math.min(edges[0], bands[0]?.from ?? edges[0]) / 1.1;
  const high = Math.max(edges.at(-1), bands.at(-1)?.from ?? 0) * 1.1;
  const powers = [];
  for (let s = 1; s <= high; s *= 2) if (s >= low) powers.push(s);
  return html`<${Chart} label="Objects by size, in pixels, over the bands of the strides" height=${260} x=${{ name: "object size in pixels (square root of the area)", low, high, log: true, ticks: powers }} y=${{ name: "objects", low: 0, high: top * 1.05, ticks: ticks(0, top, 4) }}
    draw=${(X, Y, box) => html`
      ${bands.map((b, i) => { const [x1, x2] = [X(b.from), Math.min(X(Math.min(b.to, high)), box.right)]; return html`<g key=${i}><rect class=${`band b${i % 2}`} x=${x1} width=${Math.max(0, x2 - x1)} y=${box.top} height=${box.bottom - box.top} /><text x=${x1 + 3} y=${box.top - 5 - (i % 2) * 11}>stride ${plainNumber(b.from)}</text></g>`; })}
      ${counts.map((n, i) => html`<rect key=${i} class="column" x=${X(edges[i]) + 1} width=${Math.max(1, X(edges[i + 1]) - X(edges[i]) - 2)} y=${Y(n)} height=${Math.max(0, box.bottom - Y(n))}><title>${`${edges[i].toFixed(1)} to ${edges[i + 1].toFixed(1)} px: ${n}`}</title></rect>`)}
      ${stride > low && stride < high && html`<line class="mine" x1=${X(stride)} x2=${X(stride)} y1=${box.top} y2=${box.bottom}><title>this network's output stride, ${stride}</title></line>`}`} />
    <${Twin} label="The histogram as a table" heads=${["pixels", "objects"]} rows=${counts.map((n, i) => [`${edges[i].toFixed(1)} to ${edges[i + 1].toFixed(1)}`, n])} />`;
}

function Sets({ found }) {
  const rows = found.sets;
  const flat = (r) => ({ ...(r.overall ?? { miou: r.miou, boundary_f1: r.boundary_f1, components: r.components, vanished: r.vanished }), positions: r.positions });
  const facts = rows.length ? Object.keys(flat(rows[0])).filter((k) => k !== "name" && rows.some((r) => flat(r)[k] !== null && flat(r)[k] !== undefined)) : [];
  const chosen = (r) => found.recommended && JSON.stringify(r.strides) === JSON.stringify(found.recommended);
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Stride sets"><table><thead><tr><th scope="col">strides</th>${facts.map((f) => html`<th scope="col" key=${f}>${f.replaceAll("_", " ")}</th>`)}<th scope="col"></th></tr></thead>
      <tbody>${rows.map((r) => html`<tr key=${name(r.strides)} class=${chosen(r) ? "chosen" : ""}><th scope="row">${name(r.strides)}</th>${facts.map((f) => html`<td key=${f}>${cell(f, flat(r)[f])}</td>`)}<td>${chosen(r) ? "recommended" : ""}</td></tr>`)}</tbody></table></div>
    ${rows.some((r) => r.classes?.length > 1) && html`<${Twin} label="By class" heads=${["strides", "class", ...Object.keys(rows[0].classes[0]).filter((k) => k !== "name")].map((h) => h.replaceAll("_", " "))} rows=${rows.flatMap((r) => r.classes.map(({ name: of, ...more }) => [name(r.strides), of, ...Object.entries(more).map(([f, v]) => cell(f, v))]))} />`}
    ${rows.some((r) => r.lost?.length) && html`<${Twin} label="Pictures that lose most objects" heads=${["strides", "picture", "objects lost"]} rows=${rows.flatMap((r) => (r.lost ?? []).map((l) => [name(r.strides), l.name, l.count]))} />`}`;
}

export function Fitted({ found, stride = 0 }) {
  return html`<p class="muted">${found.lead ?? `${found.data}: ${found.pictures} pictures${found.objects ? `, ${found.objects} objects` : ""}; task ${found.task}.`}</p>
    ${found.verdict && html`<p class="answer">${found.verdict}</p>`}
    ${found.sizes?.histogram && html`<${Histogram} found=${found} stride=${stride} /><p class="muted small-text">${found.size_line ? `${found.size_line}. ` : ""}From the band of a stride on, a square object always contains a cell centre of that stride.${stride ? ` The line is this network's output stride, ${by(view.value.totals.output_stride)} (original ${by(base.value.totals.output_stride)}).` : ""}</p>`}
    <${Sets} found=${found} />
    ${found.left_out?.length > 0 && html`<h3>What was left out</h3><ul class="plain">${found.left_out.map((line) => html`<li>${line}</li>`)}</ul>`}
    <p class="muted small-text">What the data permit, not what a network learns: only training decides.</p>`;
}

export const Fit = () => html`<${Fitted} found=${extras.value.fit} stride=${number(view.value.totals.output_stride[0])} />`;
