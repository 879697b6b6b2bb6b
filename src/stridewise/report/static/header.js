// The head of the page: which network, which plan, back and forth, share and take away.

import { address } from "sw/address";
import { post } from "sw/net";
import { openNetwork } from "sw/opening";
import { once } from "sw/format";
import { idle, NOTHING, request, tabLetter } from "sw/state";
import {
  addTab, answers, base, busy, changed, closeTab, complain, goBack, goForth, live, network, networks, now, opening,
  read, look, scale, tab, tabs, tell, unit, whole,
} from "sw/store";
import { html, save, useEffect, useRef, useState } from "sw/ui";
import { drawnPanels, pictureOf } from "sw/snapshot";

const LARGEST = 1 << 20;

const inputShape = () => {
  const shape = base.value?.input ?? [];
  return (Array.isArray(shape) ? shape : Object.values(shape)[0]).slice(2);
};
const inputText = () => {
  const shape = base.value?.input;
  return Array.isArray(shape) ? shape.slice(1).join("×") : Object.entries(shape ?? {}).map(([n, s]) => `${n} ${s.slice(1).join("×")}`).join(", ");
};

// What a position of the input measures: lengths are then said in that unit too.
function Unit() {
  const [, setText] = look("unit", "");
  const axes = inputShape().length;
  const [one, example] = axes === 1 ? ["a sample is", "16000Hz"] : axes === 3 ? ["a voxel is", "1x1x3mm"] : ["a pixel is", "0.3m"];
  const is = scale.value ? `${once(scale.value.step.map((v) => Number(v.toPrecision(6))))}${scale.value.unit}` : "";
  return html`<label class="unit muted" title=${`What one position of the input measures, as ${example}: strides and fields are then said in that unit too`}>${one} <input id="unit" size="7" maxlength="40" spellcheck="false" autocomplete="off" placeholder=${example} value=${unit.value || is} onChange=${(e) => setText(e.target.value.trim())} /></label>`;
}

function Tabs() {
  const label = (i) => (i === 0 ? "original" : live ? "" : Object.keys(tabs.value[i].now)[0]);
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    tab.value = (tab.value + step + tabs.value.length) % tabs.value.length;
    event.currentTarget.querySelectorAll("[role=tab]")[tab.value]?.focus();
  };
  return html`<div class="tabs"><div role="tablist" aria-label="Plans" onKeyDown=${move}>
    ${tabs.value.map((h, i) => {
      const edited = i > 0 && (answers.value[i] ?? null) !== null;
      return html`<button type="button" role="tab" key=${i} id=${`tab-${i}`} aria-selected=${tab.value === i} tabindex=${tab.value === i ? 0 : -1}
        aria-controls="ladder" onClick=${() => (tab.value = i)}>
        <b>${tabLetter(i)}</b> ${label(i)}${live && i > 0 ? (edited ? "changed" : "no change yet") : ""}</button>`;
    })}</div>
    ${live && html`<button type="button" class="quiet" onClick=${() => addTab(tabs.value[tab.value]?.now ?? NOTHING)} title="Another plan, beginning from this one" aria-label="Add a plan">+</button>`}
    ${live && tab.value > 0 && tabs.value.length > 2 && html`<button type="button" class="quiet" onClick=${() => closeTab(tab.value)} aria-label=${`Close plan ${tabLetter(tab.value)}`}>✕</button>`}
  </div>`;
}

