// One cell's arithmetic: window times filter, summed; the pixels fly into the products where motion is welcome.

import { signed } from "sw/grid";
import { plainNumber } from "sw/format";
import { html, useEffect, useRef } from "sw/ui";

const FLIGHT = 420; // milliseconds
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// The pixels and taps of one cell: [{y, x, k, m, value, weight, product}]; y or x is -1 in the zeros around.
export function termsOf(found, map, cell) {
  const [rows, columns] = map.axes.map((axis, i) => axis.taps[cell[i]]);
  return rows.flatMap(([y, k]) => columns.map(([x, m]) => {
    const inside = y >= 0 && x >= 0;
    const value = inside ? found.pixels[y][x] : 0;
    return { y, x, k, m, inside, value, weight: found.weights[k][m], product: value * found.weights[k][m] };
  }));
}

// A copy of each pixel's square goes from the grid to its product, then its product to the sum.
function fly(panel, grid, map, cell, terms) {
  const side = Number(grid.dataset.unit);
  const from = grid.getBoundingClientRect();
  const scale = from.width / (grid.width / Math.min(3, globalThis.devicePixelRatio || 1)) || 1;
  const sum = panel.querySelector(".sum b").getBoundingClientRect();
  for (const { k, m, y, x, inside, value } of terms) {
    const target = panel.querySelector(`[data-product="${k},${m}"]`)?.getBoundingClientRect();
    if (!target || !inside) continue;
    const dot = document.createElement("span");
    dot.className = "flying";
    dot.textContent = side > 14 ? plainNumber(value) : "";
    const at = (box, w) => `translate(${box[0]}px, ${box[1]}px) scale(${w})`;
    const start = [from.x + (x + Number(grid.dataset.left)) * side * scale, from.y + (y + Number(grid.dataset.top)) * side * scale];
    document.body.append(dot);
    dot.animate(
      [{ transform: at(start, 1), opacity: 0.95 }, { transform: at([target.x, target.y], 1.15), opacity: 0.95, offset: 0.6 }, { transform: at([sum.x, sum.y], 0.6), opacity: 0 }],
      { duration: FLIGHT, easing: "ease-in-out" },
    ).finished.then(() => dot.remove(), () => dot.remove());
  }
}

export function Products({ found, map, cell, moving }) {
  const panel = useRef(null);
  const terms = termsOf(found, map, cell);
  const sum = terms.reduce((a, t) => a + t.product, 0);
  const small = found.weights.length * found.weights[0].length <= 49;
  const key = `${map.stride}@${cell}`;
  const motion = small && !still();
  useEffect(() => {
    const grid = document.getElementById("one-input");
    if (moving && motion && grid) fly(panel.current, grid, map, cell, terms);
  }, [key]);
  const grid = found.weights.map((line) => line.map(() => null));
  for (const t of terms) grid[t.k][t.m] = t;
  const most = Math.max(1e-9, ...terms.map((t) => Math.abs(t.product)));
  const table = (caption, draw) => html`<figure><figcaption>${caption}</figcaption><table class="numbers"><tbody>${grid.map((line, k) => html`<tr>${line.map((t, m) => draw(t, k, m))}</tr>`)}</tbody></table></figure>`;
  const tint = (v) => ({ background: signed((0.75 * v) / most), color: "#101522" });
  return html`<div class="products" ref=${panel} data-cell=${key} data-flown=${moving && motion ? terms.filter((t) => t.inside).length : 0}>${small && html`
      ${table("pixels under it", (t) => html`<td class=${t?.inside ? "" : "pad"}>${t ? plainNumber(t.value) : "·"}</td>`)}<b aria-hidden="true">×</b>
      ${table("filter", (t, k, m) => html`<td>${plainNumber(found.weights[k][m])}</td>`)}<b aria-hidden="true">=</b>
      ${table("products", (t, k, m) => html`<td class="strong" data-product=${`${k},${m}`} style=${t ? tint(t.product) : {}}>${t ? plainNumber(t.product) : "·"}</td>`)}`}
    <p class="sum">sum of ${terms.length} products = <b>${plainNumber(sum)}</b><br /><span class="muted">cell ${cell.join(", ")} of the output at stride ${map.stride.join("×")}${terms.some((t) => !t.inside) ? "; the zeros around count as 0" : ""}${found.transposed ? `; ${terms.length} of ${found.weights.flat().length} taps reach it` : ""}</span></p></div>`;
}
