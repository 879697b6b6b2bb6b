// What the page draws as picture files: its own styles written into them, so that they look alike elsewhere.

import { save } from "sw/ui";

const KEPT = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "opacity", "font-size", "font-family", "font-weight", "text-anchor", "dominant-baseline", "paint-order", "display", "vector-effect"];
const shown = (element) => element && element.getBoundingClientRect().width > 0;

// The panels that hold a drawing now: {name, forms, find}.
export function drawnPanels() {
  const room = document.querySelector("[role=tab][aria-selected=true][id^=room-]")?.textContent ?? "";
  const chart = () => document.querySelector("#room svg.chart");
  const canvas = () => document.querySelector("#room canvas");
  return [
    { name: "Ladder", forms: ["svg", "png"], svg: () => document.querySelector("#ladder svg.drawing") },
    { name: "Picture", forms: ["png"], frame: () => document.querySelector("#stage .frame") },
    { name: room, forms: ["svg", "png"], svg: chart },
    { name: room, forms: ["png"], canvases: () => (canvas() ? [...document.querySelectorAll("#room canvas")] : null) },
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

// The stage: the pictures that lie in its frame in order, each where and as it is shown, then what is drawn over them.
async function staged(c, frame) {
  const box = frame.getBoundingClientRect();
  for (const image of frame.querySelectorAll("img")) {
    const at = image.getBoundingClientRect();
    const style = getComputedStyle(image);
    c.save();
    const inset = /inset\(([^)]*)\)/.exec(style.clipPath)?.[1].trim().split(/\s+/).map(Number.parseFloat);
    if (inset) {
      const [top, right, bottom, left] = [inset[0], inset[1] ?? inset[0], inset[2] ?? inset[0], inset[3] ?? inset[1] ?? inset[0]].map((v) => v / 100);
      c.beginPath();
      c.rect(at.x - box.x + left * at.width, at.y - box.y + top * at.height, at.width * (1 - left - right), at.height * (1 - top - bottom));
      c.clip();
    }
    c.imageSmoothingEnabled = style.imageRendering !== "pixelated";
    c.globalCompositeOperation = style.mixBlendMode === "normal" ? "source-over" : style.mixBlendMode;
    c.filter = style.filter;
    c.drawImage(image, at.x - box.x, at.y - box.y, at.width, at.height);
    c.restore();
  }
  const over = await decoded(standalone(frame.querySelector("svg"), false));
  c.drawImage(over, 0, 0, box.width, box.height);
}

export async function pictureOf(panel, form) {
  const name = `${panel.name.toLowerCase().replaceAll(" ", "-")}.${form}`;
  if (panel.frame) {
    const frame = panel.frame();
    const box = frame.getBoundingClientRect();
    return png(name, box.width, box.height, (c) => staged(c, frame));
  }
  if (panel.canvases) {
    const all = panel.canvases();
    const boxes = all.map((canvas) => canvas.getBoundingClientRect());
    const width = boxes.reduce((sum, b) => sum + b.width + 12, 12);
    return png(name, width, Math.max(...boxes.map((b) => b.height)) + 24, (c) => {
      let left = 12;
      all.forEach((canvas, i) => {
        c.drawImage(canvas, left, 12, boxes[i].width, boxes[i].height);
        left += boxes[i].width + 12;
      });
    });
  }
  const svg = panel.svg();
  const text = standalone(svg);
  if (form === "svg") return save(name, text, "image/svg+xml");
  const image = await decoded(text);
  return png(name, image.width, image.height, (c) => c.drawImage(image, 0, 0));
}
