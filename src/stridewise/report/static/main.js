// The page: its areas in order. An area whose data is not here is left out.

import { follow } from "sw/address";
import { Consequences } from "sw/consequences";
import { Header } from "sw/header";
import { Ladder } from "sw/ladder";
import { File } from "sw/file";
import { count, placeName } from "sw/format";
import { reattach } from "sw/jobs";
import { lost } from "sw/net";
import { beat, watch } from "sw/pulse";
import { Rooms } from "sw/rooms";
import { Stage } from "sw/stage";
import { Tasks } from "sw/tasks";
import { begin, openNetwork } from "sw/opening";
import { base, busy, data, errors, forgive, kinds, live, networks, offers, said, take, toast } from "sw/store";
import { ErrorCard, html, render } from "sw/ui";

// What does work instead of what was refused: a click applies it.
function Offers({ of }) {
  return of.length > 0 && html`<p class="offers">What works instead: ${of.map((one) => html`<button type="button" class="small" key=${one.said} onClick=${() => take(one)}>${placeName(one.said)} <span class="muted">${count(one.macs)} multiply-adds</span></button> `)}</p>`;
}

function Waiting() {
  return html`<div class="waiting" aria-busy="true"><div class="pulse" aria-hidden="true"></div><p>${busy.value || "one moment …"}</p></div>`;
}

function Nothing() {
  return html`<div class="card"><p>No network could be opened. What still works: choose another one.</p>
    ${networks.value.map((n, i) => html`<button type="button" onClick=${() => openNetwork(i)}>${n.name}</button> `)}</div>`;
}

// The address after # is the page's own: the link moves the hand, not the address.
const skip = (event) => {
  event.preventDefault();
  document.querySelector("#ladder .rise")?.focus();
};

function Page() {
  const ready = base.value !== null;
  const sheet = !live && data.kind !== "show";
  return html`
    ${!sheet && html`<a class="skip" href="#ladder" onClick=${skip}>Skip to the stride ladder</a>`}
    <${Header} />
    <div class="errors">${lost.value && html`<${ErrorCard} key="lost" text=${`The connection is lost: ${lost.value}`} fix=${html`<button type="button" class="small" onClick=${beat}>look now</button>`} />`}${errors.value.map((text) => html`<${ErrorCard} key=${text} text=${text} fix=${html`<${Offers} of=${offers.value[text] ?? []} />`} onClose=${() => forgive(text)} />`)}</div>
    <p class="unseen" aria-live="polite" id="said">${said.value}</p>
    ${toast.value && html`<p class="toast" aria-hidden="true">${toast.value}</p>`}
    ${live && ready && !busy.value && html`<${Tasks} />`}
    <main>
      ${sheet ? html`<${File} kind=${data.kind} report=${data.report} />` : ready && !busy.value
        ? html`<div class=${live && kinds.value.includes("maps") ? "top" : "top two"}>
            <${Ladder} />
            ${live && kinds.value.includes("maps") && html`<${Stage} />`}
            <${Consequences} />
            <${Rooms} />
          </div>`
        : busy.value || !errors.value.length ? html`<${Waiting} />` : html`<${Nothing} />`}
    </main>
    <footer>Stridewise · geometry is exact, computed from the network itself · ${live ? "this page talks to this machine only" : "this file needs no server and no network"}</footer>`;
}

render(html`<${Page} />`, document.getElementById("page"));
begin().then((start) => {
  if (!start) return;
  follow();
  reattach(start.jobs);
  watch();
});