function Take() {
  const [open, setOpen] = useState(false);
  const menu = useRef(null);
  const buttons = () => [...menu.current.querySelectorAll("button")];
  // Arrows go through the list, Escape closes it; the hand is then where it was.
  const keys = (event) => {
    if (event.key === "Escape") {
      setOpen(false);
      buttons()[0].focus();
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    setOpen(true);
    requestAnimationFrame(() => {
      const list = buttons().slice(1);
      const at = list.indexOf(document.activeElement);
      list[at < 0 ? (step > 0 ? 0 : list.length - 1) : (at + step + list.length) % list.length]?.focus();
    });
  };
  useEffect(() => {
    const away = (event) => menu.current.contains(event.target) || setOpen(false);
    const heard = ["pointerdown", "focusin"];
    if (open) heard.forEach((name) => document.addEventListener(name, away));
    return () => heard.forEach((name) => document.removeEventListener(name, away));
  }, [open]);
  const taken = async (form) => {
    try {
      const found = await post("/api/export", { network: network.value, ...request(now.value) });
      if (form === "toml") save("plan.toml", found.toml, "application/toml");
      else await copied(form === "python" ? found.python : found.command, form === "python" ? "The Python lines are" : "The command is");
    } catch (error) {
      complain(error);
    }
    setOpen(false);
    buttons()[0].focus();
  };
  const all = async () => {
    const { layers, totals, outputs } = await whole();
    save("stridewise.json", JSON.stringify({ model: base.value.model, input: base.value.input, totals, outputs, layers }, null, 1), "application/json");
    setOpen(false);
  };
  const report = async () => {
    try {
      const plans = tabs.value.flatMap((h, i) => (idle(h.now) ? [] : [{ name: `plan ${tabLetter(i)}`, ...request(h.now) }]));
      save("report.html", (await post("/api/report", { network: network.value, plans, ...(scale.value ? { scale: unit.value } : {}) })).html, "text/html");
    } catch (error) {
      complain(error);
    }
    setOpen(false);
  };
  const drawn = async (panel, form) => {
    try {
      await pictureOf(panel, form);
    } catch (error) {
      complain(error);
    }
    setOpen(false);
  };
  return html`<div class="menu" ref=${menu} onKeyDown=${keys}>
    <button type="button" aria-expanded=${open} aria-controls="take" onClick=${() => setOpen(!open)}>Export ▾</button>
    ${open && html`<div class="menu-list" id="take">
      ${live && changed.value && html`<button type="button" onClick=${() => taken("toml")}>Plan (TOML)</button>
        <button type="button" onClick=${() => taken("python")}>Copy Python lines</button>
        <button type="button" onClick=${() => taken("command")}>Copy the command</button>`}
      <button type="button" onClick=${all}>Numbers (JSON)</button>
      ${live && html`<button type="button" onClick=${report}>Report (HTML, one file)</button>`}
      ${drawnPanels().flatMap((panel) => panel.forms.map((form) => html`<button type="button" key=${panel.name + form} onClick=${() => drawn(panel, form)}>${panel.name} (${form.toUpperCase()})</button>`))}
    </div>`}
  </div>`;
}

// A plan file, or an earlier export, as a new plan on this network; what it asks is judged by the server.
function Open() {
  const take = async (event) => {
    const file = event.target.files[0];
    event.target.value = "";
    if (!file) return;
    if (file.size > LARGEST) return complain(new Error(`${file.name}: too large for a plan: choose what Export gave as TOML`));
    const wishes = await read({ toml: await file.text() });
    if (wishes) addTab(wishes);
  };
  return html`<label class="button" title="A plan file (TOML) as another plan">Open<input class="unseen" id="open-plan" type="file" accept=".toml,text/plain" onChange=${take} /></label>`;
}

async function copied(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    tell(`${what} on the clipboard.`);
  } catch {
    save("stridewise.txt", text, "text/plain");
    tell(`${what} in the file stridewise.txt: this browser gives no clipboard.`);
  }
}

export function Header() {
  const h = tabs.value[tab.value];
  return html`<header class="head">
    <div class="brand"><svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true"><rect width="32" height="32" rx="7" /><path d="M6 9h7v7h7v7h6" /></svg>
      <h1>Stridewise</h1></div>
    ${base.value || networks.value.length
      ? html`<label class="which"><span class="unseen">Network</span>
          ${networks.value.length > 1
            ? html`<select id="network" value=${opening.value < 0 ? network.value : opening.value} onChange=${(e) => openNetwork(Number(e.target.value))}>
                ${networks.value.map((n, i) => html`<option value=${i} selected=${i === (opening.value < 0 ? network.value : opening.value)}>${n.name}</option>`)}</select>`
            : html`<strong>${networks.value[0]?.name}</strong>`}
          <span class="muted">${base.value ? `input ${inputText()}` : ""}</span></label>${live && base.value && html`<${Unit} />`}`
      : null}
    ${base.value && !busy.value && html`<${Tabs} />
      <div class="actions">
        ${live && html`<button type="button" onClick=${goBack} disabled=${!h?.past.length} title="Undo (Ctrl+Z)" aria-label="Undo">↶</button>
          <button type="button" onClick=${goForth} disabled=${!h?.future.length} title="Redo (Ctrl+Y)" aria-label="Redo">↷</button>
          <button type="button" onClick=${() => copied(`${location.origin}/#${address()}`, "The address, with all plans, is")} title="Copy the address: it opens the same plans here; what comes after # does so in another start">Share</button>`}
        ${live && html`<${Open} />`}
        <${Take} />
      </div>`}
  </header>`;
}

if (live)
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || /^(input|textarea)$/i.test(event.target.tagName)) return;
    const key = event.key.toLowerCase();
    if (key === "z" && !event.shiftKey) goBack();
    else if (key === "y" || (key === "z" && event.shiftKey)) goForth();
    else return;
    event.preventDefault();
  });
