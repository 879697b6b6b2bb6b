// Area 7: what a data set permits, as `stridewise fit --json` found it: sizes of objects under the stride bands.

import { Chart } from "sw/chart";
import { ticks } from "sw/chart-ticks";
import { base, extras, view } from "sw/store";
import { by, number } from "sw/format";
import { html, Twin } from "sw/ui";

const percent = (v) => (v === null || v === undefined ? "–" : `${(100 * v).toFixed(1)} %`);
const name = (strides) => strides.map((s) => (s.every((v) => v === s[0]) ? s[0] : s.join("×"))).join(", ");
const plainNumber = (v) => (typeof v === "number" ? (Number.isInteger(v) ? v : v.toPrecision(3)) : v === null || v === undefined ? "–" : String(v));

function Histogram({ sizes }) {
  const { edges, counts } = sizes.histogram;
  const top = Math.max(...counts);
  const powers = [];
  for (let s = 1; s <= edges.at(-1); s *= 2) if (s >= edges[0]) powers.push(s);
  const stride = number(view.value.totals.output_stride[0]);
  return html`<${Chart} label="Objects by size, in pixels" height=${240} x=${{ name: "object size in pixels (square root of the area)", low: edges[0], high: edges.at(-1), log: true, ticks: powers }} y=${{ name: "objects", low: 0, high: top * 1.05, ticks: ticks(0, top, 4) }}
    draw=${(X, Y, box) => html`
      ${stride > edges[0] && html`<rect class="band" x=${box.left} y=${box.top} width=${Math.max(0, Math.min(X(Math.min(stride, edges.at(-1))), box.right) - box.left)} height=${box.bottom - box.top}><title>smaller than this plan's output stride, ${stride}</title></rect>`}
      ${counts.map((n, i) => html`<rect key=${i} class="column" x=${X(edges[i]) + 1} width=${Math.max(1, X(edges[i + 1]) - X(edges[i]) - 2)} y=${Y(n)} height=${Math.max(0, box.bottom - Y(n))}><title>${`${edges[i].toFixed(1)} to ${edges[i + 1].toFixed(1)} px: ${n}`}</title></rect>`)}`} />`;
}

export function Fit() {
  const found = extras.value.fit;
  const rows = found.sets ?? [];
  const facts = rows.length ? Object.keys(rows[0].overall ?? {}).filter((k) => !["name", "objects"].includes(k) && rows.some((r) => r.overall[k] !== null)) : [];
  const same = (r) => found.recommended && JSON.stringify(r.strides) === JSON.stringify(found.recommended);
  return html`<p class="muted">${found.data}: ${found.pictures} pictures${found.objects ? `, ${found.objects} objects` : ""}; task ${found.task}. What the data permit, not what a network learns: only training decides.</p>
    ${found.sizes?.histogram && html`<${Histogram} sizes=${found.sizes} /><p class="legend"><span class="key band"></span>smaller than the output stride in hand (${by(view.value.totals.output_stride)}); original ${by(base.value.totals.output_stride)}</p>`}
    <div class="scroll" tabindex="0" role="region" aria-label="Stride sets"><table><thead><tr><th scope="col">strides</th>${facts.map((f) => html`<th scope="col" key=${f}>${f.replaceAll("_", " ")}</th>`)}<th scope="col"></th></tr></thead>
      <tbody>${rows.map((r) => html`<tr key=${name(r.strides)} class=${same(r) ? "chosen" : ""}><th scope="row">${name(r.strides)}</th>${facts.map((f) => html`<td key=${f}>${typeof r.overall[f] === "number" && r.overall[f] >= 0 && r.overall[f] <= 1 && !/cells/.test(f) ? percent(r.overall[f]) : plainNumber(r.overall[f])}</td>`)}<td>${same(r) ? "recommended" : ""}</td></tr>`)}</tbody></table></div>
    ${rows.some((r) => r.lost?.length) && html`<${Twin} label="Pictures that lose most objects" heads=${["strides", "picture", "objects lost"]} rows=${rows.flatMap((r) => (r.lost ?? []).map((l) => [name(r.strides), l.name, l.count]))} />`}`;
}
