// What `stridewise measure` found: its tables as Python wrote them, and shares as bars.

import { placeName } from "sw/format";
import { html } from "sw/ui";

export const DataTable = ({ table }) => html`${table.title && html`<h3>${table.title}</h3>`}
  <div class="scroll" tabindex="0" role="region" aria-label=${table.title || "Figures"}><table>
    <thead><tr>${table.head.map((cell, i) => html`<th scope="col" key=${i} class=${table.left?.includes(i) ? "words" : ""}>${cell}</th>`)}</tr></thead>
    <tbody>${table.rows.map((row, at) => html`<tr key=${at} class=${table.strong.includes(at) ? "chosen" : ""}>${row.map((cell, i) => (i ? html`<td class=${["exact", "estimated", "measured"].includes(cell) ? `badge-cell ${cell}` : table.left?.includes(i) ? "words" : ""}>${cell}</td>` : html`<th scope="row" class=${cell.startsWith("  ") ? "under" : ""}>${placeName(cell.trim())}</th>`))}</tr>`)}</tbody></table></div>
  ${table.notes.map((note) => html`<p class="muted small-text" key=${note}>${note}</p>`)}`;

const Bars = ({ bars }) => html`<h3>${bars.title}</h3><ul class="bars">${bars.rows.map((row, i) => html`<li key=${i}><span class="bar-name" title=${row.name}>${row.name}</span>
  <span class="bar-room"><span class="bar-fill" style=${{ width: `${100 * row.share}%` }}></span></span><span class="bar-share">${(100 * row.share).toFixed(1)} %</span></li>`)}</ul>`;

export const Measured = ({ found }) => html`<p class="muted">${found.lead}</p>
  ${found.tables.map((table, i) => html`<${DataTable} key=${i} table=${table} />`)}
  ${found.bars.map((bars) => html`<${Bars} key=${bars.title} bars=${bars} />`)}
  ${found.said.length > 0 && html`<h3>Findings and notes</h3><ul class="plain">${found.said.map((line) => html`<li key=${line}>${line}</li>`)}</ul>`}`;
