// Area 1, the stride ladder: depth to the right, cumulative stride downwards in powers of two. Steps are dragged, or
// moved by keys and buttons; the original stays as a ghost.

import { by, number, once, placeName } from "sw/format";
import { alone, Controls, restrided, setStride, shift, wasOf } from "sw/controls";
import { candidates, kind, ladder, riseOf } from "sw/shape";
import { moved, wish } from "sw/state";
import { answers, base, change, layer, live, now, original, propose, row, tab, view } from "sw/store";
import { html, Panel, Twin, useMemo, useRef, useState, useWidth } from "sw/ui";

const RIGHT = 26;
const TOP = 34;

function Rise({ rise, x, y, onGrab, chosen }) {
  const label = `${placeName(rise.row.key)}: steps by ${once(rise.stride)}, to stride ${by(rise.row.cumulative_stride)}${rise.free ? "" : "; tied to a fixed resize"}`;
  const keys = async (event) => {
    const act = { ArrowLeft: () => shift(rise, -1), ArrowRight: () => shift(rise, 1), ArrowDown: () => setStride(rise, rise.stride.map((s) => s * 2)), ArrowUp: () => setStride(rise, rise.stride.map((s) => Math.max(1, Math.floor(s / 2)))), Delete: () => setStride(rise, rise.stride.map(() => 1)) }[event.key];
    if (event.key === "Enter" || event.key === " ") layer.value = rise.row.key;
    else if (!act || !rise.free || !live) return;
    event.preventDefault();
    if (!act) return;
    const all = () => [...document.querySelectorAll("#ladder .rise")];
    const before = all().indexOf(event.currentTarget);
    const to = await act();
    // A step that is gone leaves the focus to the one beside it: the hand on the keys stays on the ladder.
    requestAnimationFrame(() => (all().find((r) => r.dataset.key === (typeof to === "string" ? to : rise.key)) ?? all()[Math.min(before, all().length - 1)])?.focus());
  };
  const axes = rise.stride.every((s) => s === rise.stride[0]) ? `↓${rise.stride[0]}` : `↓${rise.stride.join("×")}`;
  const text = `${axes} ${kind(rise.row)}`;
  const wide = 15 + text.length * 7.1;
  const movable = live && rise.free;
  return html`<g class=${`rise ${chosen ? "chosen" : ""} ${movable ? "movable" : ""}`} data-key=${rise.key} tabindex="0"
      role=${movable ? "slider" : "button"} aria-label=${label} aria-valuenow=${movable ? rise.stride[0] : undefined} aria-valuemin=${movable ? 1 : undefined} aria-valuemax=${movable ? 16 : undefined}
      aria-valuetext=${movable ? label : undefined} onKeyDown=${keys} onPointerDown=${(e) => onGrab(e, rise)} onFocus=${() => (layer.value = rise.row.key)}>
    <title>${label}${rise.others.length ? `; with it ${rise.others.map(placeName).join(", ")}` : ""}</title>
    ${rise.foot.map((f, i) => html`<line key=${i} x1=${x} x2=${x} y1=${y(f)} y2=${y(rise.top[i])} class="riser" />`)}
    <circle cx=${x} cy=${y(rise.top[0])} r="6" class="knob" />
    <g transform=${`translate(${x - 6 - wide},${(y(rise.foot[0]) + y(rise.top[0])) / 2 - 10 + 9})`}>
      <rect width=${wide} height="20" rx="10" class="chip" /><text x=${wide / 2} y="14" class="chip-text">${text}</text>
    </g>
    ${rise.others.length ? html`<text x=${x + 9} y=${y(rise.top[0]) - 7} class="tiny">with ${rise.others.length} more</text>` : null}
  </g>`;
}

