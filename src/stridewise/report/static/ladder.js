// Area 1, the stride ladder: depth to the right, cumulative stride downwards in powers of two. Steps are dragged, or
// moved by keys and buttons; the original stays as a ghost.

import { by, number, once, placeName } from "sw/format";
import { alone, Controls, restrided, setStride, shift, wasOf } from "sw/controls";
import { candidates, kind, ladder, placed, riseOf } from "sw/shape";
import { moved, wish } from "sw/state";
import { answers, base, change, layer, live, look, now, original, propose, row, tab, view } from "sw/store";
import { html, Panel, Twin, useEffect, useMemo, useRef, useState, useWidth } from "sw/ui";

const RIGHT = 26;
const TOP = 34;

const chipText = (rise) => {
  const axes = rise.stride.every((s) => s === rise.stride[0]) ? `↓${rise.stride[0]}` : `↓${rise.stride.join("×")}`;
  return `${axes} ${kind(rise.row)}${rise.others.length ? ` +${rise.others.length}` : ""}`;
};
const chipWide = (rise) => 15 + chipText(rise).length * 7.1;

// Where a step's chip may stand: left or right of its riser, at half its height, or a little above or below.
const chipPlaces = (rise, x, y, width) => {
  const wide = chipWide(rise);
  const middle = (y(rise.foot[0]) + y(rise.top[0])) / 2 - 1;
  return [0, -23, 23, -46, 46].flatMap((off) => [x - 6 - wide, x + 8].map((left) => ({ x: left, y: middle + off, wide, tall: 20 }))).filter((place) => place.x >= 0 && place.x + wide <= width && place.y > 18);
};

function Rise({ rise, x, xs, y, chip, onGrab, chosen }) {
  // Its value is the map that the step leaves: up is finer, for the eye and for whoever hears a slider.
  const label = `${placeName(rise.row.key)}: steps by ${once(rise.stride)}, to stride ${by(rise.row.cumulative_stride)}, map ${by(rise.row.out_size)}${rise.free ? "" : "; tied to a fixed resize"}`;
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
  const movable = live && rise.free;
  return html`<g class=${`rise ${chosen ? "chosen" : ""} ${movable ? "movable" : ""}`} data-key=${rise.key} tabindex="0"
      role=${movable ? "slider" : "button"} aria-label=${label} aria-orientation=${movable ? "vertical" : undefined} aria-valuenow=${movable ? rise.row.out_size[0] : undefined} aria-valuemin=${movable ? 1 : undefined} aria-valuemax=${movable ? rise.row.in_size[0] : undefined}
      aria-valuetext=${movable ? label : undefined} onKeyDown=${keys} onPointerDown=${(e) => onGrab(e, rise)} onFocus=${() => (layer.value = rise.row.key)}>
    <title>${label}${rise.others.length ? `; with it ${rise.others.map(placeName).join(", ")}` : ""}</title>
    ${xs.map((at) => html`<line key=${`also${at}`} x1=${at} x2=${at} y1=${y(rise.foot[0])} y2=${y(rise.top[0])} class="also" />`)}
    ${rise.foot.map((f, i) => html`<line key=${i} x1=${x} x2=${x} y1=${y(f)} y2=${y(rise.top[i])} class="riser" />`)}
    <circle cx=${x} cy=${y(rise.top[0])} r="6" class="knob" />
    ${chip && html`<g transform=${`translate(${chip.x},${chip.y})`}>
      <rect width=${chip.wide} height="20" rx="10" class="chip" /><text x=${chip.wide / 2} y="14" class="chip-text">${chipText(rise)}</text>
    </g>`}
  </g>`;
}

const NEXT = { open: "shut", shut: "open" };

// A stretch of layers without a step: opened so that each has its place, shut to one place.
function Fold({ fold, x, y }) {
  const turn = () => (base.value = { ...base.value, stretches: { ...base.value.stretches, [fold.key]: NEXT[fold.how] ?? "shut" } });
  const keys = (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    turn();
  };
  return html`<g class="fold" role="button" tabindex="0" aria-expanded=${fold.how !== "shut"} aria-label=${`${fold.count} layers without a step: ${NEXT[fold.how] ?? "shut"}`} data-fold=${fold.key} onClick=${turn} onKeyDown=${keys}>
    <rect x=${x - 19} y=${y - 14} width="38" height="19" rx="9" /><text class="tiny" x=${x} y=${y} text-anchor="middle">×${fold.count}</text></g>`;
}

