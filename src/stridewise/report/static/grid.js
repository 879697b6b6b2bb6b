// Numbers as a grid of squares, drawn on a canvas and clicked, hovered or walked with arrow keys.

import { html, useEffect, useRef } from "sw/ui";

const grey = (t) => { const v = Math.round(28 + 222 * t); return `rgb(${v},${v},${v})`; };
// Blue for little, yellow for much: distinct in brightness alone.
const warm = (t) => `rgb(${Math.round(20 + 235 * t)},${Math.round(40 + 170 * t)},${Math.round(110 - 70 * t)})`;
const towards = (to, t) => `rgb(${to.map((v) => Math.round(250 + (v - 250) * t)).join(",")})`;
// White is nothing, blue is negative, orange is positive; how strong is how dark.
export const signed = (t) => towards(t < 0 ? [24, 66, 190] : [190, 74, 0], Math.min(1, Math.abs(t)));

// The side of a cell such that all grids that stand beside each other have one and the same.
export const cellSide = (sizes, room = 285) => Math.max(3, Math.floor(Math.min(26, ...sizes.flat().map((n) => room / n))));

export const scaleOf = (values) => {
  const all = values.flat();
  const [low, high] = [Math.min(...all), Math.max(...all)];
  if (low >= -1e-9) return { low, high, colour: (v) => grey(high > low ? (v - low) / (high - low) : 0.5) };
  const most = Math.max(-low, high);
  return { low: -most, high: most, isSigned: true, colour: (v) => signed(v / most) };
};

// frames: windows, [{from, span} rows, {from, span} columns] each, the first one filled; taps: cells that take part.
export function Grid({ id, values, heat, scale, label, unit, pads = [[0, 0], [0, 0]], around = [null, null], frames = [], taps = [], unread, rest = [0, 0], chosen, lit, onCell, onLeave }) {
  const ref = useRef(null);
  const [[top, bottom], [left, right]] = pads;
  const rows = values.length;
  const columns = values[0].length;
  const size = [top + rows + bottom, left + columns + right];
  useEffect(() => {
    const canvas = ref.current;
    const dense = Math.min(3, globalThis.devicePixelRatio || 1);
    canvas.width = size[1] * unit * dense;
    canvas.height = size[0] * unit * dense;
    const c = canvas.getContext("2d");
    c.scale(dense, dense);
    c.clearRect(0, 0, size[1] * unit, size[0] * unit);
    const most = heat ? Math.max(...heat.flat(), 1) : 1;
    const colour = heat ? (v) => warm(v / most) : scale.colour;
    const box = (y, x) => [(x + left) * unit, (y + top) * unit, unit - 0.6, unit - 0.6];
    c.fillStyle = "rgba(128,140,170,.16)";
    c.fillRect(0, 0, size[1] * unit, size[0] * unit);
    (heat || values).forEach((line, y) => line.forEach((v, x) => {
      c.fillStyle = colour(v);
      c.fillRect(...box(y, x));
      if (unread && (unread.rows[y] || unread.columns[x])) hatch(c, box(y, x));
    }));
    // What a border is made of: the pixel it repeats, paler.
    if (!heat && (around[0] || around[1])) {
      c.globalAlpha = 0.5;
      for (let y = -top; y < rows + bottom; y += 1) for (let x = -left; x < columns + right; x += 1) {
        if (y >= 0 && y < rows && x >= 0 && x < columns) continue;
        c.fillStyle = colour(values[around[0] ? around[0][y + top] : y]?.[around[1] ? around[1][x + left] : x] ?? 0);
        c.fillRect(...box(y, x));
      }
      c.globalAlpha = 1;
    }
    // The floor's remainder, in the padding too: the last rows and columns that no window reaches.
    for (let y = -top; y < rows + bottom; y += 1) for (let x = -left; x < columns + right; x += 1)
      if (y >= rows + bottom - rest[0] || x >= columns + right - rest[1]) hatch(c, box(y, x));
    if (lit) { c.strokeStyle = "#008fb3"; c.lineWidth = 2.5; for (const key of lit) { const [y, x] = key.split(",").map(Number); const [a, b, w, h] = box(y, x); c.strokeRect(a + 1, b + 1, w - 2, h - 2); } }
    c.fillStyle = "rgba(255,176,0,.42)";
    for (const [y, x] of taps) c.fillRect(...box(y, x));
    frames.forEach((frame, i) => edge(c, [(frame[1].from + left) * unit, (frame[0].from + top) * unit, frame[1].span * unit, frame[0].span * unit], i > 0));
    if (chosen) edge(c, box(...chosen));
  });
  const find = (event) => {
    const r = ref.current.getBoundingClientRect();
    const y = Math.floor(((event.clientY - r.top) / r.height) * size[0]) - top;
    const x = Math.floor(((event.clientX - r.left) / r.width) * size[1]) - left;
    if (y >= 0 && x >= 0 && y < rows && x < columns) onCell?.([y, x]);
  };
  const keys = (event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault();
    const [y, x] = chosen ?? [0, 0];
    onCell?.([Math.min(rows - 1, Math.max(0, y + move[0])), Math.min(columns - 1, Math.max(0, x + move[1]))]);
  };
  return html`<canvas ref=${ref} id=${id} data-unit=${unit} data-top=${top} data-left=${left} class="grid-canvas" style=${{ width: `${size[1] * unit}px`, height: `${size[0] * unit}px` }} tabindex="0" role="application" aria-label=${`${label}, ${rows} by ${columns}; arrow keys choose one`} onPointerMove=${find} onClick=${find} onPointerLeave=${onLeave} onKeyDown=${keys}></canvas>`;
}

function edge(c, [x, y, w, h], second = false) {
  c.setLineDash([]);
  c.lineWidth = 4;
  c.strokeStyle = "#000";
  c.strokeRect(x, y, w, h);
  c.lineWidth = 2;
  c.strokeStyle = second ? "#00b8d9" : "#ffb000";
  c.setLineDash(second ? [5, 4] : []);
  c.strokeRect(x, y, w, h);
  c.setLineDash([]);
}

function hatch(c, [x, y, w, h]) {
  c.strokeStyle = "#ff5d8f";
  c.lineWidth = 1.2;
  c.beginPath();
  c.moveTo(x, y + h);
  c.lineTo(x + w, y);
  if (w > 10) { c.moveTo(x, y + h / 2); c.lineTo(x + w / 2, y); c.moveTo(x + w / 2, y + h); c.lineTo(x + w, y + h / 2); }
  c.stroke();
}
