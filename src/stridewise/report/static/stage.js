// Area 2, the picture stage: the chosen layer's sampling grid and field on the picture, and its real feature maps.

import * as jobs from "sw/jobs";
import { beside, by, number, once, placeName } from "sw/format";
import { upload } from "sw/net";
import { spanAt } from "sw/shape";
import { base, complain, errors, forgive, look, network, picture, position, row, scale, tell, view, viewOf } from "sw/store";
import { html, Panel, useState } from "sw/ui";

const MOST_DOTS = 60;

// Where the positions of a layer lie on the input, along one axis, from the numbers of its row.
const along = (r, axis) => {
  const jump = number(r.cumulative_stride[axis]);
  const field = r.receptive_field[axis];
  const span = (i) => spanAt(view.value.fields?.[r.key], axis, i) ?? { from: r.start[axis] + i * jump, size: field };
  const centre = (i) => { const s = span(i); return s.from + s.size / 2; };
  return { jump, field, start: r.start[axis], count: r.out_size[axis], span, centre };
};

// What is drawn: the picture alone, or as much around it as the chosen position's field takes.
function frameOf(r, sizes, at, whole) {
  if (!whole) return { y: 0, x: 0, height: sizes[0], width: sizes[1] };
  const [rows, columns] = [along(r, 0), along(r, 1)];
  const ends = (axis, i, n) => { const s = axis.span(i); return [Math.min(0, s.from), Math.max(n, s.from + s.size)]; };
  const [[top, bottom], [left, right]] = [ends(rows, at[0], sizes[0]), ends(columns, at[1], sizes[1])];
  const side = Math.max(bottom - top, right - left) * 1.02;
  return { y: (top + bottom - side) / 2, x: (left + right - side) / 2, height: side, width: side };
}
const within = (frame, box) => ({ left: `${(100 * (box.x - frame.x)) / frame.width}%`, top: `${(100 * (box.y - frame.y)) / frame.height}%`, width: `${(100 * box.width) / frame.width}%`, height: `${(100 * box.height) / frame.height}%` });

function Overlay({ r, sizes, at, frame, onPick }) {
  const [rows, columns] = [along(r, 0), along(r, 1)];
  const skip = (axis) => Math.max(1, Math.ceil(axis.count / MOST_DOTS));
  const [sy, sx] = [skip(rows), skip(columns)];
  // Small enough that what lies under them is seen: a share of the picture, whatever its size.
  const radius = Math.max(sizes[1] / 400, Math.min(2.6, Math.min(columns.jump * sx, rows.jump * sy) / 6, sizes[1] / 110));
  const dots = [];
  for (let i = 0; i < rows.count; i += sy) for (let j = 0; j < columns.count; j += sx) dots.push(`M${columns.centre(j) - radius} ${rows.centre(i)}a${radius} ${radius} 0 1 0 ${2 * radius} 0a${radius} ${radius} 0 1 0 ${-2 * radius} 0`);
  const [high, wide] = [rows.span(at[0]), columns.span(at[1])];
  const box = { x: wide.from, y: high.from, width: wide.size, height: high.size };
  const cell = { x: columns.centre(at[1]) - columns.jump / 2, y: rows.centre(at[0]) - rows.jump / 2, width: columns.jump, height: rows.jump };
  const ends = [rows, columns].map((axis) => Math.max(...[1, 2].map((back) => { const s = axis.span(Math.max(0, axis.count - back)); return s.from + s.size; })));
  const pick = (event) => {
    const area = event.currentTarget.getBoundingClientRect();
    const y = frame.y + ((event.clientY - area.top) / area.height) * frame.height;
    const x = frame.x + ((event.clientX - area.left) / area.width) * frame.width;
    const nearest = (axis, v) => Math.min(axis.count - 1, Math.max(0, Math.round((v - axis.centre(0)) / axis.jump)));
    onPick([nearest(rows, y), nearest(columns, x)]);
  };
  const keys = (event) => {
    const [dy, dx] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    if (!dy && !dx) return;
    event.preventDefault();
    onPick([Math.min(rows.count - 1, Math.max(0, at[0] + dy)), Math.min(columns.count - 1, Math.max(0, at[1] + dx))]);
  };
  const inside = !r.global;
  return html`<svg class="overlay" viewBox=${`${frame.x} ${frame.y} ${frame.width} ${frame.height}`} tabindex="0" role="application"
      aria-label=${`Positions of ${r.key}: ${by(r.out_size)}, one every ${once(r.cumulative_stride)} pixels. Arrow keys move the chosen position.`} onClick=${pick} onKeyDown=${keys}>
    <defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><line x1="0" y1="0" x2="0" y2="6" class="hatch" /></pattern></defs>
    ${inside && ends[0] < sizes[0] && html`<rect x="0" y=${ends[0]} width=${sizes[1]} height=${sizes[0] - ends[0]} fill="url(#hatch)"><title>dropped: no position reads these rows</title></rect>`}
    ${inside && ends[1] < sizes[1] && html`<rect x=${ends[1]} y="0" width=${sizes[1] - ends[1]} height=${sizes[0]} fill="url(#hatch)"><title>dropped: no position reads these columns</title></rect>`}
    <path d=${dots.join("")} class="dots" />
    <rect ...${cell} class="cell" />
    <rect ...${box} class="field" /><rect ...${box} class="field dashed" />
  </svg>`;
}