function Drawing({ width }) {
  const shape = useMemo(() => ladder(base.value, view.value), [view.value]);
  const ghost = useMemo(() => ladder(base.value, original.value), [base.value]);
  const [held, setHeld] = useState(null);
  const svg = useRef(null);
  const low = Math.min(shape.low, ghost.low);
  const deepest = Math.max(shape.high, ghost.high);
  const frozen = useRef(deepest);
  if (!held) frozen.current = deepest;
  const high = Math.max(deepest, held ? frozen.current : deepest); // rows keep their height while a step is in the hand
  const ROW = Math.min(104, Math.max(52, 300 / ((held ? frozen.current : high) - low)));
  const input = Array.isArray(base.value.input) ? base.value.input.slice(2) : [];
  const LEFT = Math.max(112, 64 + 7.2 * Math.max(...[input, ...shape.bars.map((b) => b.size)].map((size) => by(size).length)));
  const unit = (width - LEFT - RIGHT) / Math.max(shape.width, 1);
  const X = (x) => LEFT + x * unit;
  const Y = (v) => TOP + (v - low) * ROW;
  const height = TOP + (high - low) * ROW + 34;
  const lines = [];
  for (let v = Math.ceil(low); v <= high; v += 1) lines.push(v);
  const edited = view.value !== original.value;

  const grab = (event, rise) => {
    layer.value = rise.row.key;
    if (!live || !rise.free || event.button) return;
    const before = now.value;
    const begun = tab.value;
    const places = candidates(base.value);
    const at = { x: event.clientX, y: event.clientY };
    let last = "";
    let target = rise.key; // what the hand holds by now
    const act = (e, commit) => {
      const ratio = svg.current.viewBox.baseVal.width / svg.current.getBoundingClientRect().width;
      const depth = rise.x + ((e.clientX - at.x) * ratio) / unit;
      const factor = Math.round(((e.clientY - at.y) * ratio) / ROW);
      const near = places.reduce((a, b) => (Math.abs(b.x - depth) < Math.abs(a.x - depth) ? b : a), { key: rise.key, x: rise.x, group: rise.group });
      const stride = rise.stride.map((s) => Math.min(16, Math.max(1, Math.round(s * 2 ** factor))));
      const stays = near.key === rise.key || (near.group !== null && near.group === rise.group);
      const next = stays ? restrided(before, rise, stride) : moved(alone(before, rise), rise.key, near.key, stride, wasOf(rise.key), { original: near.was, now: near.key in start ? start[near.key] : near.was.map(() => 1) });
      const text = JSON.stringify(next);
      target = stays ? rise.key : near.key;
      setHeld({ x: X(depth), y: Y(rise.top[0] + factor) });
      if (text !== last || commit) {
        last = text;
        const done = (tab.value === 0 ? change : propose)(next, { commit });
        if (commit) done.then((taken) => taken && choose(target));
      }
    };
    const start = Object.fromEntries(shape.rises.map((r) => [r.key, r.stride]));
    const far = (e) => Math.hypot(e.clientX - at.x, e.clientY - at.y) > 5;
    let dragged = false;
    const move = (e) => {
      if (!dragged && !far(e)) return;
      dragged = true;
      act(e, false);
    };
    const stop = (e) => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", stop);
      window.removeEventListener("pointercancel", stop);
      if (dragged) act(e, true);
      setHeld(null); // after the last move has drawn it
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", stop);
    window.addEventListener("pointercancel", stop);
  };

  // A step of 2 at a dotted place; it is then the one in hand.
  const insert = async (key) => {
    const spot = candidates(base.value).find((c) => c.key === `+${key}`);
    if (spot && (await change(wish(now.value, spot.key, spot.was.map(() => 2), spot.was)))) choose(spot.key);
  };

  const bar = (b, i, className) => html`<g key=${`${className}${i}`} class=${className} onClick=${() => (layer.value = b.rows[0])}>
    ${b.height.map((v, axis) => html`<line x1=${Math.max(LEFT, X(b.from) - unit * 0.5)} x2=${X(b.to) + unit * 0.5} y1=${Y(v)} y2=${Y(v)} class=${axis && v === b.height[0] ? "hidden" : axis ? `second axis${axis}` : ""} />`)}</g>`;
  const chosen = row.value && riseOf(shape, row.value.key);
  const here = row.value && shape.bars.find((b) => b.rows.includes(row.value.key));
  const depthHere = row.value && (shape.depthOf(row.value.key));
  return html`<svg class=${`drawing ${shape.crowded ? "crowded" : ""}`} ref=${svg} viewBox=${`0 0 ${width} ${height}`} role="group" aria-label="Stride ladder: depth to the right, cumulative stride downwards">
    ${lines.map((v) => html`<g key=${v} class="level"><line x1=${LEFT - 8} x2=${width - 8} y1=${Y(v)} y2=${Y(v)} /><text x="6" y=${Y(v) + 4}>${v < 0 ? `1/${2 ** -v}` : 2 ** v}</text><text class="tiny" x=${LEFT - 34} y=${Y(v) + 4} text-anchor="end">${v === 0 ? by(input) : sizeAt(shape, v)}</text></g>`)}
    <text class="tiny axis" x="4" y="14">stride</text><text class="tiny axis" x=${LEFT - 34} y="14" text-anchor="end">map</text><text class="tiny axis" x=${width - 10} y="14" text-anchor="end">depth →</text>
    ${shape.folds.map((f) => html`<text key=${f.from} class="tiny" x=${X((f.from + f.to) / 2)} y=${Y(high) + 24} text-anchor="middle">×${f.count}</text>`)}
    ${edited && html`<g class="ghosts" aria-hidden="true">${ghost.bars.map((b, i) => bar(b, i, "ghost"))}${ghost.rises.map((r) => html`<line class="ghost-rise" x1=${X(r.x)} x2=${X(r.x)} y1=${Y(r.foot[0])} y2=${Y(r.top[0])} />`)}</g>`}
    ${shape.lanes.map((l) => html`<line key=${l.height} class="lane" x1=${X(l.from)} x2=${X(l.to)} y1=${Y(l.height)} y2=${Y(l.height)} />`)}
    ${shape.ups.map((r) => html`<line key=${r.key} class="up" x1=${X(r.x)} x2=${X(r.x)} y1=${Y(r.foot[0])} y2=${Y(r.top[0])}><title>${`${r.row.key}: back to stride ${by(r.row.cumulative_stride)}`}</title></line>`)}
    ${shape.bars.map((b, i) => bar(b, i, b === here ? "bar here" : "bar"))}
    ${live && [...shape.slotAt].map(([key, x]) => html`<circle key=${key} class="slot" cx=${X(x)} cy=${Y(heightAt(shape, x))} r="4" data-slot=${key} onClick=${() => insert(key)}><title>a step can be put in here, after ${key}: click</title></circle>`)}
    ${shape.marks.map((m, i) => html`<g key=${i} class=${m.fork ? "mark fork" : "mark"}><title>${m.fork ? `${m.name}: branches with different centres are joined here` : `${m.name}: ${by(m.came)} to ${by(m.stride)}`}</title>
      ${m.fork ? html`<path class="prongs" d=${`M${X(m.x) - 30} ${Y(m.top)}q8 -11 14 -11q8 0 16 11M${X(m.x) - 30} ${Y(m.top)}q8 11 14 11q8 0 16 -11`} />` : html`<line x1=${X(m.x)} x2=${X(m.x)} y1=${Y(m.foot)} y2=${Y(m.top)} />`}<path d=${`M${X(m.x)} ${Y(m.top) - 6}l6 6l-6 6l-6 -6z`} /></g>`)}
    ${depthHere !== undefined && here && html`<line class="cursor" x1=${X(depthHere)} x2=${X(depthHere)} y1=${TOP - 8} y2=${Y(high) + 10} />`}
    ${shape.rises.map((r) => html`<${Rise} key=${r.key + r.x} rise=${r} x=${X(r.x)} y=${Y} chosen=${r === chosen} onGrab=${grab} />`)}
    ${held && html`<circle class="held" cx=${held.x} cy=${held.y} r="9" />`}
  </svg>`;
}

