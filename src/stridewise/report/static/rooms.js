// The areas below the ladder as tabs; only those whose data is here.

import { Beside, ChipLimits, InputSizes } from "sw/areas";
import { Elastic } from "sw/elastic";
import { Fit } from "sw/fit";
import { Layers } from "sw/layers";
import { OneConvolution } from "sw/oneconv";
import { Front } from "sw/front";
import { Runs } from "sw/runs";
import { ShiftTest } from "sw/shift";
import { area, base, extras, kinds, live, networks } from "sw/store";
import { html } from "sw/ui";

const ROOMS = () =>
  [
    ["layers", "Layers", Layers, true],
    ["convolution", "One convolution", OneConvolution, live && base.value.input.length === 4],
    ["shift", "Shift test", ShiftTest, live && kinds.value.includes("shift") && base.value.input.length === 4],
    ["fit", "Data fit", Fit, Boolean(extras.value.fit)],
    ["front", "Cost front", Front, live],
    ["elastic", "Elastic", Elastic, live],
    ["sizes", "Input sizes", InputSizes, live],
    ["beside", "Two networks", Beside, live && networks.value.length > 1],
    ["chip", "Chip limits", ChipLimits, live && extras.value.chips?.length > 0],
    ["runs", "Runs", Runs, extras.value.runs > 0],
  ].filter(([, , , there]) => there);

export function Rooms() {
  const rooms = ROOMS();
  const [id, title, Room] = rooms.find(([name]) => name === area.value) ?? rooms[0];
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = rooms.findIndex(([name]) => name === id);
    area.value = rooms[(at + step + rooms.length) % rooms.length][0];
    requestAnimationFrame(() => document.getElementById(`room-${area.value}`)?.focus());
  };
  return html`<section class="panel rooms" aria-label="More views">
    <div role="tablist" aria-label="More views" class="room-tabs" onKeyDown=${move}>
      ${rooms.map(([name, label]) => html`<button type="button" role="tab" key=${name} id=${`room-${name}`} aria-selected=${name === id} aria-controls="room" tabindex=${name === id ? 0 : -1} onClick=${() => (area.value = name)}>${label}</button>`)}
    </div>
    <div role="tabpanel" id="room" aria-labelledby=${`room-${id}`}><${Room} key=${id} /></div>
  </section>`;
}
