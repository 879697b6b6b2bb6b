// Pure state functions, run by `node --test`; imports resolve as the import map says, by a small hook.
import assert from "node:assert/strict";
import { register } from "node:module";
import test from "node:test";

const room = new URL("../../src/stridewise/report/static/", import.meta.url);
register(
  `data:text/javascript,${encodeURIComponent(`
export async function resolve(name, context, next) {
  return name.startsWith("sw/") ? next("${room}" + name.slice(3) + ".js", context) : next(name, context);
}
export async function load(url, context, next) {
  return next(url, url.startsWith("${room}") ? { ...context, format: "module" } : context);
}`)}`,
);
const state = await import(new URL("state.js", room));
const shape = await import(new URL("shape.js", room));
const format = await import(new URL("format.js", room));
const { ticks } = await import(new URL("chart-ticks.js", room));

test("a wish that says what is there already is dropped", () => {
  assert.deepEqual(state.wish({}, "a", [1, 1], [2, 2]), { a: "1" });
  assert.deepEqual(state.wish({ a: "1" }, "a", [2, 2], [2, 2]), {});
  assert.deepEqual(state.wish({}, "a", [1, 2], [2, 2]), { a: "1x2" });
});

test("moving a step back and forth leaves nothing behind", () => {
  const there = state.moved({}, "+a", "+b", [2, 2], [2, 2], { original: [1, 1], now: [1, 1] });
  assert.deepEqual(there, { "+a": "1", "+b": "2" });
  assert.deepEqual(state.moved(there, "+b", "+a", [2, 2], [1, 1], { original: [2, 2], now: [1, 1] }), {});
});

test("moving a step onto another multiplies them", () => {
  assert.deepEqual(state.moved({}, "a", "b", [2, 2], [2, 2], { original: [2, 2], now: [2, 2] }), { a: "1", b: "4" });
});

test("history goes back and forth and forgets what was undone when something new happens", () => {
  let h = state.history();
  h = state.remember(h, { a: "1" });
  h = state.remember(h, { a: "1", b: "2" });
  assert.equal(state.remember(h, { b: "2", a: "1" }), h);
  h = state.undo(h);
  assert.deepEqual(h.now, { a: "1" });
  assert.deepEqual(state.redo(h).now, { a: "1", b: "2" });
  h = state.remember(h, { c: "4" });
  assert.equal(state.redo(h), h);
  assert.deepEqual(state.undo(state.undo(state.undo(h))).now, {});
});

test("the address holds the whole state", () => {
  const seen = { network: "timm:resnet50", tabs: [{ "layer4.0.conv2": "1" }, { "+layer3.5": "2x1", conv1: "1" }], tab: 2, against: 1, layer: "fc#2", area: "fit", position: [3, 4], settings: { kernel: "box", strides: [[1, 2]] }, looks: { wipe: "40" } };
  const { kept, many, ...found } = state.decoded(`#${state.encoded(seen)}`);
  assert.deepEqual(found, seen);
  assert.deepEqual([kept, many], [[], 2]);
  assert.deepEqual(state.decoded("").tabs, []);
  assert.equal(state.decoded("#at=x.y&tab=zz&plan=,,=&layer=%3Cscript%3E").position, null);
});

test("edits rebuild rows: copies, changes, new ones, and ones left out", () => {
  const rows = ["a", "b", "c", "d"].map((key) => ({ key, n: 1 }));
  const found = state.rebuilt(rows, { sets: [["n"]], rows: [[1], { key: "+x", n: 9 }, [2, 0, 5], [1]] });
  assert.deepEqual(found.map((r) => `${r.key}${r.n}`), ["a1", "+x9", "c5", "d1"]);
  assert.equal(rows[2].n, 1);
});

test("fields come once each, and an axis that is like another as its number", () => {
  const axis = { advance: 2, spans: [[0, 3], [1, 3]] };
  const found = state.fieldsBy({ of: [{ axes: [axis, 0], approximate: false }], at: { a: 0, b: 0 } });
  assert.deepEqual(found.a.axes, [axis, axis]);
  assert.equal(found.a, found.b);
});

test("numbers read as on the command line", () => {
  assert.equal(format.count(4_089_284_608), "4.09 G");
  assert.equal(format.count(999_600), "1.00 M");
  assert.equal(format.bytes(9_633_792), "9.19 MiB");
  assert.equal(format.change(6.21, 4.09), "+51.8 %");
  assert.equal(format.change(8, 4), "×2.0");
  assert.equal(format.change(1, 1), "");
  assert.equal(format.once([2, 2]), "2");
  assert.equal(format.once([2, 4]), "2×4");
  assert.equal(format.number("1/2"), 0.5);
});