function Drawing({ width, sticky }) {
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
  // Heights with a name: those of maps, and the powers of two where no such name stands.
  const named = [...new Set(shape.bars.map((b) => b.height[0]))];
  const lines = [...named];
  for (let v = Math.ceil(low); v <= high; v += 1) if (!named.some((n) => Math.abs(n - v) * ROW < 18)) lines.push(v);
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
    ${b.height.map((v, axis) => html`<line x1=${Math.max(LEFT, X(b.start))} x2=${X(b.end)} y1=${Y(v)} y2=${Y(v)} class=${axis && v === b.height[0] ? "hidden" : axis ? `second axis${axis}` : ""} />`)}</g>`;
  const chosen = row.value && riseOf(shape, row.value.key);
  const weights = [...shape.rises].sort((a, b) => (b === chosen) - (a === chosen));
  const rowNames = lines.map((v) => ({ x: 0, y: Y(v) - 9, wide: LEFT - 30, tall: 18 }));
  const chipsFound = placed(weights.map((r) => chipPlaces(r, X(r.x), Y, width)), rowNames);
  const chips = new Map(weights.map((r, i) => [r, chipsFound[i]]));
  const prongs = placed(shape.marks.map((m) => (m.fork ? [{ x: X(m.x) - 30, y: Y(m.top) - 12, wide: 38, tall: 24 }] : [])));
  const foldPlaces = placed(shape.folds.map((f) => [{ x: X((f.from + f.to) / 2) - 19, y: 0, wide: 38, tall: 1 }]));
  const here = row.value && shape.bars.find((b) => b.rows.includes(row.value.key));
  const depthHere = row.value && (shape.depthOf(row.value.key));
  return html`<svg width=${width} height=${height} class=${`drawing ${shape.crowded ? "crowded" : ""}`} ref=${svg} viewBox=${`0 0 ${width} ${height}`} role="group" aria-label="Stride ladder: depth to the right, cumulative stride downwards">
    ${lines.map((v) => html`<g key=${v} class="level"><line x1=${LEFT - 8} x2=${width - 8} y1=${Y(v)} y2=${Y(v)} /><text x="6" y=${Y(v) + 4}>${strideAt(shape, v)}</text><text class="tiny" x=${LEFT - 34} y=${Y(v) + 4} text-anchor="end">${v === 0 ? by(input) : sizeAt(shape, v)}</text></g>`)}
    <text class="tiny axis" x="4" y="14">stride</text><text class="tiny axis" x=${LEFT - 34} y="14" text-anchor="end">map</text><text class="tiny axis" x=${width - 10} y="14" text-anchor="end">depth →</text>
    ${shape.folds.map((f, i) => foldPlaces[i] && html`<${Fold} key=${f.key} fold=${f} x=${X((f.from + f.to) / 2)} y=${Y(high) + 24} />`)}
    ${edited && html`<g class="ghosts" aria-hidden="true">${ghost.bars.map((b, i) => bar(b, i, "ghost"))}${ghost.rises.map((r) => html`<line class="ghost-rise" x1=${X(r.x)} x2=${X(r.x)} y1=${Y(r.foot[0])} y2=${Y(r.top[0])} />`)}</g>`}
    ${shape.lanes.map((l) => html`<line key=${l.height} class="lane" x1=${X(l.from)} x2=${X(l.to)} y1=${Y(l.height)} y2=${Y(l.height)} />`)}
    ${shape.ups.map((r) => html`<line key=${r.key} class="up" x1=${X(r.x)} x2=${X(r.x)} y1=${Y(r.foot[0])} y2=${Y(r.top[0])}><title>${`${r.row.key}: back to stride ${by(r.row.cumulative_stride)}`}</title></line>`)}
    ${shape.bars.map((b, i) => bar(b, i, b === here ? "bar here" : "bar"))}
    ${live && [...shape.slotAt].map(([key, x]) => html`<circle key=${key} class="slot" cx=${X(x)} cy=${Y(heightAt(shape, x))} r="4" data-slot=${key} onClick=${() => insert(key)}><title>a step can be put in here, after ${key}: click</title></circle>`)}
    ${shape.marks.map((m, i) => html`<g key=${i} class=${m.fork ? "mark fork" : "mark"}><title>${m.fork ? `${m.name}: branches with different centres are joined here` : `${m.name}: ${by(m.came)} to ${by(m.stride)}`}</title>
      ${m.fork ? prongs[i] && html`<path class="prongs" d=${`M${X(m.x) - 30} ${Y(m.top)}q8 -11 14 -11q8 0 16 11M${X(m.x) - 30} ${Y(m.top)}q8 11 14 11q8 0 16 -11`} />` : html`<line x1=${X(m.x)} x2=${X(m.x)} y1=${Y(m.foot)} y2=${Y(m.top)} />`}<path d=${`M${X(m.x)} ${Y(m.top) - 6}l6 6l-6 6l-6 -6z`} /></g>`)}
    ${depthHere !== undefined && here && html`<line class="cursor" x1=${X(depthHere)} x2=${X(depthHere)} y1=${TOP - 8} y2=${Y(high) + 10} />`}
    ${shape.rises.map((r) => html`<${Rise} key=${r.key + r.x} rise=${r} x=${X(r.x)} xs=${r.also.map(X)} y=${Y} chip=${chips.get(r)} chosen=${r === chosen} onGrab=${grab} />`)}
    ${held && html`<circle class="held" cx=${held.x} cy=${held.y} r="9" />`}
    ${sticky > 0 && html`<g class="names" aria-hidden="true" transform=${`translate(${sticky},0)`}><rect x="0" y="0" width=${LEFT - 12} height=${height} />
      ${lines.map((v) => html`<g key=${v} class="level"><text x="6" y=${Y(v) + 4}>${strideAt(shape, v)}</text><text class="tiny" x=${LEFT - 34} y=${Y(v) + 4} text-anchor="end">${v === 0 ? by(input) : sizeAt(shape, v)}</text></g>`)}</g>`}
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
const strideAt = (shape, v) => {
  const b = shape.bars.find((bar) => bar.height[0] === v && bar.stride.length);
  return b ? String(b.stride[0]) : v < 0 ? `1/${2 ** -v}` : 2 ** v;
};
const sizeAt = (shape, v) => {
  const b = shape.bars.find((bar) => bar.height[0] === v);
  return b ? by(b.size) : "";
};

const MOST_ZOOM = 800; // percent

// How large the drawing is beside its frame, which scrolls: by buttons, by Ctrl and the wheel, moved by a drag of the ground.
function Frame() {
  const [ref, wide] = useWidth();
  const [zoom, setZoom] = look("zoom", 100);
  const [left, setLeft] = useState(0);
  const keep = useRef(null); // the place that stays where it is: [share of the drawing, pixels in the frame]
  const seen = Math.max(wide, 340);
  const width = Math.round((seen * zoom) / 100);
  const to = (next, at = seen / 2) => {
    const box = ref.current;
    keep.current = [(box.scrollLeft + at) / width, at];
    setZoom(Math.min(MOST_ZOOM, Math.max(100, Math.round(next))));
  };
  useEffect(() => {
    const [share, at] = keep.current ?? [0, 0];
    ref.current.scrollLeft = share * width - at;
    setLeft(ref.current.scrollLeft);
  }, [zoom]);
  const wheel = (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    to(zoom * (event.deltaY < 0 ? 1.25 : 0.8), event.clientX - ref.current.getBoundingClientRect().left);
  };
  const pan = (event) => {
    if (zoom === 100 || event.button || event.pointerType !== "mouse" || event.target.closest(".rise, .slot, .fold")) return;
    const begun = ref.current.scrollLeft + event.clientX;
    const move = (e) => (ref.current.scrollLeft = begun - e.clientX);
    const stop = () => ["pointermove", "pointerup", "pointercancel"].forEach((name, i) => window.removeEventListener(name, i ? stop : move));
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", stop);
    window.addEventListener("pointercancel", stop);
  };
  return html`<div class="zoom" role="group" aria-label="Size of the ladder">
      <button type="button" class="small" aria-label="Zoom out" disabled=${zoom <= 100} onClick=${() => to(zoom / 1.5)}>−</button>
      <button type="button" class="small" aria-label="Zoom in" disabled=${zoom >= MOST_ZOOM} onClick=${() => to(zoom * 1.5)}>+</button>
      ${zoom > 100 && html`<button type="button" class="small" onClick=${() => to(100)}>whole</button>`}</div>
    <div ref=${ref} class=${zoom > 100 ? "canvas zoomed" : "canvas"} tabindex=${zoom > 100 ? 0 : undefined} role=${zoom > 100 ? "region" : undefined} aria-label=${zoom > 100 ? "The ladder, enlarged: it scrolls sideways" : undefined}
      onWheel=${wheel} onPointerDown=${pan} onScroll=${(e) => setLeft(e.target.scrollLeft)}><${Drawing} width=${width} sticky=${zoom > 100 ? left : 0} /></div>`;
}

export function Ladder() {
  const shape = ladder(base.value, view.value);
  return html`<${Panel} id="ladder" title="Stride ladder" className="hero" aside=${live && html`<span class="muted hint">drag a step, or focus it and use the arrow keys</span>`}>
    <${Frame} />
    ${live && html`<${Controls} />`}
    <p class="legend"><span class="key now"></span>now ${answers.value[tab.value] && html`<span class="key was"></span>original`} ${live && html`<span class="key dot"></span>place for a step`}
      ${shape.ups.length > 0 && html`<span class="key back"></span>back up by a resize`}
      ${shape.bars.some((b) => b.height.length > 1 && b.height.some((v) => v !== b.height[0])) && html`<span class="key now"></span>${["rows", "rows", "depth"][Math.min(2, shape.bars[0].height.length - 1)] ?? "rows"} ${shape.bars[0].height.slice(1).map((_, i) => html`<span class=${`key axis${i + 1}`}></span>${shape.bars[0].height.length === 2 ? "columns" : ["rows", "columns"][i] ?? `axis ${i + 2}`} `)}`}
      ${shape.marks.some((m) => m.fork) && html`<span class="key diamond"></span>branches meet off centre`}</p>
    <${Twin} label="The ladder as a table" heads=${["step", "by", "kind", "stride after", "map after"]}
      rows=${[...shape.rises, ...shape.ups].sort((a, b) => a.x - b.x).map((r) => [placeName(r.row.key), once(r.row.stride), kind(r.row), by(r.row.cumulative_stride), by(r.row.out_size)])} />
  </${Panel}>`;
}
