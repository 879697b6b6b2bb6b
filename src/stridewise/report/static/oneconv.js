// Area 5, one convolution: the window slides over real pixels; products, sum, what is never read, and the size formula.

import { Crop } from "sw/crop";
import { number, plainNumber } from "sw/format";
import { cellSide, Grid, scaleOf } from "sw/grid";
import { post } from "sw/net";
import { Products, termsOf } from "sw/products";
import { Signal } from "sw/signal";
import { base, layer, look, network, picture, row, settings } from "sw/store";
import { html, NumberField, Twin, useEffect, useMemo, useState } from "sw/ui";

const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
const PACE = 700; // milliseconds between two windows
const BORDERS = [["zeros", "zeros"], ["reflect", "mirrored"], ["replicate", "repeated"], ["circular", "from the other side"]];

// What a person recognises: an edge, found by an edge filter, at stride 1 and 2 beside each other.
const START = { kernel: "sobel-x", strides: [[1, 1], [2, 2]], dilation: 1, padding: "same", border: "zeros", transposed: false, signal: false, side: 18, at: "edge", channel: 0, reads: null };

// The geometry of the chosen layer where it has a window on two axes.
function fromLayer(r, own) {
  if (!r || r.kernel.length !== 2 || !["conv", "conv_transpose", "max_pool", "avg_pool"].includes(r.op)) return null;
  const stride = r.stride.map(number);
  const up = r.op === "conv_transpose";
  return { kernel: own ? "own" : `${r.op === "conv" ? "gaussian" : "box"}:${Math.max(1, r.kernel[0])}`, transposed: up, signal: false, strides: [up ? stride.map((s) => Math.round(1 / s)) : stride], dilation: clamp(r.dilation[0], 1, 8), padding: r.padding, side: clamp(r.dilation[0] * (r.kernel[0] - 1) + (up ? 6 : 14), up ? 6 : 16, 30) };
}

// The cell of another map that looks at the same place: its window's middle is nearest.
function beside(from, cell, to) {
  return from.axes.map((axis, i) => {
    const middle = (a, at) => a.windows[at][0] + a.windows[at][1] / 2;
    const wanted = middle(axis, cell[i]);
    let best = 0;
    for (let at = 0; at < to.axes[i].out_size; at += 1) if (Math.abs(middle(to.axes[i], at) - wanted) < Math.abs(middle(to.axes[i], best) - wanted) - 1e-9) best = at;
    return best;
  });
}

const frameOf = (map, cell) => map.axes.map((axis, i) => ({ from: axis.windows[cell[i]][0], span: Math.max(axis.windows[cell[i]][1], 0) }));

const Legend = ({ scale }) => html`<span class="scale"><i class=${scale.isSigned ? "ramp signed" : "ramp"} aria-hidden="true"></i>${scale.isSigned ? `−${plainNumber(scale.high)} · 0 · ${plainNumber(scale.high)}` : `${plainNumber(scale.low)} to ${plainNumber(scale.high)}`}</span>`;