const layer = (key, stride, cumulative, kernel = 3) => ({
  key, op: "conv", kernel: [kernel, kernel], stride: [stride, stride], cumulative_stride: [cumulative, cumulative], out_size: [64 / cumulative, 64 / cumulative],
});
const base = {
  layers: [layer("stem", 2, 2), layer("a", 1, 2), layer("b.1", 2, 4), layer("b.down", 2, 4, 1), layer("c", 1, 4)],
  groups: [
    { id: "g0", sites: ["stem"], stride: [2, 2], free: true },
    { id: "g1", sites: ["b.1", "b.down"], stride: [2, 2], free: true },
  ],
  slots: [{ key: "a", stride: [1, 1] }],
  places: { slots: { a: 2 }, steps_at: {} },
};

test("a ladder has one rise a group, the shortcut counted with it", () => {
  const drawn = shape.ladder(base, base);
  assert.deepEqual(drawn.rises.map((r) => r.key), ["stem", "b.1"]);
  assert.deepEqual(drawn.rises[1].others, ["b.down"]);
  assert.deepEqual(drawn.rises.map((r) => [r.foot[0], r.top[0]]), [[0, 1], [1, 2]]);
  assert.equal(drawn.low, 0);
  assert.equal(drawn.high, 2);
});

test("treads of a six-layer stair end at the riser and begin at it", () => {
  const six = [layer("0", 1, 1), layer("1", 2, 2), layer("2", 1, 2), layer("3", 2, 4), layer("4", 1, 4), layer("5", 2, 8)];
  const drawn = shape.ladder({ ...base, layers: six, groups: [], slots: [], places: {} }, { layers: six });
  assert.equal(drawn.rises.length, 3);
  drawn.rises.forEach((r, i) => assert.deepEqual([drawn.bars[i].end, drawn.bars[i + 1].start], [r.x, r.x]));
});

test("parallel branches are lanes beside each other, and a stretch is opened and shut", () => {
  const names = ["stem", "a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3", "a4", "b4"];
  const layers = names.map((key) => layer(key, key === "b0" || key === "stem" ? 2 : 1, key.startsWith("b") ? 4 : 2));
  const far = Object.fromEntries(names.map((key) => [key, key === "stem" ? 1 : 2 + Number(key[1])]));
  const net = { layers, groups: [], slots: [], places: { slots: {}, steps_at: {}, depths: far } };
  const { at, folds, width } = shape.depths(net);
  assert.ok(names.slice(1).every((key) => at.get(key) === at.get(`a${key[1]}`)));
  assert.deepEqual(folds.map((f) => [f.key, f.count]), [["a1", 8]]);
  const wide = (how) => shape.depths({ ...net, stretches: { a1: how } }).width;
  assert.ok(wide("shut") < width && width < wide("open"));
  const drawn = shape.ladder(net, net);
  assert.deepEqual(drawn.lanes.map((l) => l.height), [0, 1, 2]);
});

test("texts are put where no other lies, or left out", () => {
  const box = (x, y) => ({ x, y, wide: 40, tall: 20 });
  const found = shape.placed([[box(0, 0)], [box(10, 5), box(60, 5)], [box(50, 10), box(20, 15)]], []);
  assert.deepEqual(found.map((f) => f && f.x), [0, 60, null]);
});

test("an inserted step stands at its slot and is free", () => {
  const view = { ...base, layers: [...base.layers.slice(0, 2), { ...layer("+a", 2, 4), op: "max_pool" }, layer("b.1", 1, 4), layer("b.down", 1, 4, 1), layer("c", 1, 4)] };
  const drawn = shape.ladder(base, view);
  assert.deepEqual(drawn.rises.map((r) => r.key), ["stem", "+a"]);
  assert.ok(drawn.rises[1].free);
  assert.ok(drawn.rises[1].x > drawn.depthOf("a") && drawn.rises[1].x < drawn.depthOf("b.1"));
});

test("steps move to free sites and slots, in order of depth", () => {
  assert.deepEqual(shape.candidates(base).map((c) => c.key), ["stem", "+a", "b.1"]);
});

test("ticks are round", () => {
  assert.deepEqual(ticks(0, 10), [0, 2, 4, 6, 8, 10]);
  assert.deepEqual(ticks(3, 3), [3]);
});

test("kept weights stand among the wishes and travel apart", () => {
  const wishes = { a: "1", [state.KEEP]: "grid" };
  assert.deepEqual(state.request(wishes), { changes: { a: "1" }, keep_weights: true, means: "grid" });
  assert.deepEqual(state.request({ a: "1" }), { changes: { a: "1" } });
  assert.deepEqual(state.wishesOf(state.request(wishes)), wishes);
  assert.ok(state.idle({ [state.KEEP]: "dense" }) && !state.idle(wishes));
  assert.deepEqual(state.decoded(`#${state.encoded({ tabs: [wishes] })}`).tabs, [wishes]);
});

