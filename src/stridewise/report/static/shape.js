// The ladder's shape: where each layer stands in depth and height. Reads the rows that Python counted; draws nothing.

import { number } from "sw/format";

const steps = (row) => row.stride.some((s) => number(s) !== 1);
const spatial = (row) => row.cumulative_stride.length > 0 && row.cumulative_stride.every((s) => s !== null);
export const level = (strides) => Math.log2(Math.max(number(strides[0]), 1e-3));
const levels = (row) => row.cumulative_stride.map((s) => Math.log2(number(s)));

// The last answer for the same objects again: a drag asks for one shape in several places.
function remembered(work) {
  const known = new WeakMap();
  return (of, besides = of) => {
    if (!known.has(of)) known.set(of, new WeakMap());
    const inner = known.get(of);
    if (!inner.has(besides)) inner.set(besides, work(of, besides));
    return inner.get(besides);
  };
}

// Depth of every original layer: long stretches without a step are folded, so that steps stay apart.
export const depths = remembered((rows) => {
  const at = new Map();
  const folds = [];
  let x = 0;
  let run = [];
  const close = () => {
    const n = run.length;
    const units = n <= 3 ? n : 3 + (n - 3) * 0.3;
    run.forEach((key, i) => at.set(key, x + ((i + 0.5) * units) / Math.max(n, 1)));
    if (n > 3) folds.push({ from: x, to: x + units, count: n });
    x += units;
    run = [];
  };
  let height = null;
  for (const row of rows) {
    if (!spatial(row)) continue;
    const now = row.cumulative_stride.join();
    if (steps(row) || now !== height) {
      close();
      at.set(row.key, x + 0.5);
      x += 1;
      height = now;
    } else run.push(row.key);
  }
  close();
  return { at, width: x, folds };
});

// Where a slot stands: between the layers before and behind it.
export function slotDepths(rows, slots, at) {
  const out = new Map();
  for (const [key, before] of Object.entries(slots)) {
    const here = rows.slice(0, before).findLast((r) => at.has(r.key));
    const next = rows.slice(before).find((r) => at.has(r.key));
    const a = here ? at.get(here.key) : -0.5;
    const b = next ? at.get(next.key) : a + 1;
    out.set(key, b > a ? (a + b) / 2 : a + 0.5);
  }
  return out;
}

// What one position reads along an axis, where one size and start do not tell it: [fields] of its layer, by phase.
export function spanAt(fields, axis, position) {
  const of = fields?.axes[axis];
  if (!of) return null;
  const turn = Math.floor(position / of.spans.length);
  const span = of.spans[position - turn * of.spans.length];
  return span ? { from: span[0] + turn * of.advance, size: span[1] - span[0] + 1 } : { from: turn * of.advance, size: 0 };
}

// Its sizes over the phases, an axis: [[least, most], ...].
export const sizesOf = (fields) => fields.axes.map(({ spans }) => spans.map((s) => (s ? s[1] - s[0] + 1 : 0))).map((sizes) => [Math.min(...sizes), Math.max(...sizes)]);

// The step that a layer makes: its own, the one inserted behind it, or the one that must go with it.
export const riseOf = (shape, key) => shape.rises.find((r) => r.row.key === key) ?? shape.rises.find((r) => r.key === key) ?? shape.rises.find((r) => r.others.includes(key));