function Settings({ asked, found, map, own, set }) {
  const [family, taps] = asked.kernel.split(":");
  const size = found?.sizes[family];
  const pads = typeof asked.padding === "string" ? asked.padding : "custom";
  const stride = (i, axis, value) => set({ strides: asked.strides.map((s, n) => (n === i ? s.map((old, a) => (a === axis ? value : old)) : s)) });
  const padding = (axis, end, value) => set({ padding: asked.padding.map((pair, a) => (a === axis ? pair.map((old, e) => (e === end ? value : old)) : pair)) });
  const axes = asked.signal ? [1] : [0, 1];
  const geometry = fromLayer(row.value, own);
  return html`<div class="tools" role="group" aria-label="Settings">
      <label>filter <select id="filter" value=${family} onChange=${(e) => set({ kernel: e.target.value, reads: null })}>
        ${[...new Set([...(found?.kernels ?? []), family])].filter((k) => k !== "own").map((k) => html`<option value=${k} selected=${k === family}>${k}</option>`)}
        ${own && html`<option value="own" selected=${asked.kernel === "own"}>${layer.value}'s own</option>`}</select></label>
      ${found?.own && asked.kernel === "own" && html`<label>filter number <${NumberField} id="own-filter" min="0" max=${found.own.of - 1} value=${found.own.channel} onCommit=${(n) => set({ channel: n, reads: null })} /></label>
        <label>reads channel <${NumberField} id="own-reads" min="0" max=${found.own.reads_of - 1} value=${found.own.reads} onCommit=${(n) => set({ reads: n })} /></label>`}
      ${size && html`<label>size <${NumberField} id="filter-size" min=${family === "gabor" ? 3 : 1} max="33" value=${taps ?? size} onCommit=${(n) => set({ kernel: `${family}:${n}` })} /></label>`}
      ${asked.strides.map((s, i) => html`<fieldset key=${i} class="pair"><legend>${asked.strides.length > 1 ? `stride ${i ? "right" : "left"}` : "stride"}</legend>${axes.map((axis) => html`<label key=${axis}><span class="unseen">${axis ? "columns" : "rows"}</span><${NumberField} min="1" max="64" value=${s[axis]} onCommit=${(n) => stride(i, axis, n)} /></label>`)}</fieldset>`)}
      <button type="button" class="small" onClick=${() => set({ strides: asked.strides.length > 1 ? asked.strides.slice(0, 1) : [...asked.strides, asked.strides[0].map((v) => clamp(v * 2, 1, 64))] })}>${asked.strides.length > 1 ? "one stride" : "two side by side"}</button>
      <label>dilation <${NumberField} min="1" max="8" value=${asked.dilation} onCommit=${(n) => set({ dilation: n })} /></label>
      <label>padding <select value=${pads === "custom" ? "own" : pads} id="padding" onChange=${(e) => set({ padding: e.target.value === "own" ? (map?.axes.map((a) => a.cropped ?? [a.begin, a.end]) ?? [[1, 1], [1, 1]]) : e.target.value })}><option value="same">same</option><option value="valid">none</option><option value="own">by number</option></select></label>
      ${pads === "custom" && asked.padding.map((pair, axis) => axes.includes(axis) && html`<fieldset key=${axis} class="pair"><legend>${axis ? "left, right" : "top, bottom"}</legend>${pair.map((n, end) => html`<label key=${end}><span class="unseen">${[["top", "bottom"], ["left", "right"]][axis][end]}</span><${NumberField} min="0" max="33" value=${n} onCommit=${(typed) => padding(axis, end, typed)} /></label>`)}</fieldset>`)}
      ${!asked.transposed && html`<label>around it <select id="border" value=${asked.border} onChange=${(e) => set({ border: e.target.value })}>${BORDERS.map(([id, name]) => html`<option value=${id} selected=${id === asked.border}>${name}</option>`)}</select></label>`}
      <label class="check"><input type="checkbox" id="transposed" checked=${asked.transposed} onChange=${(e) => set(e.target.checked ? { transposed: true, border: "zeros", side: 6 } : { transposed: false, side: START.side })} /> transposed</label>
      <label class="check"><input type="checkbox" id="signal" checked=${asked.signal} onChange=${(e) => set({ signal: e.target.checked, side: e.target.checked ? 40 : START.side })} /> one row, as a signal</label>
      ${geometry && html`<button type="button" class="small" onClick=${() => set({ border: "zeros", reads: null, ...geometry })}>as ${layer.value}</button>`}
      <button type="button" class="small" onClick=${() => set(START)}>edge example</button>
    </div>`;
}

export function OneConvolution() {
  const own = row.value?.op === "conv" && row.value.kernel.length === 2 && !base.value.cannot?.filter;
  const [asked, setAsked] = useState(() => ({ ...START, ...settings.value }));
  const [found, setFound] = useState(null);
  const [why, setWhy] = useState("");
  const [index, setIndex] = look("window", 0);
  const [which, setWhich] = look("side", 0);
  const [pixel, setPixel] = useState(null);
  const [playing, setPlaying] = useState(false);
  const [moving, setMoving] = useState(false); // by step or play, which pixels follow; not by the hand
  const [coverage, setCoverage] = look("read", false);
  useEffect(() => {
    let stale = false;
    post("/api/convolution", { network: network.value, layer: layer.value, ...asked }).then((f) => { if (!stale) { setFound(f); setWhy(""); setWhich((w) => Math.min(w, f.maps.length - 1)); } }).catch((error) => !stale && setWhy(error.message));
    return () => { stale = true; };
  }, [JSON.stringify(asked), network.value, picture.value.number, asked.kernel === "own" ? layer.value : ""]);
  const side = Math.min(which, (found?.maps.length ?? 1) - 1);
  const map = found?.maps[side];
  const total = map ? map.axes[0].out_size * map.axes[1].out_size : 1;
  const at = Math.min(index, total - 1);
  const cell = map ? [Math.floor(at / map.axes[1].out_size), at % map.axes[1].out_size] : [0, 0];
  useEffect(() => {
    if (!playing) return undefined;
    const timer = setInterval(() => { setMoving(true); setIndex((i) => (i + 1) % total); }, PACE);
    return () => clearInterval(timer);
  }, [playing, total]);
  const readers = useMemo(() => {
    if (!found || !pixel) return null;
    return found.maps.map(({ axes }) => {
      const [ys, xs] = axes.map((axis, i) => axis.taps.flatMap((taps, o) => (taps.some(([p]) => p === pixel[i]) ? [o] : [])));
      return new Set(ys.flatMap((y) => xs.map((x) => `${y},${x}`)));
    });
  }, [found, pixel]);
  const latest = () => ({ ...asked, ...settings.value }); // two changes may come before one drawing
  const set = (more) => { settings.value = { ...latest(), ...more }; setAsked(settings.value); setPlaying(false); setMoving(false); };
  const go = (to, by = false) => { setPlaying(false); setMoving(by); setIndex((to + total) % total); };
  const choose = (i, [y, x]) => { setWhich(i); setPlaying(false); setMoving(false); setIndex(y * found.maps[i].axes[1].out_size + x); };
  const cells = map && found.maps.map((m, i) => (i === side ? cell : beside(map, cell, m)));
  const unread = map && !coverage && { rows: map.axes[0].reads.map((n) => n === 0), columns: map.axes[1].reads.map((n) => n === 0) };
  const heat = map && coverage && found.pixels.map((line, y) => line.map((_, x) => map.axes[0].reads[y] * map.axes[1].reads[x]));
  const pads = map && map.axes.map((a) => [a.begin, a.end]);
  // One side of a cell for all: a map at stride 2 is seen to be half as large.
  const unit = map && cellSide([found.pixels.map((_, i) => i).length + pads[0][0] + pads[0][1], found.pixels[0].length + pads[1][0] + pads[1][1], ...found.maps.flatMap((m) => m.axes.map((a) => a.out_size))]);
  const inks = map && scaleOf(found.pixels);
  const outs = map && scaleOf(found.maps.flatMap((m) => m.out));
  const about = found?.own ? `filter ${found.own.channel} of ${found.own.of} reads ${found.own.place}; the layer sums ${found.own.reads_of} such answers` : `${found?.cut.rows}×${found?.cut.columns} grey pixels of the picture`;
  const source = `/api/picture?network=${network.value}&n=${picture.value.number}`;
  return html`<${Settings} asked=${asked} found=${found} map=${map} own=${own} set=${set} />
    ${why && html`<p class="note" role="alert">${why}</p>`}
    ${found && map && html`<p class="muted small-text" id="one-about">${found.kernel}: ${about}.${found.transposed ? " Transposed: every pixel spreads the whole filter, stride cells apart; a cell sums what reaches it." : ""}</p>
      <div class="sliding">
        <${Crop} source=${source} cut=${found.cut} onMove=${(shares) => set({ at: shares })} />
        ${found.signal ? html`<${Signal} found=${found} maps=${found.maps} which=${side} cell=${cell} onCell=${choose} />` : html`
        <figure><figcaption>${found.own ? found.own.place : "the pixels"}, ${found.pixels.length}×${found.pixels[0].length}${pads.flat().some(Boolean) ? ", padding around them" : ""} <${Legend} scale=${inks} /></figcaption>
          <${Grid} id="one-input" values=${found.pixels} heat=${heat} scale=${inks} unit=${unit} label="Input pixels" pads=${pads} around=${map.axes.map((a) => a.around)} frames=${[side, ...found.maps.map((_, i) => i).filter((i) => i !== side)].map((i) => frameOf(found.maps[i], cells[i]))} taps=${termsOf(found, map, cell).filter((t) => t.inside).map((t) => [t.y, t.x])} unread=${unread} rest=${map.axes.map((a) => a.remainder)} chosen=${pixel} onCell=${setPixel} onLeave=${() => setPixel(null)} /></figure>
        ${found.maps.map((m, i) => html`<figure class="made" key=${i}><figcaption>stride ${m.stride.join("×")}: ${m.axes[0].out_size}×${m.axes[1].out_size} cells, ${(100 * m.axes[0].coverage * m.axes[1].coverage).toFixed(0)} % of pixels read, ${m.multiplications} multiplications <${Legend} scale=${outs} /></figcaption>
          <${Grid} id=${`one-output-${i}`} values=${m.out} scale=${outs} unit=${unit} label=${`${i ? "right" : "left"}: output at stride ${m.stride.join("×")}`} chosen=${cells[i]} lit=${readers?.[i]} onCell=${(to) => choose(i, to)} /></figure>`)}`}
      </div>
      <div class="controls"><button type="button" onClick=${() => setPlaying(!playing)} aria-pressed=${playing}>${playing ? "pause" : "play"}</button><button type="button" onClick=${() => go(at - 1, true)}>step back</button><button type="button" onClick=${() => go(at + 1, true)}>step</button>
        <label class="wide-range">window <input type="range" min="0" max=${total - 1} value=${at} onInput=${(e) => go(Number(e.target.value))} aria-valuetext=${`cell ${cell.join(", ")}`} /></label>
        <label class="check"><input type="checkbox" checked=${coverage} onChange=${(e) => setCoverage(e.target.checked)} /> how often each pixel is read</label></div>
      <${Products} found=${found} map=${map} cell=${cell} moving=${moving && !found.signal} />
      <dl class="formulas">${map.axes.map((a, i) => (found.signal && i === 0 ? null : html`<div key=${i}><dt>${i ? "columns" : "rows"}</dt><dd><code>${a.formula}</code>${a.remainder ? html` <span class="muted">the floor leaves ${a.remainder} padded position${a.remainder > 1 ? "s" : ""}${a.dropped ? `; ${a.dropped} of them are pixels that no window reaches` : ""}</span>` : ""}</dd></div>`))}</dl>
      <${Twin} label="The output as a table" heads=${["row", ...map.out[0].map((_, i) => i)]} rows=${map.out.map((line, y) => [y, ...line.map(plainNumber)])} />`}`;
}