test("a wish says how a step is made where that is not the usual way", () => {
  assert.deepEqual(state.wish({}, "+a", [2, 2], [1, 1], "mean", "max"), { "+a": "2:mean" });
  assert.deepEqual(state.wish({ "+a": "2:mean" }, "+a", [2, 2], [1, 1], "max", "max"), { "+a": "2" });
  assert.deepEqual(state.wish({}, "+a", [2, 2], [2, 2], "mean", "max"), { "+a": "2:mean" });
});

test("an address can be read and typed: a slot's plus is a plus", () => {
  assert.equal(state.encoded({ network: "py:/a b.py:f", tabs: [{ "+layer.3": "2:mean" }] }), "network=py:%2Fa%20b.py:f&plan=+layer.3=2:mean");
  assert.deepEqual(state.decoded("#network=a%20b&plan=+layer.3=2").tabs, [{ "+layer.3": "2" }]);
  assert.equal(state.decoded("#network=a%20b&plan=+layer.3=2").network, "a b");
});

test("an address that somebody cut short is no error", () => {
  assert.equal(state.decoded("#one={\"strides\":3}").settings, null);
  assert.equal(state.decoded("#one=%7B").settings, null);
});

test("how a step is made is taken apart and put together again", () => {
  for (const how of ["stride", "max", "blur:5:zero", "blur:2", "polyphase", "polyphase:circular", "space-to-depth"])
    assert.equal(state.written(state.partsOf(how)), how);
  assert.deepEqual(state.partsOf("blur:circular"), { kind: "blur", taps: 3, border: "circular" });
  assert.deepEqual(state.partsOf("mean"), { kind: "mean", taps: null, border: null });
});

test("any two plans are compared, one where they are the same", () => {
  const tabs = [{}, { a: "1" }, { b: "2", [state.KEEP]: "grid" }, { [state.KEEP]: "dense" }].map((w) => state.history(w));
  const names = (tab, against) => state.pair(tabs, tab, against).map((p) => p.name);
  assert.deepEqual(names(1, 0), ["original", "plan B"]);
  assert.deepEqual(names(1, 2), ["plan C", "plan B"]);
  assert.deepEqual(names(0, 2), ["plan C", "original"]);
  for (const [tab, against] of [[1, 1], [1, -1], [1, 9], [3, 0], [0, 3]]) assert.equal(names(tab, against).length, 1);
  assert.deepEqual(state.pair(tabs, 2, 0)[1], { name: "plan C", changes: { b: "2" }, keep_weights: true, means: "grid" });
  assert.deepEqual([[2, 2], [2, 1], [1, 2]].map(([against, closed]) => state.afterClosing(against, closed)), [0, 1, 1]);
});

test("a job's result belongs to its network, plans and picture", () => {
  const asked = { network: 0, picture: 1, plans: [{ name: "original", changes: {} }, { name: "plan B", changes: { a: "1", b: "2" } }] };
  const key = state.jobKey(asked);
  assert.equal(state.jobKey({ picture: 1, network: 0, plans: [asked.plans[0], { name: "plan B", changes: { b: "2", a: "1" } }], kind: "maps" }), key);
  for (const other of [{ picture: 2 }, { network: 1 }, { plans: asked.plans.slice(1) }, { plans: [asked.plans[0], { ...asked.plans[1], keep_weights: true }] }])
    assert.notEqual(state.jobKey({ ...asked, ...other }), key);
});

test("the address holds what a plan is compared with", () => {
  assert.equal(state.decoded(`#${state.encoded({ tabs: [{ a: "1" }], tab: 1, against: -1 })}`).against, -1);
  assert.equal(state.decoded(`#${state.encoded({ tabs: [{ a: "1" }], tab: 1, against: 0 })}`).against, 0);
  assert.equal(state.decoded("#against=2").against, 2);
});

test("a step made otherwise stands behind its site, also in a file, which holds no plan", () => {
  const row = (key, stride, total) => ({ key, op: "conv", kernel: [3], stride: [stride], cumulative_stride: [total], out_size: [64 / total] });
  const base = { layers: [row("a", 1, 1), row("b", 2, 2), row("c/max_pool2d", 2, 4)], groups: [{ id: 1, sites: ["b"], free: true }], slots: [] };
  const view = { layers: [row("a", 1, 1), row("b", 1, 1), row("b/blur", 2, 2), row("c/max_pool2d", 2, 4)], plan: null };
  const found = shape.ladder(base, view).rises;
  assert.deepEqual(found.map((r) => [r.key, r.free]), [["b", true], ["c/max_pool2d", false]]);
  assert.ok(found[0].x > shape.ladder(base, base).depthOf("b") && found[0].x < found[1].x);
});