// The step at a place is the one in hand: chosen, and with the focus.
function choose(key) {
  const rise = ladder(base.value, view.value).rises.find((r) => r.key === key || r.others.includes(key));
  if (!rise) return;
  layer.value = rise.row.key;
  requestAnimationFrame(() => [...document.querySelectorAll("#ladder .rise")].find((r) => r.dataset.key === rise.key)?.focus());
}

const heightAt = (shape, x) => (shape.bars.find((b) => x >= b.from - 0.6 && x <= b.to + 0.6) ?? shape.bars[0])?.height[0] ?? 0;
const sizeAt = (shape, v) => {
  const b = shape.bars.find((bar) => bar.height[0] === v);
  return b ? by(b.size) : "";
};

export function Ladder() {
  const [ref, width] = useWidth();
  const shape = ladder(base.value, view.value);
  return html`<${Panel} id="ladder" title="Stride ladder" className="hero" aside=${live && html`<span class="muted hint">drag a step, or focus it and use the arrow keys</span>`}>
    <div ref=${ref} class="canvas"><${Drawing} width=${Math.max(width, 340)} /></div>
    ${live && html`<${Controls} />`}
    <p class="legend"><span class="key now"></span>now ${answers.value[tab.value] && html`<span class="key was"></span>original`} ${live && html`<span class="key dot"></span>place for a step`}
      ${shape.ups.length > 0 && html`<span class="key back"></span>back up by a resize`}
      ${shape.bars.some((b) => b.height.length > 1 && b.height.some((v) => v !== b.height[0])) && html`<span class="key now"></span>${["rows", "rows", "depth"][Math.min(2, shape.bars[0].height.length - 1)] ?? "rows"} ${shape.bars[0].height.slice(1).map((_, i) => html`<span class=${`key axis${i + 1}`}></span>${shape.bars[0].height.length === 2 ? "columns" : ["rows", "columns"][i] ?? `axis ${i + 2}`} `)}`}
      ${shape.marks.some((m) => m.fork) && html`<span class="key diamond"></span>branches meet off centre`}</p>
    <${Twin} label="The ladder as a table" heads=${["step", "by", "kind", "stride after", "map after"]}
      rows=${[...shape.rises, ...shape.ups].sort((a, b) => a.x - b.x).map((r) => [placeName(r.row.key), once(r.row.stride), kind(r.row), by(r.row.cumulative_stride), by(r.row.out_size)])} />
  </${Panel}>`;
}
