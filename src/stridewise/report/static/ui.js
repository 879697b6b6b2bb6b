// The few pieces every area is made of.

import { h, render, Fragment } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { batch, computed, effect, signal } from "@preact/signals";
import htm from "htm";
import { GLOSSARY } from "sw/glossary";

export const html = htm.bind(h);
export { render, Fragment, useEffect, useMemo, useRef, useState, batch, computed, effect, signal };

export const Panel = ({ id, title, aside, children, className = "" }) => html`
  <section class=${`panel ${className}`} id=${id} aria-labelledby=${`${id}-title`}>
    <header class="panel-head"><h2 id=${`${id}-title`}>${title}</h2><div class="aside">${aside}</div></header>
    ${children}
  </section>`;

const BADGES = { exact: "=", estimated: "~", measured: "◷", changed: "≠" };
export const Badge = ({ is }) => html`<span class=${`badge ${is}`}><span aria-hidden="true">${BADGES[is]}</span> ${is}</span>`;

// A word with what it means: on hover, on focus, and for those who hear the page.
export const Term = ({ is, children }) => html`<abbr class="term" title=${GLOSSARY[is] ?? ""}>${children ?? is}</abbr>`;

// A chart's numbers as a table, folded away until wanted.
export const Twin = ({ label, heads, rows, open = false }) => html`
  <details class="twin" open=${open}><summary>${label}</summary><div class="scroll" tabindex="0" role="region" aria-label=${label}><table class="stack" role="table">
    <thead role="rowgroup"><tr role="row">${heads.map((head) => html`<th scope="col" role="columnheader">${head}</th>`)}</tr></thead>
    <tbody role="rowgroup">${rows.map((row) => html`<tr role="row">${row.map((cell, i) => (i ? html`<td role="cell" data-head=${heads[i]}>${cell}</td>` : html`<th scope="row" role="rowheader">${cell}</th>`))}</tr>`)}</tbody>
  </table></div></details>`;

// What went wrong: the place, the reason, one fix. "where: reason. fix" is how every message here is written.
export function ErrorCard({ text, onClose, fix }) {
  const cut = text.indexOf(": ");
  const place = cut > 0 && cut < 60 ? text.slice(0, cut) : "";
  const rest = place ? text.slice(cut + 2) : text;
  return html`<div class="card error" role="alert">
    <span class="sign" aria-hidden="true">▲</span>
    <div>${place && html`<strong>${place}</strong>`}<p>${rest}</p>${fix}</div>
    ${onClose && html`<button type="button" class="quiet" aria-label="Close this message" onClick=${onClose}>✕</button>`}
  </div>`;
}

// A number that is typed, and only taken once it is finished; drawn anew, what is half typed stays. `token`: whatever
// changes when a wish is answered, for then the field shows again what is so.
// What is no whole number within its bounds is not taken: what is so stands there again, with what is wanted beside it.
export function NumberField({ value, token, onCommit, ...rest }) {
  const [text, setText] = useState(String(value));
  const [wanted, setWanted] = useState("");
  useEffect(() => setText(String(value)), [value, token]);
  useEffect(() => setWanted(""), [value]);
  const take = (event) => {
    const typed = Number(event.target.value);
    const isGood = event.target.value !== "" && Number.isInteger(typed) && typed >= Number(rest.min) && typed <= Number(rest.max);
    setWanted(isGood ? "" : `a whole number from ${rest.min} to ${rest.max} is wanted`);
    if (isGood) onCommit(typed);
    else setText((event.target.value = String(value)));
  };
  return html`<input type="number" step="1" ...${rest} value=${text} onInput=${(e) => setText(e.target.value)} onChange=${take} />${wanted && html`<span class="wanted" role="alert">${wanted}</span>`}`;
}

// Whether the window is so narrow that tables set their cells below each other.
const query = matchMedia("(max-width: 720px)");
export const narrow = signal(query.matches);
query.addEventListener("change", () => (narrow.value = query.matches));

// The width of an element, kept as it changes.
export function useWidth(start = 600) {
  const ref = useRef(null);
  const [width, setWidth] = useState(start);
  useEffect(() => {
    if (!ref.current) return;
    const watch = new ResizeObserver(([entry]) => setWidth(Math.max(220, Math.floor(entry.contentRect.width))));
    watch.observe(ref.current);
    return () => watch.disconnect();
  }, []);
  return [ref, width];
}

export function save(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 2000);
}
