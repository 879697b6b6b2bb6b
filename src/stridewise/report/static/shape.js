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

// Depth of every original layer: those equally far from the input stand above each other, so that branches are lanes
// beside each other. A long stretch without a step is drawn short; a person opens it, or shuts it to one place:
// base.stretches says "open" or "shut" by the name of its first layer.
export const depths = remembered((base) => {
  const far = base.places?.depths ?? {};
  const levels = [];
  base.layers.filter(spatial).forEach((row, i) => (levels[far[row.key] ?? i + 1] ??= []).push(row));
  const at = new Map();
  const ends = []; // by level, where it stands
  const folds = [];
  let x = 0;
  let run = [];
  const close = () => {
    const n = run.length;
    const key = run[0]?.rows[0].key;
    const how = base.stretches?.[key];
    const units = n <= 3 || how === "open" ? n : how === "shut" ? 1 : 3 + (n - 3) * 0.3;
    run.forEach(({ rows, level }, i) => {
      ends[level] = x + ((i + 0.5) * units) / n;
      for (const row of rows) at.set(row.key, ends[level]);
    });
    if (n > 3) folds.push({ key, how, from: x, to: x + units, count: run.reduce((sum, { rows }) => sum + rows.length, 0) });
    x += units;
    run = [];
  };
  let heights = new Set();
  levels.forEach((rows, level) => {
    const now = new Set(rows.map((row) => row.cumulative_stride.join()));
    if (rows.some(steps) || [...now].some((h) => !heights.has(h))) {
      close();
      ends[level] = x + 0.5;
      for (const row of rows) at.set(row.key, ends[level]);
      x += 1;
    } else run.push({ rows, level });
    heights = now;
  });
  close();
  return { at, ends, width: x, folds };
});

// Where each slot stands: between the layers as far from the input as it and those behind.
export const slotDepths = remembered((base) => {
  const { at, ends } = depths(base);
  const far = base.places?.depths ?? {};
  return new Map(
    Object.entries(base.places?.slots ?? {}).map(([key, before]) => {
      const here = ends[far[`+${key}`]] ?? base.layers.slice(0, before).map((r) => at.get(r.key)).findLast((x) => x !== undefined) ?? -0.5;
      const next = ends.find((x) => x > here) ?? here + 1;
      return [key, (here + next) / 2];
    }),
  );
});

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
  const { at, width, folds } = depths(base);
  const slotAt = slotDepths(base);
  const slotOf = Object.fromEntries(Object.entries(base.places?.steps_at ?? {}).map(([slot, key]) => [key, `+${slot}`]));
  const groupOf = new Map();
  for (const group of base.groups) for (const key of group.sites) groupOf.set(key, group);
  // A step made otherwise stands behind its site, as "site/blur"; it is the site that a person changes.
  const siteOf = (key) => { const site = key.slice(0, key.lastIndexOf("/")); return !at.has(key) && at.has(site) ? site : key; };
  const depth = (key) => at.get(key) ?? (key.startsWith("+") ? slotAt.get(key.slice(1)) : undefined) ?? (siteOf(key) === key ? 0 : at.get(siteOf(key)) + 0.35);
  const executed = view.layers.filter(spatial).map((row) => ({ row, x: depth(row.key), height: levels(row) }));
  const rows = [...executed].sort((a, b) => a.x - b.x);
  const bars = rows.length ? [{ from: 0, to: 0, height: rows[0].height.map(() => 0), stride: [], size: [], rows: [], input: true }] : [];
  const rises = [];
  for (const item of rows) {
    const { row, x } = item;
    const lane = bars.findLast((b) => b.height[0] === item.height[0] && b.height.at(-1) === item.height.at(-1));
    if (lane && (lane === bars.at(-1) || x - lane.to < 1.6)) {
      lane.to = Math.max(lane.to, x);
      lane.rows.push(row.key);
    } else bars.push({ from: x, to: x, height: item.height, stride: row.cumulative_stride, size: row.out_size, rows: [row.key] });
  }
  for (const item of executed) {
    const { row, x } = item;
    if (!steps(row)) continue;
    const from = row.cumulative_stride.map((s, i) => number(s) / number(row.stride[i])).map(Math.log2);
    const group = groupOf.get(siteOf(row.key));
    const partner = rises.find((r) => group && r.group === group.id && r.top[0] === item.height[0] && r.row.key !== row.key);
    if (partner && partner.foot[0] === from[0]) {
      partner.others.push(siteOf(row.key));
      if (Math.abs(x - partner.x) > 0.5) partner.also.push(x);
    } else
      rises.push({
        key: slotOf[row.key] ?? siteOf(row.key), row, x, foot: from, top: item.height, group: group?.id ?? null, others: [], also: [],
        free: row.key.startsWith("+") || row.key in slotOf || (group?.free ?? false),
        stride: row.stride.map(number), up: row.stride.some((s) => number(s) < 1),
      });
  }
  rises.sort((a, b) => a.x - b.x);
  stairs(bars, rises);
  const marks = (view.marks ?? []).map((m) => ({ ...m, x: markDepth(base, view, m, depth), foot: level(m.came), top: level(m.stride) }));
  const lanes = new Map();
  for (const b of bars) {
    const lane = lanes.get(b.height[0]);
    if (lane) lane.to = Math.max(lane.to, b.end);
    else lanes.set(b.height[0], { height: b.height[0], from: b.start, to: b.end });
  }
  const heights = rows.flatMap((r) => r.height);
  const down = rises.filter((r) => !r.up);
  return { bars, rises: down, ups: rises.filter((r) => r.up), lanes: [...lanes.values()], crowded: down.length > 11, marks, width: Math.max(width, 1), folds, depthOf: (key) => at.get(key) ?? rows.find((r) => r.row.key === key)?.x, low: Math.min(0, ...heights), high: Math.max(1, ...heights), slotAt };
});

// Where bars are drawn from and to: a stair's tread ends at the riser that leaves it and begins at the one that leads to it.
function stairs(bars, rises) {
  const places = rises.flatMap((r) => [r.x, ...r.also].map((x) => ({ x, foot: r.foot[0], top: r.top[0] })));
  for (const b of bars) {
    b.start = b.input || places.some((p) => p.x === b.from && p.top === b.height[0]) ? b.from : b.from - 0.5;
    b.end = b.to + 0.5;
  }
  for (const { x, foot } of places) {
    const tread = bars.findLast((b) => b.height[0] === foot && b.start <= x);
    if (tread && tread.to < x && x - tread.to < 1.6) tread.end = x;
  }
}

// Texts that do not lie on each other: for each box, in the order of their weight, the first of its places that is free
// of those before it; none where all are taken.
export function placed(boxes, taken = []) {
  const lies = (a, b) => a.x < b.x + b.wide && b.x < a.x + a.wide && a.y < b.y + b.tall && b.y < a.y + a.tall;
  const held = [...taken];
  return boxes.map((places) => {
    const free = places.find((place) => !held.some((other) => lies(place, other)));
    if (free) held.push(free);
    return free ?? null;
  });
}

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
  const { at } = depths(base);
  const rows = new Map(base.layers.map((row) => [row.key, row]));
  const slots = slotDepths(base);
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
