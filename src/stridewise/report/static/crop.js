// Where the pixels are cut from: a square on the photograph, dragged or moved by arrow keys.

import { html, useRef } from "sw/ui";

export function Crop({ source, cut, onMove }) {
  const frame = useRef(null);
  const [rows, columns] = cut.of;
  const room = [rows - cut.rows, columns - cut.columns];
  const put = (top, left) => onMove([top, left].map((v, i) => (room[i] ? Math.min(1, Math.max(0, v / room[i])) : 0)));
  const grab = (event) => {
    event.preventDefault();
    const box = frame.current.getBoundingClientRect();
    const unit = box.height / rows;
    const at = (e) => [(e.clientY - box.top) / unit, (e.clientX - box.left) / unit];
    const [y, x] = at(event);
    const held = y >= cut.top && y < cut.top + cut.rows && x >= cut.left && x < cut.left + cut.columns ? [y - cut.top, x - cut.left] : [cut.rows / 2, cut.columns / 2];
    const move = (e) => { const [a, b] = at(e); put(Math.round(a - held[0]), Math.round(b - held[1])); };
    const stop = () => ["pointermove", "pointerup", "pointercancel"].forEach((name) => window.removeEventListener(name, name === "pointermove" ? move : stop));
    ["pointermove", "pointerup", "pointercancel"].forEach((name) => window.addEventListener(name, name === "pointermove" ? move : stop));
    move(event);
  };
  const keys = (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    put(cut.top + step[0] * (event.shiftKey ? 8 : 1), cut.left + step[1] * (event.shiftKey ? 8 : 1));
  };
  return html`<figure class="cutter"><figcaption>drag the square over the photograph</figcaption>
    <div class="frame drag" ref=${frame} style=${{ aspectRatio: `${columns} / ${rows}` }} onPointerDown=${grab}>
      <img class="photo" src=${source} alt="" draggable=${false} />
      <svg class="overlay" id="crop" viewBox=${`0 0 ${columns} ${rows}`} tabindex="0" role="application" data-at=${`${cut.top},${cut.left}`} aria-label=${`The square of pixels: from row ${cut.top}, column ${cut.left} of ${rows} by ${columns}. Arrow keys move it.`} onKeyDown=${keys}>
        <rect class="field" x=${cut.left} y=${cut.top} width=${cut.columns} height=${cut.rows} /><rect class="field dashed" x=${cut.left} y=${cut.top} width=${cut.columns} height=${cut.rows} /></svg></div></figure>`;
}
