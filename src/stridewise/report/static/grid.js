// Numbers as a grid of squares, drawn on a canvas and clicked, hovered or walked with arrow keys.

import { html, useEffect, useRef } from "sw/ui";

const grey = (t) => { const v = Math.round(28 + 222 * t); return `rgb(${v},${v},${v})`; };
// Blue for little, yellow for much: distinct in brightness alone.
const warm = (t) => `rgb(${Math.round(20 + 235 * t)},${Math.round(40 + 170 * t)},${Math.round(110 - 70 * t)})`;

export function outline(map, cell) {
  return map.axes.map((axis, i) => ({ from: cell[i] * axis.stride - axis.begin, span: axis.span }));
}

export function Grid({ values, heat, label, pads = [[0, 0], [0, 0]], window: frame, taps, unread, rest = [0, 0], chosen, lit, onCell, onLeave }) {
  const ref = useRef(null);
  const [[top, bottom], [left, right]] = pads;
  const rows = values.length;
  const columns = values[0].length;
  const size = [top + rows + bottom, left + columns + right];
  const unit = Math.max(4, Math.floor(Math.min(340 / size[1], 340 / size[0], 30)));
  useEffect(() => {
    const canvas = ref.current;
    const scale = Math.min(3, globalThis.devicePixelRatio || 1);
    canvas.width = size[1] * unit * scale;
    canvas.height = size[0] * unit * scale;
    const c = canvas.getContext("2d");
    c.scale(scale, scale);
    c.clearRect(0, 0, size[1] * unit, size[0] * unit);
    const shown = heat || values;
    const all = shown.flat();
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const box = (y, x) => [(x + left) * unit, (y + top) * unit, unit - 0.6, unit - 0.6];
    c.fillStyle = "rgba(128,140,170,.16)";
    c.fillRect(0, 0, size[1] * unit, size[0] * unit);
    shown.forEach((line, y) => line.forEach((v, x) => {
      c.fillStyle = (heat ? warm : grey)(high > low ? (v - low) / (high - low) : 0.5);
      c.fillRect(...box(y, x));
      if (unread && (unread.rows[y] || unread.columns[x])) hatch(c, box(y, x));
    }));
    // The floor's remainder, in the padding too: the last rows and columns that no window reaches.
    for (let y = -top; y < rows + bottom; y += 1) for (let x = -left; x < columns + right; x += 1)
      if (y >= rows + bottom - rest[0] || x >= columns + right - rest[1]) hatch(c, box(y, x));
    if (lit) { c.strokeStyle = "#00b8d9"; c.lineWidth = 2.5; for (const key of lit) { const [y, x] = key.split(",").map(Number); const [a, b, w, h] = box(y, x); c.strokeRect(a + 1, b + 1, w - 2, h - 2); } }
    if (taps) { c.fillStyle = "rgba(255,176,0,.42)"; for (const y of taps[0]) for (const x of taps[1]) c.fillRect(...box(y, x)); }
    if (frame) edge(c, [(frame[1].from + left) * unit, (frame[0].from + top) * unit, frame[1].span * unit, frame[0].span * unit]);
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
  return html`<canvas ref=${ref} class="grid-canvas" style=${{ width: `${size[1] * unit}px`, aspectRatio: `${size[1]} / ${size[0]}` }} tabindex="0" role="application" aria-label=${`${label}, ${rows} by ${columns}; arrow keys choose one`} onPointerMove=${find} onClick=${find} onPointerLeave=${onLeave} onKeyDown=${keys}></canvas>`;
}

function edge(c, [x, y, w, h]) {
  c.lineWidth = 4;
  c.strokeStyle = "#000";
  c.strokeRect(x, y, w, h);
  c.lineWidth = 2;
  c.strokeStyle = "#ffb000";
  c.strokeRect(x, y, w, h);
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