// A view's drawing: bars (stretches at one height), rises (steps), and the key a person changes for each.
export const ladder = remembered((base, view) => {
  const { at, width, folds } = depths(base.layers);
  const slotAt = slotDepths(base.layers, base.places?.slots ?? {}, at);
  const slotOf = Object.fromEntries(Object.entries(base.places?.steps_at ?? {}).map(([slot, key]) => [key, `+${slot}`]));
  const groupOf = new Map();
  for (const group of base.groups) for (const key of group.sites) groupOf.set(key, group);
  // A step made otherwise stands behind its site, as "site/blur"; it is the site that a person changes.
  const siteOf = (key) => { const site = key.slice(0, key.lastIndexOf("/")); return !at.has(key) && at.has(site) ? site : key; };
  const depth = (key) => at.get(key) ?? (key.startsWith("+") ? slotAt.get(key.slice(1)) : undefined) ?? (siteOf(key) === key ? 0 : at.get(siteOf(key)) + 0.35);
  const rows = view.layers.filter(spatial).map((row) => ({ row, x: depth(row.key), height: levels(row) }));
  rows.sort((a, b) => a.x - b.x);
  const bars = rows.length ? [{ from: 0, to: 0, height: rows[0].height.map(() => 0), stride: [], size: [], rows: [], input: true }] : [];
  const rises = [];
  for (const item of rows) {
    const { row, x } = item;
    const lane = bars.findLast((b) => b.height[0] === item.height[0] && b.height.at(-1) === item.height.at(-1));
    if (lane && (lane === bars.at(-1) || x - lane.to < 1.6)) {
      lane.to = Math.max(lane.to, x);
      lane.rows.push(row.key);
    } else bars.push({ from: x, to: x, height: item.height, stride: row.cumulative_stride, size: row.out_size, rows: [row.key] });
    if (!steps(row)) continue;
    const from = row.cumulative_stride.map((s, i) => number(s) / number(row.stride[i])).map(Math.log2);
    const group = groupOf.get(siteOf(row.key));
    const partner = rises.find((r) => group && r.group === group.id && r.top[0] === item.height[0] && r.row.key !== row.key);
    if (partner && partner.foot[0] === from[0]) partner.others.push(siteOf(row.key));
    else
      rises.push({
        key: slotOf[row.key] ?? siteOf(row.key), row, x, foot: from, top: item.height, group: group?.id ?? null, others: [],
        free: row.key.startsWith("+") || row.key in slotOf || (group?.free ?? false),
        stride: row.stride.map(number), up: row.stride.some((s) => number(s) < 1),
      });
  }
  const marks = (view.marks ?? []).map((m) => ({ ...m, x: markDepth(base, view, m, depth), foot: level(m.came), top: level(m.stride) }));
  const lanes = new Map();
  for (const b of bars) {
    const lane = lanes.get(b.height[0]);
    if (lane) lane.to = b.to;
    else lanes.set(b.height[0], { height: b.height[0], from: b.from, to: b.to });
  }
  const heights = rows.flatMap((r) => r.height);
  const down = rises.filter((r) => !r.up);
  return { bars, rises: down, ups: rises.filter((r) => r.up), lanes: [...lanes.values()], crowded: down.length > 11, marks, width: Math.max(width, 1), folds, depthOf: (key) => at.get(key) ?? rows.find((r) => r.row.key === key)?.x, low: Math.min(0, ...heights), high: Math.max(1, ...heights), slotAt };
});

function markDepth(base, view, mark, depth) {
  const before = view.layers[Math.max(0, mark.at - 1)];
  return before ? depth(before.key) + 0.45 : 0;
}

const OPS = { conv: "conv", conv_transpose: "up-conv", max_pool: "pool", avg_pool: "pool", resize: "resize" };
export function kind(row) {
  if (row.op === "conv" && row.kernel.every((k, i) => k === number(row.stride[i]) && k > 2)) return "patch";
  return OPS[row.op] ?? row.op.replace("_", " ");
}

// Places a step may move to, by depth: one site of every free group, and the slots.
export const candidates = remembered((base) => {
  const { at } = depths(base.layers);
  const rows = new Map(base.layers.map((row) => [row.key, row]));
  const slots = slotDepths(base.layers, base.places?.slots ?? {}, at);
  const stepsAt = new Set(Object.values(base.places?.steps_at ?? {}));
  const out = [];
  for (const group of base.groups) {
    if (!group.free) continue;
    const sites = group.sites.map((key) => rows.get(key)).filter((row) => row && at.has(row.key) && !stepsAt.has(row.key));
    if (!sites.length) continue;
    const best = sites.find(steps) ?? sites.find((row) => row.kernel.every((k) => k > 1)) ?? sites[0];
    out.push({ key: best.key, x: at.get(best.key), was: best.stride.map(number), group: group.id });
  }
  for (const slot of base.slots) out.push({ key: `+${slot.key}`, x: slots.get(slot.key), was: slot.stride, group: null });
  return out.sort((a, b) => a.x - b.x);
});
