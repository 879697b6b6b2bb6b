// Areas whose answer is a document made by the server: input sizes that work, a chip's limits, another network beside.

import { number, placeName, quoted } from "sw/format";
import { DataTable } from "sw/measured";
import { Lost, post } from "sw/net";
import { request } from "sw/state";
import { base, complain, extras, layer, look, network, networks, now, scale, unit } from "sw/store";
import { html, NumberField, useEffect, useState } from "sw/ui";

// What the server says to the plan in hand and `more`: the newest question counts, and the last answer stays until then.
function useAnswer(path, more) {
  const [answer, setAnswer] = useState({});
  const asked = JSON.stringify({ network: network.value, ...request(now.value), ...(scale.value ? { scale: unit.value } : {}), ...more });
  useEffect(() => {
    let stale = false;
    const keep = (found) => stale || setAnswer({ asked, ...found });
    const soon = setTimeout(() => post(path, JSON.parse(asked)).then((found) => keep({ found }), (error) => (error instanceof Lost ? complain(error) : keep({ why: error.message }))), 100);
    return () => {
      stale = true;
      clearTimeout(soon);
    };
  }, [path, asked]);
  return { ...answer, old: answer.asked !== asked };
}

const Remark = ({ of }) => html`<li class=${of.level}><span class="tag">${{ error: "✖", warning: "▲", info: "ℹ" }[of.level]} ${of.label} ${of.level}</span>
  ${base.value.layers.some((r) => r.key === of.about) && html`<button type="button" class="link" onClick=${() => (layer.value = of.about)}>${placeName(of.about)}</button>`}
  <span> ${of.text.replace(`${of.about}: `, "")}</span></li>`;

const Part = ({ of }) => html`${["facts", "remarks"].includes(of.kind) && of.title && html`<h3>${of.title}</h3>`}
  ${of.kind === "table" && html`<${DataTable} table=${of} />`}
  ${of.kind === "facts" && html`<dl class="formulas">${of.rows.map(([name, text]) => html`<div key=${name}><dt>${name}</dt><dd>${text}</dd></div>`)}</dl>`}
  ${of.kind === "remarks" && (of.rows.length ? html`<ul class="findings">${of.rows.map((row, i) => html`<${Remark} key=${i} of=${row} />`)}</ul>` : of.none && html`<p class="muted">${of.none}</p>`)}
  ${of.kind === "chart" && html`<img class="drawn" src=${of.data} alt=${of.words} />`}`;

function Sheet({ answer, waiting }) {
  const { found, why, old } = answer;
  if (why) return html`<p class="note" role="alert">${why}</p>`;
  if (!found) return html`<p class="muted" aria-busy="true">${waiting} …</p>`;
  return html`<div class="sheet-parts" aria-busy=${old}>${found.lead.map((line) => html`<p class="muted" key=${line}>${line}</p>`)}
    ${found.parts.map((part, i) => html`<${Part} key=${i} of=${part} />`)}
    ${found.notes.map((note) => html`<p class="muted small-text" key=${note}>${note}</p>`)}</div>`;
}

// Which pictures the network takes, and the least to pad or crop one that it does not.
export function InputSizes() {
  const shape = Array.isArray(base.value.input) ? base.value.input.slice(2) : Object.values(base.value.input)[0].slice(2);
  const [text, setText] = look("near", "");
  const typed = text.split("x").map(Number);
  const near = typed.length === shape.length && typed.every((n) => Number.isInteger(n) && n > 0) ? typed : shape;
  const answer = useAnswer("/api/sizes", { near });
  const above = answer.found?.works ? near : answer.found?.above ?? [];
  const channels = (Array.isArray(base.value.input) ? base.value.input : Object.values(base.value.input)[0])[1];
  const others = !Array.isArray(base.value.input);
  const set = (axis, n) => setText(near.map((old, i) => (i === axis ? n : old)).join("x"));
  return html`<p class="muted">Which inputs the network runs on, worked out from every window, sum and reshape; below it who refuses the others, and what to do with an input of your own size.</p>
    <div class="tools" role="group" aria-label="Your input">${near.map((n, axis) => html`<label key=${axis}>your ${near.length === 2 ? ["rows", "columns"][axis] : near.length === 1 ? "length" : `axis ${axis}`} <${NumberField} id=${`near-${axis}`} min="1" max="1000000" value=${n} onCommit=${(typed) => set(axis, typed)} /></label>`)}
      ${!others && above.length > 0 && !above.includes(null) && above.some((n, i) => n !== shape[i]) && html`<span class="muted">to open it so: <code>stridewise serve ${quoted(networks.value[network.value].name)} --input ${[channels, ...above].join("x")}</code></span>`}</div>
    <${Sheet} answer=${answer} waiting="working out the sizes" />`;
}

// What a chip or compiler does not take of the plan in hand.
export function ChipLimits() {
  const chips = extras.value.chips ?? [];
  const [wanted, setWanted] = look("chip", "");
  const chip = chips.find((c) => c.name === wanted)?.name ?? chips[0].name;
  const answer = useAnswer("/api/chip", { target: chip });
  const { before, now: is } = answer.found ?? {};
  return html`<div class="tools"><label>chip <select id="chip" onChange=${(e) => setWanted(e.target.value)}>${chips.map((c) => html`<option key=${c.name} value=${c.name} selected=${c.name === chip}>${c.name}</option>`)}</select></label>
      ${answer.found && html`<span class="muted" id="chip-count" role="status">${is === 0 ? "no limit broken" : `${is} limit${is > 1 ? "s" : ""} broken`}${before === is ? "" : `, ${before} in the original`}</span>`}</div>
    <${Sheet} answer=${answer} waiting="comparing with the limits" />`;
}

// The plan in hand beside another network of this start.
export function Beside() {
  const others = networks.value.map((n, i) => [i, n.name]).filter(([i]) => i !== network.value);
  const [wanted, setWanted] = look("beside", "");
  const [other, name] = others.find(([, n]) => n === wanted) ?? others[0];
  const answer = useAnswer("/api/beside", { other });
  return html`<div class="tools"><label>beside <select id="beside" onChange=${(e) => setWanted(e.target.value)}>${others.map(([i, n]) => html`<option key=${i} value=${n} selected=${i === other}>${n}</option>`)}</select></label>
      <span class="muted">layers are aligned by what they do, not by their names; both keep the input they were opened with</span></div>
    <${Sheet} answer=${answer} waiting=${`tracing ${name}`} />`;
}
