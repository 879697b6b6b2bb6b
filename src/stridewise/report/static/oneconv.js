// Area 5, one convolution: the window slides over real pixels; products, sum, what is never read, and the size formula.

import { number } from "sw/format";
import { post } from "sw/net";
import { base, layer, look, network, picture, row, settings } from "sw/store";
import { Grid, outline } from "sw/grid";
import { html, NumberField, Twin, useEffect, useMemo, useState } from "sw/ui";

const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
const round = (v) => (Math.abs(v) < 5e-4 ? "0" : Math.abs(v) < 10 ? v.toFixed(2) : v.toFixed(1));

// The geometry of the chosen layer where it has a window on two axes; a small start otherwise.
function fromLayer(r, own) {
  if (!r || r.kernel.length !== 2 || !["conv", "max_pool", "avg_pool"].includes(r.op)) return null;
  return { kernel: own ? "own" : `${r.op === "conv" ? "gaussian" : "box"}:${r.kernel[0]}`, strides: [r.stride.map(number)], dilation: r.dilation[0], padding: r.padding, side: clamp(r.dilation[0] * (r.kernel[0] - 1) + 14, 16, 30) };
}

const START = { kernel: "sobel-x", strides: [[1, 1], [2, 2]], dilation: 1, padding: "same", side: 18, at: [0.5, 0.5] };

function Numbers({ found, map, cell }) {
  const [rows, columns] = map.axes;
  const [ys, xs] = [rows.positions[cell[0]], columns.positions[cell[1]]];
  const values = ys.map((y) => xs.map((x) => found.pixels[y]?.[x] ?? null));
  const products = values.map((line, i) => line.map((v, j) => (v ?? 0) * found.weights[i][j]));
  const sum = products.flat().reduce((a, b) => a + b, 0);
  const small = found.weights.length * found.weights[0].length <= 49;
  const table = (caption, cells, css) => html`<figure><figcaption>${caption}</figcaption><table class="numbers"><tbody>${cells.map((line) => html`<tr>${line.map((v) => html`<td class=${v === null ? "pad" : css}>${v === null ? "0" : round(v)}</td>`)}</tr>`)}</tbody></table></figure>`;
  return html`<div class="products">${small && html`${table("window", values, "")}<b aria-hidden="true">×</b>${table("filter", found.weights, "")}<b aria-hidden="true">=</b>${table("products", products, "strong")}`}
    <p class="sum">Σ of ${values.flat().length} products = <b>${round(sum)}</b><br /><span class="muted">cell ${cell.join(", ")} of the output${values.flat().includes(null) ? "; padding counts as 0" : ""}</span></p></div>`;
}

function Map({ found, map, cell, setCell, reading, label }) {
  const [rows, columns] = map.axes;
  return html`<figure class="made"><figcaption>stride ${map.stride.join("×")}: ${rows.out_size}×${columns.out_size} cells, ${(100 * rows.coverage * columns.coverage).toFixed(0)} % of pixels read, ${map.multiplications} multiplications</figcaption>
    <${Grid} values=${map.out} label=${`${label}: output at stride ${map.stride.join("×")}`} chosen=${cell} lit=${reading} onCell=${setCell} /></figure>`;
}