test("the address holds how things are looked at, and nonsense in it is as at first", () => {
  let looks = state.looked(state.looked({}, "wipe", 50, 40), "search", "", "a, b=c+d");
  looks = state.looked(state.looked(looks, "whole", false, true), "window", 0, 7);
  assert.deepEqual(state.looked(looks, "window", 0, 0), { wipe: 40, search: "a, b=c+d", whole: true });
  const found = state.decoded(`#${state.encoded({ looks })}`).looks;
  assert.deepEqual([["wipe", 50], ["search", ""], ["whole", false], ["window", 0], ["channel", 3]].map(([name, start]) => state.lookOf(found, name, start)), [40, "a, b=c+d", true, 7, 3]);
  const odd = state.decoded("#look.wipe=x&look.window=-1&look.whole=2&look.channel=1.5").looks;
  assert.deepEqual([["wipe", 50], ["window", 0], ["whole", false], ["channel", 3]].map(([name, start]) => state.lookOf(odd, name, start)), [50, 0, false, 3]);
});

test("a layer belongs to the step behind it or the one it must go with", () => {
  const rises = [{ key: "a", row: { key: "a/blur" }, others: ["b"] }, { key: "c", row: { key: "c" }, others: [] }];
  assert.deepEqual(["a", "a/blur", "b", "c", "d"].map((k) => shape.riseOf({ rises }, k)?.key), ["a", "a", "a", "c", undefined]);
});

test("a change is told by the totals it moves, and one that moves none is not called the original", () => {
  const before = { output_stride: [32, 32], receptive_field: [435, 435], macs: 100, activations: 9, peak_activation_bytes: 8 };
  assert.equal(state.summary(before, before, format), "as the original");
  assert.equal(state.summary(before, { ...before }, format), "changed, with the same totals as the original");
  assert.equal(state.summary(before, { ...before, receptive_field: [483, 483] }, format), "receptive field 435×435 to 483×483");
  assert.match(state.summary(before, { ...before, macs: 50, activations: 18 }, format), /^multiply-adds 50, −50.0 %; activations 18, ×2.0$/);
});

test("the address holds plans of other networks, and no more plans than a page", () => {
  const other = { network: "b", tabs: [{ "layer4.0.conv2": "1", ":keep": "dense" }, { "+x": "2:blur:5" }], tab: 2 };
  const [found] = state.decoded(`#${state.encoded({ network: "a", tabs: [{ c: "1" }], tab: 1, kept: [other] })}`).kept;
  assert.deepEqual([found.network, found.tabs, found.tab], [other.network, other.tabs, other.tab]);
  const many = state.decoded(`#${"plan=a=1&".repeat(1500)}`);
  assert.deepEqual([many.tabs.length, many.many], [state.MOST_PLANS, 1500]);
});

test("of somebody's settings only what can be used is kept", () => {
  assert.equal(state.settingsOf({ kernel: "box" }), null);
  assert.equal(state.settingsOf({ strides: [[1, "2"]] }), null);
  assert.equal(state.settingsOf({ strides: [] }), null);
  const found = state.settingsOf({ strides: [[1, 2]], kernel: 7, dilation: 2, padding: [[1, 1], [0, 99]], side: 1e9, at: "edge", more: 1 });
  assert.deepEqual(found, { strides: [[1, 2]], dilation: 2, at: "edge" });
});

test("a network's name is one word of a command, whatever is in it", () => {
  assert.equal(format.quoted("timm:resnet50"), "timm:resnet50");
  assert.equal(format.quoted("x; rm -rf ~"), "'x; rm -rf ~'");
  assert.equal(format.quoted("$(id)'`"), "'$(id)'\\''`'");
  assert.equal(format.quoted("--trust"), "-- --trust");
  assert.equal(format.quoted("a\u202eb\nc"), "abc");
});

test("a position below a resize reads the span of its phase, a turn further for each turn", () => {
  const fields = { axes: [{ advance: 4, spans: [[-3, 4], [-1, 4]] }] };
  assert.deepEqual([0, 1, 5].map((i) => shape.spanAt(fields, 0, i)), [{ from: -3, size: 8 }, { from: -1, size: 6 }, { from: 7, size: 6 }]);
  assert.deepEqual(shape.sizesOf(fields), [[6, 8]]);
  assert.equal(shape.spanAt(undefined, 0, 1), null);
});
