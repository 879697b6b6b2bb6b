// What the page draws as picture files: its own styles written into them, so that they look alike elsewhere.

import { save } from "sw/ui";

const KEPT = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "opacity", "font-size", "font-family", "font-weight", "text-anchor", "dominant-baseline", "paint-order", "display", "vector-effect"];
const shown = (element) => element && element.getBoundingClientRect().width > 0;

// The panels that hold a drawing now: {name, forms, find}.
export function drawnPanels() {
  const room = document.querySelector("[role=tab][aria-selected=true][id^=room-]")?.textContent ?? "";
  const charts = [...document.querySelectorAll("#room svg.chart")];
  const canvas = () => document.querySelector("#room canvas");
  return [
    { name: "Ladder", forms: ["svg", "png"], svg: () => document.querySelector("#ladder svg.drawing") },
    { name: "Picture", forms: ["svg", "png"], frame: () => document.querySelector("#stage .frame") },
    ...charts.map((chart, i) => ({ name: charts.length > 1 ? `${room} ${i + 1}` : room, forms: ["svg", "png"], svg: () => chart })),
    { name: room, forms: ["svg", "png"], canvases: () => (canvas() ? [...document.querySelectorAll("#room canvas")] : null) },
  ].filter((panel) => { const found = (panel.svg ?? panel.frame ?? panel.canvases)(); return Array.isArray(found) ? found.length : shown(found); });
}

function standalone(svg, ground = true) {
  const copy = svg.cloneNode(true);
  const from = [svg, ...svg.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((node, i) => {
    const style = getComputedStyle(from[i]);
    for (const name of KEPT) node.setAttribute(name, style.getPropertyValue(name));
    for (const name of ["class", "tabindex", "role", "style"]) node.removeAttribute(name);
  });
  const box = svg.viewBox.baseVal;
  if (ground) {
    const under = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, value] of Object.entries({ x: box.x, y: box.y, width: box.width, height: box.height, fill: getComputedStyle(svg.closest(".panel")).backgroundColor }))
      under.setAttribute(name, value);
    copy.prepend(under);
  }
  const scale = ground ? 1 : svg.getBoundingClientRect().width / box.width;
  copy.setAttribute("width", box.width * scale);
  copy.setAttribute("height", box.height * scale);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return new XMLSerializer().serializeToString(copy);
}

async function decoded(text) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  return image;
}

// A canvas of that size, drawn twice as fine, as a PNG file.
async function png(name, width, height, draw) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.round(width * 2), Math.round(height * 2)];
  const c = canvas.getContext("2d");
  c.scale(2, 2);
  await draw(c);
  save(name, await new Promise((done) => canvas.toBlob(done, "image/png")), "image/png");
}

// The pictures that lie in the stage's frame, in order: where each is shown, and what of it the wipe leaves.
function layersOf(frame) {
  const box = frame.getBoundingClientRect();
  return [...frame.querySelectorAll("img")].map((image) => {
    const { x, y, width, height } = image.getBoundingClientRect();
    const style = getComputedStyle(image);
    const at = { x: x - box.x, y: y - box.y, width, height };
    const inset = /inset\(([^)]*)\)/.exec(style.clipPath)?.[1].trim().split(/\s+/).map(Number.parseFloat);
    if (!inset) return { image, style, at, left: at };
    const [top, right, bottom, left] = [inset[0], inset[1] ?? inset[0], inset[2] ?? inset[0], inset[3] ?? inset[1] ?? inset[0]].map((v) => v / 100);
    return { image, style, at, left: { x: at.x + left * width, y: at.y + top * height, width: width * (1 - left - right), height: height * (1 - top - bottom) } };
  });
}

// The stage: its pictures, each as it is shown, then what is drawn over them.
async function staged(c, frame) {
  const box = frame.getBoundingClientRect();
  for (const { image, style, at, left } of layersOf(frame)) {
    c.save();
    c.beginPath();
    c.rect(left.x, left.y, left.width, left.height);
    c.clip();
    c.imageSmoothingEnabled = style.imageRendering !== "pixelated";
    c.globalCompositeOperation = style.mixBlendMode === "normal" ? "source-over" : style.mixBlendMode;
    c.filter = style.filter;
    c.drawImage(image, at.x, at.y, at.width, at.height);
    c.restore();
  }
  const over = await decoded(standalone(frame.querySelector("svg"), false));
  c.drawImage(over, 0, 0, box.width, box.height);
}

// The same as one SVG: the pictures inside it, what is drawn over them as lines.
function stagedSvg(frame) {
  const { width, height } = frame.getBoundingClientRect();
  const inside = ({ image }) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: image.naturalWidth, height: image.naturalHeight });
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL();
  };
  const placed = ({ x, y, width: w, height: h }) => `x="${x}" y="${y}" width="${w}" height="${h}"`;
  const pictures = layersOf(frame).map((one, i) => `<clipPath id="left${i}"><rect ${placed(one.left)}/></clipPath><image href="${inside(one)}" ${placed(one.at)} preserveAspectRatio="none" clip-path="url(#left${i})" style="mix-blend-mode:${one.style.mixBlendMode};filter:${one.style.filter};image-rendering:${one.style.imageRendering}"/>`);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">${pictures.join("")}${standalone(frame.querySelector("svg"), false)}</svg>`;
}

export async function pictureOf(panel, form) {
  const name = `${panel.name.toLowerCase().replaceAll(" ", "-")}.${form}`;
  if (panel.frame) {
    const frame = panel.frame();
    const box = frame.getBoundingClientRect();
    if (form === "svg") return save(name, stagedSvg(frame), "image/svg+xml");
    return png(name, box.width, box.height, (c) => staged(c, frame));
  }
  if (panel.canvases) {
    const all = panel.canvases();
    const boxes = all.map((canvas) => canvas.getBoundingClientRect());
    const lefts = boxes.map((_, i) => 12 + boxes.slice(0, i).reduce((sum, b) => sum + b.width + 12, 0));
    const width = lefts.at(-1) + boxes.at(-1).width + 12;
    const height = Math.max(...boxes.map((b) => b.height)) + 24;
    if (form === "svg") {
      const images = all.map((canvas, i) => `<image href="${canvas.toDataURL()}" x="${lefts[i]}" y="12" width="${boxes[i].width}" height="${boxes[i].height}" style="image-rendering:pixelated"/>`);
      return save(name, `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">${images.join("")}</svg>`, "image/svg+xml");
    }
    return png(name, width, height, (c) => all.forEach((canvas, i) => c.drawImage(canvas, lefts[i], 12, boxes[i].width, boxes[i].height)));
  }
  const svg = panel.svg();
  const text = standalone(svg);
  if (form === "svg") return save(name, text, "image/svg+xml");
  const image = await decoded(text);
  return png(name, image.width, image.height, (c) => c.drawImage(image, 0, 0));
}