export function OneConvolution() {
  const own = row.value?.op === "conv" && row.value.kernel.length === 2 && !base.value.cannot?.filter;
  const [asked, setAsked] = useState(() => ({ ...START, ...(settings.value ?? (row.value?.kernel.some((k) => k > 1) ? fromLayer(row.value, own) : null) ?? {}) }));
  const [found, setFound] = useState(null);
  const [why, setWhy] = useState("");
  const [index, setIndex] = look("window", 0);
  const [which, setWhich] = look("side", 0);
  const [pixel, setPixel] = useState(null);
  const [playing, setPlaying] = useState(false);
  const [coverage, setCoverage] = look("read", false);
  useEffect(() => {
    let stale = false;
    post("/api/convolution", { network: network.value, layer: layer.value, ...asked }).then((f) => { if (!stale) { setFound(f); setWhy(""); setWhich((w) => Math.min(w, f.maps.length - 1)); } }).catch((error) => !stale && setWhy(error.message));
    return () => { stale = true; };
  }, [JSON.stringify(asked), network.value, picture.value.number, asked.kernel === "own" ? layer.value : ""]);
  const map = found?.maps[Math.min(which, (found?.maps.length ?? 1) - 1)];
  const total = map ? map.axes[0].out_size * map.axes[1].out_size : 1;
  const at = Math.min(index, total - 1);
  const cell = map ? [Math.floor(at / map.axes[1].out_size), at % map.axes[1].out_size] : [0, 0];
  useEffect(() => {
    if (!playing) return undefined;
    const timer = setInterval(() => setIndex((i) => (i + 1) % total), 260);
    return () => clearInterval(timer);
  }, [playing, total]);
  const readers = useMemo(() => {
    if (!map || !pixel) return null;
    const of = (axis, p) => axis.positions.flatMap((taps, i) => (taps.includes(p) ? [i] : []));
    const [ys, xs] = [of(map.axes[0], pixel[0]), of(map.axes[1], pixel[1])];
    return new Set(ys.flatMap((y) => xs.map((x) => `${y},${x}`)));
  }, [map, pixel]);
  const latest = () => ({ ...asked, ...settings.value }); // two changes may come before one drawing
  const set = (more) => { settings.value = { ...latest(), ...more }; setAsked(settings.value); setPlaying(false); };
  const stride = (i, axis, value) => set({ strides: latest().strides.map((s, n) => (n === i ? s.map((old, a) => (a === axis ? clamp(Math.round(value) || 1, 1, 64) : old)) : s)) });
  const step = (by) => { setPlaying(false); setIndex((at + by + total) % total); };
  const geometry = fromLayer(row.value, own);
  const pads = typeof asked.padding === "string" ? asked.padding : "custom";
  const padding = (axis, end, value) => set({ padding: latest().padding.map((pair, a) => (a === axis ? pair.map((old, e) => (e === end ? clamp(Math.round(value) || 0, 0, 33) : old)) : pair)) });
  const [family, taps] = asked.kernel.split(":");
  const size = found?.sizes[family];
  const unread = map && { rows: map.axes[0].reads.map((n) => n === 0), columns: map.axes[1].reads.map((n) => n === 0) };
  const heat = map && coverage && found.pixels.map((line, y) => line.map((_, x) => map.axes[0].reads[y] * map.axes[1].reads[x]));
  return html`<div class="tools" role="group" aria-label="Settings">
      <label>filter <select id="filter" value=${family} onChange=${(e) => set({ kernel: e.target.value })}>
        ${[...new Set([...(found?.kernels ?? []), family])].filter((k) => k !== "own").map((k) => html`<option value=${k} selected=${k === family}>${k}</option>`)}
        ${own && html`<option value="own" selected=${asked.kernel === "own"}>${layer.value}'s own</option>`}</select></label>
      ${asked.kernel === "own" && row.value?.channels && html`<label>channel <${NumberField} min="0" max=${row.value.channels[1] - 1} value=${asked.channel ?? 0} onCommit=${(n) => set({ channel: clamp(Math.round(n), 0, row.value.channels[1] - 1) })} /></label>`}
      ${size && html`<label>size <${NumberField} id="filter-size" min=${family === "gabor" ? 3 : 1} max="33" value=${taps ?? size} onCommit=${(n) => set({ kernel: `${family}:${clamp(Math.round(n), family === "gabor" ? 3 : 1, 33)}` })} /></label>`}
      ${asked.strides.map((s, i) => html`<fieldset key=${i} class="pair"><legend>${asked.strides.length > 1 ? `stride ${i ? "right" : "left"}` : "stride"}</legend>${s.map((v, axis) => html`<label key=${axis}><span class="unseen">${axis ? "columns" : "rows"}</span><${NumberField} min="1" max="16" value=${v} onCommit=${(n) => stride(i, axis, n)} /></label>`)}</fieldset>`)}
      <button type="button" class="small" onClick=${() => set({ strides: asked.strides.length > 1 ? asked.strides.slice(0, 1) : [...asked.strides, asked.strides[0].map((v) => v * 2)] })}>${asked.strides.length > 1 ? "one stride" : "two side by side"}</button>
      <label>dilation <${NumberField} min="1" max="8" value=${asked.dilation} onCommit=${(n) => set({ dilation: clamp(Math.round(n), 1, 8) })} /></label>
      <label>padding <select value=${pads === "custom" ? "own" : pads} id="padding" onChange=${(e) => set({ padding: e.target.value === "own" ? (map?.axes.map((a) => [a.begin, a.end]) ?? [[1, 1], [1, 1]]) : e.target.value })}><option value="same">same</option><option value="valid">none</option><option value="own">by number</option></select></label>
      ${pads === "custom" && asked.padding.map((pair, axis) => html`<fieldset key=${axis} class="pair"><legend>${axis ? "left, right" : "top, bottom"}</legend>${pair.map((n, end) => html`<label key=${end}><span class="unseen">${[["top", "bottom"], ["left", "right"]][axis][end]}</span><${NumberField} min="0" max="33" value=${n} onCommit=${(typed) => padding(axis, end, typed)} /></label>`)}</fieldset>`)}
      ${geometry && html`<button type="button" class="small" onClick=${() => set(geometry)}>as ${layer.value}</button>`}
    </div>
    ${why && html`<p class="note" role="alert">${why}</p>`}
    ${found && map && html`<div class="sliding">
        <figure><figcaption>the picture, ${found.pixels.length}×${found.pixels[0].length} pixels${map.axes.some((a) => a.begin || a.end) ? ", padding around it" : ""}</figcaption>
          <${Grid} values=${found.pixels} heat=${heat} label="Input pixels" pads=${map.axes.map((a) => [a.begin, a.end])} window=${outline(map, cell)} taps=${[map.axes[0].positions[cell[0]], map.axes[1].positions[cell[1]]]} unread=${unread} rest=${map.axes.map((a) => a.remainder)} chosen=${pixel} onCell=${setPixel} onLeave=${() => setPixel(null)} /></figure>
        ${found.maps.map((m, i) => html`<${Map} key=${i} found=${found} map=${m} label=${i ? "right" : "left"} cell=${i === which ? cell : null} reading=${i === which ? readers : null} setCell=${([y, x]) => { setWhich(i); setPlaying(false); setIndex(y * m.axes[1].out_size + x); }} />`)}
      </div>
      <div class="controls"><button type="button" onClick=${() => setPlaying(!playing)} aria-pressed=${playing}>${playing ? "pause" : "play"}</button><button type="button" onClick=${() => step(-1)}>step back</button><button type="button" onClick=${() => step(1)}>step</button>
        <label class="wide-range">window <input type="range" min="0" max=${total - 1} value=${at} onInput=${(e) => { setPlaying(false); setIndex(Number(e.target.value)); }} aria-valuetext=${`cell ${cell.join(", ")}`} /></label>
        <label class="check"><input type="checkbox" checked=${coverage} onChange=${(e) => setCoverage(e.target.checked)} /> how often each pixel is read</label></div>
      <${Numbers} found=${found} map=${map} cell=${cell} />
      <dl class="formulas">${map.axes.map((a, i) => html`<div key=${i}><dt>${i ? "columns" : "rows"}</dt><dd><code>${a.formula}</code>${a.remainder ? html` <span class="muted">the floor leaves ${a.remainder} padded position${a.remainder > 1 ? "s" : ""}${a.dropped ? `; ${a.dropped} of them are pixels that no window reaches` : ""}</span>` : ""}</dd></div>`)}</dl>
      <${Twin} label="The output as a table" heads=${["row", ...map.out[0].map((_, i) => i)]} rows=${map.out.map((line, y) => [y, ...line.map(round)])} />`}`;
}