function Maps({ r, found, channel, setChannel }) {
  const shown = found.maps;
  return html`<div class="thumbs" role="group" aria-label="Channels">${found.channels.map((c, i) => html`<button type="button" key=${c} aria-pressed=${i === channel} title=${`channel ${c}`} onClick=${() => setChannel(i)}>
    <img src=${shown.at(-1).pictures[i]} alt=${`channel ${c} of ${r.key}`} /></button>`)}</div>`;
}

const place = (map, r) => {
  const of = (axis) => {
    const a = along(r, axis);
    return { from: a.centre(0) - a.jump / 2, size: map.size[axis] * a.jump };
  };
  const [y, x] = [of(0), of(1)];
  return { x: x.from, y: y.from, width: x.size, height: y.size };
};

// One side of the wipe: the line stands at a share of the frame, wherever the map lies in it.
const clip = (right, frame, box, wipe) => {
  const cut = Math.min(100, Math.max(0, (100 * (frame.x + (wipe / 100) * frame.width - box.x)) / box.width));
  return right ? `inset(0 0 0 ${cut}%)` : `inset(0 ${100 - cut}% 0 0)`;
};

export function Stage() {
  const [chosen, setChannel] = look("channel", 0);
  const [wipe, setWipe] = look("wipe", 50);
  const [layered, setLayered] = look("shown", "picture");
  const [broken, setBroken] = useState("");
  const [sent, setSent] = useState(null); // how much of a picture is on the server
  const [whole, setWhole] = look("whole", false);
  const shape = Array.isArray(base.value.input) ? base.value.input.slice(2) : Object.values(base.value.input)[0].slice(2);
  const r = row.value;
  const drawable = r && r.cumulative_stride.length === 2 && r.cumulative_stride.every((s) => s !== null) && shape.length === 2;
  const middle = drawable ? r.out_size.map((n) => Math.floor(n / 2)) : [0, 0];
  const at = drawable && position.value ? position.value.map((p, i) => Math.min(p, r.out_size[i] - 1)) : middle;
  const job = jobs.latest("maps");
  const found = jobs.current(job) && job.result.layer === r?.key ? job.result : null;
  const heatJob = jobs.latest("field");
  const heat = jobs.current(heatJob) && heatJob.result.layer === r?.key && String(heatJob.result.position) === String(at) ? heatJob.result : null;
  const channel = found ? Math.min(chosen, found.channels.length - 1) : 0;
  const take = async (file) => {
    if (!file) return;
    try {
      setSent(0);
      picture.value = await upload("/api/picture", file, setSent);
      tell("Another picture is in use.");
      errors.value.filter((text) => text.startsWith("picture: ")).forEach(forgive);
      setBroken("");
    } catch (error) {
      complain(error);
    }
    setSent(null);
  };
  const rowOf = (map) => viewOf(map.plan).layers.find((l) => l.key === r.key) ?? r;
  const run = async () => (await jobs.start("maps", { layer: r.key })) && setLayered("maps");
  const warm = async () => (await jobs.start("field", { layer: r.key, position: at })) && setLayered("heat");
  const beyond = drawable && [0, 1].some((axis) => { const a = along(r, axis); const s = a.span(at[axis]); return s.from < 0 || s.from + s.size > shape[axis]; });
  const sees = drawable && [0, 1].map((axis) => along(r, axis).span(at[axis]).size);
  const atMost = drawable && view.value.fields?.[r.key]?.approximate ? "at most " : "";
  const frame = drawable && frameOf(r, shape, at, whole && beyond);
  const all = drawable && within(frame, { x: 0, y: 0, width: shape[1], height: shape[0] });
  const source = `/api/picture?network=${network.value}&n=${picture.value.number}`;
  return html`<${Panel} id="stage" title="On the picture" aside=${shape.length === 2 && html`${sent !== null && html`<span class="progress"><progress id="sending" max="1" value=${sent < 1 ? sent : undefined} aria-label="sending the picture"></progress><span class="muted">${sent < 1 ? "sending" : "decoding"}</span></span> `}<label class="button small">choose a picture<input class="unseen" type="file" accept="image/png,image/jpeg,image/webp,image/bmp,image/gif,image/tiff" onChange=${(e) => take(e.target.files[0])} /></label>`}>
    ${!drawable
      ? html`<p class="muted">${shape.length !== 2 ? `This network reads ${shape.length === 1 ? "one axis" : `${shape.length} axes`}, no pictures: its ladder, figures and layers are beside and below.` : r ? `${r.key} has no positions on a picture: choose a layer with a size.` : "Choose a layer."}</p>`
      : html`<div class="frame" style=${{ aspectRatio: `${frame.width} / ${frame.height}` }}>
          <img class="photo" style=${all} src=${source} alt=${picture.value.name || "the picture"} onError=${() => setBroken("the picture cannot be shown for this network")} onLoad=${() => setBroken("")} />
          ${layered === "maps" && found && found.maps.map((map, i) => html`<img key=${map.plan} class="map" src=${map.pictures[channel]} alt=${`channel ${found.channels[channel]}, ${map.plan}`} style=${{ ...within(frame, place(map, rowOf(map))), clipPath: found.maps.length > 1 ? clip(i, frame, place(map, rowOf(map)), wipe) : "none" }} />`)}
          ${layered === "heat" && heat && html`<img class="heat" style=${all} src=${heat.picture} alt="measured field: brighter pixels move this position more" />`}
          <${Overlay} r=${r} sizes=${shape} at=${at} frame=${frame} onPick=${(p) => (position.value = p)} />
        </div>
        ${broken && html`<p class="note">${broken}</p>`}
        ${layered === "maps" && found && found.maps.length > 1 && html`<label class="wipe">${found.maps[0].plan} <input type="range" id="wipe" min="0" max="100" value=${wipe} onInput=${(e) => setWipe(Number(e.target.value))} aria-label=${`Wipe: left ${found.maps[0].plan}, right ${found.maps[1].plan}`} /> ${found.maps[1].plan}</label>`}
        ${layered === "maps" && found && found.maps.length < job.asked.plans.length && html`<p class="muted small-text">only ${found.maps[0].plan} has this map; the layer is not in the other plan</p>`}
        <p class="caption"><b>${placeName(r.key)}</b>: ${by(r.out_size)} positions, one every ${once(r.cumulative_stride)} px${beside(scale.value, r.cumulative_stride)}; position ${at.join(", ")} ${r.global ? "is reached by the whole picture; its local field is" : "sees"} ${atMost}${by(sees)} px${beside(scale.value, sees)}${beyond ? ", beyond the picture's edge" : ""}.</p>
        <div class="controls">
          ${found || heat ? html`<span class="segments" role="group" aria-label="What is shown">${[["picture", "picture", true], ["maps", "feature map", found], ["heat", "measured field", heat]].filter(([, , there]) => there).map(([id, name]) => html`<button type="button" key=${id} aria-pressed=${layered === id} onClick=${() => setLayered(id)}>${name}</button>`)}</span>` : null}
          ${beyond && html`<button type="button" aria-pressed=${whole} onClick=${() => setWhole(!whole)}>whole field</button>`}
          ${!found && html`<${jobs.Start} kind="maps" onClick=${run}>show feature maps<//>`}
          ${!heat && html`<${jobs.Start} kind="field" onClick=${warm}>measure the field<//>`}
          <${jobs.Against} id="stage-against" />
        </div>
        ${found && layered === "maps" && html`<${Maps} r=${r} found=${found} channel=${channel} setChannel=${setChannel} />
          <p class="muted small-text">the ${found.channels.length} most varied of ${found.of} channels${found.random ? "; weights are random (start with --weights FILE for trained ones)" : ""}</p>`}
        ${heat && layered === "heat" && html`<p class="muted small-text">measured: ${100 * heat.holds} % of this position's gradient energy lies on ${(heat.share * 100).toFixed(1)} % of the picture${heat.random ? "; weights are random" : ""}</p>`}`}
  </${Panel}>`;
}
