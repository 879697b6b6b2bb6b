// What the page remembers, as plain values and pure functions: plans, history, the address. No drawing, no network.

// A person's wishes by site or "+slot": {"layer4.0.conv2": "1", "+layer2.1": "2:mean"}.
export const NOTHING = Object.freeze({});

// How trained weights are kept stands among the wishes, under a name that no site has; its value says where means are taken.
export const KEEP = ":keep";

export function request(wishes) {
  const { [KEEP]: means, ...changes } = wishes;
  return means ? { changes, keep_weights: true, means } : { changes };
}
export const wishesOf = ({ changes, keep_weights: keep, means }) => (keep ? { ...changes, [KEEP]: means } : { ...changes });
export const idle = (wishes) => Object.keys(wishes).every((key) => key === KEEP);

export const strideText = (stride) =>
  stride.every((s) => s === stride[0]) ? String(stride[0]) : stride.join("x");

// A wish for one place; `kind` is written where it is not the usual one, and what the place has already is no wish.
export function wish(changes, key, stride, was, kind = "", usual = "") {
  const next = { ...changes };
  const other = kind && kind !== usual;
  if (was && !other && stride.every((s, i) => s === was[i])) delete next[key];
  else next[key] = strideText(stride) + (other ? `:${kind}` : "");
  return next;
}

// "blur:5:zero" in its parts; what a kind has besides is only there for that kind.
export const BORDERS = ["reflect", "zero", "circular"];
const BORDERED = ["blur", "polyphase"];
export const partsOf = (how) => {
  const [kind, ...rest] = how.split(":");
  return { kind, taps: kind === "blur" ? Number(rest.find((p) => /^\d+$/.test(p)) ?? 3) : null, border: BORDERED.includes(kind) ? (rest.find((p) => BORDERS.includes(p)) ?? "reflect") : null };
};
export const written = ({ kind, taps, border }) => [kind, ...(taps ? [taps] : []), ...(border && border !== "reflect" ? [border] : [])].join(":");

// Take the step from one place to another: what it was there is taken away, a wish that says nothing is dropped.
export function moved(changes, from, to, stride, wasFrom, wasTo) {
  const one = stride.map(() => 1);
  const added = stride.map((s, i) => s * wasTo.now[i]);
  return wish(wish(changes, from, one, wasFrom), to, added, wasTo.original);
}

export const same = (a, b) => JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
const sorted = (o) => Object.keys(o).sort().map((k) => [k, o[k]]);

// --- history: a list and where we stand in it
export const history = (changes = NOTHING) => ({ past: [], now: changes, future: [] });
export const remember = (h, changes) =>
  same(h.now, changes) ? h : { past: [...h.past, h.now].slice(-100), now: changes, future: [] };
export const undo = (h) =>
  h.past.length ? { past: h.past.slice(0, -1), now: h.past.at(-1), future: [h.now, ...h.future] } : h;
export const redo = (h) =>
  h.future.length ? { past: [...h.past, h.now], now: h.future[0], future: h.future.slice(1) } : h;

// --- the server's edit of the original rows, undone into rows: [n] copies, [i, which, ...values] row i with the columns
// sets[which] changed, or a whole row
export function rebuilt(rows, { sets, rows: edits }) {
  const out = [];
  let at = 0;
  for (const edit of edits) {
    if (!Array.isArray(edit)) out.push(edit);
    else if (edit.length === 1) {
      out.push(...rows.slice(at, at + edit[0]));
      at += edit[0];
    } else {
      const [i, which, ...values] = edit;
      const row = { ...rows[i] };
      sets[which].forEach((name, c) => (row[name] = values[c]));
      out.push(row);
      at = i + 1;
    }
  }
  return out;
}

// Fields by layer, each sent once: {of: fields, at: {layer: which}}; an axis that is like an earlier one is its number.
export function fieldsBy({ of, at }) {
  const whole = of.map((field) => ({ ...field, axes: field.axes.map((axis) => field.axes[axis] ?? axis) }));
  return Object.fromEntries(Object.entries(at).map(([key, which]) => [key, whole[which]]));
}

// How things are looked at: small values by name ("wipe", "search"), here only while they are not as at first.
const LOOK = "look.";
export const lookOf = (looks, name, start) => {
  const value = looks[name] ?? start;
  if (typeof start === "number") return Number.isInteger(Number(value)) && Number(value) >= 0 ? Number(value) : start;
  return typeof start === "boolean" ? String(value) === "true" : String(value);
};
export function looked(looks, name, start, value) {
  const { [name]: _, ...rest } = looks;
  return value === start ? rest : { ...rest, [name]: value };
}

// The most plans, and networks with plans of their own, that a page and its address hold.
export const MOST_PLANS = 12;
export const MOST_KEPT = 6;

const whole = (v, low, high) => Number.isInteger(v) && v >= low && v <= high;
const pairOf = (v, good) => Array.isArray(v) && v.length === 2 && v.every(good);
const share = (v) => typeof v === "number" && v >= 0 && v <= 1;
const SETTINGS = {
  kernel: (v) => typeof v === "string" && v.length <= 40,
  strides: (v) => Array.isArray(v) && v.length >= 1 && v.length <= 2 && v.every((s) => pairOf(s, (n) => whole(n, 1, 64))),
  dilation: (v) => whole(v, 1, 8),
  padding: (v) => v === "same" || v === "valid" || pairOf(v, (p) => pairOf(p, (n) => whole(n, 0, 33))),
  side: (v) => whole(v, 4, 48),
  at: (v) => v === "edge" || pairOf(v, share),
  channel: (v) => whole(v, 0, 1e6),
  reads: (v) => v === null || whole(v, 0, 1e6),
  border: (v) => ["zeros", "reflect", "replicate", "circular"].includes(v),
  transposed: (v) => typeof v === "boolean",
  signal: (v) => typeof v === "boolean",
};

// What of somebody's settings can be used; null where it says no strides.
export function settingsOf(found) {
  if (found === null || typeof found !== "object" || !SETTINGS.strides(found.strides)) return null;
  return Object.fromEntries(Object.entries(found).filter(([name, value]) => SETTINGS[name]?.(value)));
}

// --- the address: everything a colleague needs to see the same, after the #
export function encoded(state) {
  const q = new URLSearchParams();
  if (state.network) q.set("network", state.network);
  for (const tab of state.tabs ?? []) q.append("plan", Object.entries(tab).map(([k, v]) => `${k}=${v}`).join(","));
  for (const name of ["tab", "against", "layer", "area"]) if (state[name]) q.set(name, state[name]);
  if (state.position) q.set("at", state.position.join("."));
  if (state.settings) q.set("one", JSON.stringify(state.settings));
  for (const [name, value] of Object.entries(state.looks ?? {})) q.set(LOOK + name, value);
  for (const other of state.kept ?? []) q.append("kept", encoded(other)); // plans on other networks
  // A plus is a plus (of a slot), not a space: an address is to be read, and typed.
  return q.toString().replaceAll("+", "%20").replaceAll("%2B", "+").replaceAll("%3D", "=").replaceAll("%2C", ",").replaceAll("%3A", ":");
}

export function decoded(fragment) {
  const q = new URLSearchParams(fragment.replace(/^#/, "").replaceAll("+", "%2B"));
  const wishes = (text) =>
    Object.fromEntries(
      text.split(",").filter((part) => part.includes("=")).map((part) => {
        const cut = part.lastIndexOf("=");
        return [part.slice(0, cut), part.slice(cut + 1)];
      }),
    );
  let settings = null;
  try {
    settings = JSON.parse(q.get("one") ?? "null");
  } catch {
    // an address that somebody shortened: the usual settings will do
  }
  const at = (q.get("at") ?? "").split(".").map(Number);
  return {
    network: q.get("network") ?? "",
    tabs: q.getAll("plan").slice(0, MOST_PLANS).map(wishes),
    many: q.getAll("plan").length,
    kept: q.getAll("kept").slice(0, MOST_KEPT).map(decoded),
    tab: Number.parseInt(q.get("tab") ?? "", 10) || 0,
    against: Number.parseInt(q.get("against") ?? "", 10) || 0,
    layer: q.get("layer") ?? "",
    area: q.get("area") ?? "",
    settings: settingsOf(settings),
    looks: Object.fromEntries([...q].filter(([key]) => key.startsWith(LOOK)).map(([key, value]) => [key.slice(LOOK.length), value])),
    position: at.length === 2 && at.every(Number.isInteger) ? at : null,
  };
}

// --- one sentence that says what a change did, for those who do not see it
export function summary(before, after, words) {
  const parts = [];
  for (const [key, name] of [
    ["output_stride", "output stride"],
    ["receptive_field", "receptive field"],
  ])
    if (words.by(before[key]) !== words.by(after[key])) parts.push(`${name} ${words.by(before[key])} to ${words.by(after[key])}`);
  for (const [key, name, text] of [
    ["macs", "multiply-adds", words.count],
    ["activations", "activations", words.count],
    ["peak_activation_bytes", "peak memory", words.bytes],
  ])
    if (before[key] !== after[key]) parts.push(`${name} ${text(after[key])}, ${words.change(after[key], before[key])}`);
  if (parts.length) return parts.join("; ");
  return after === before ? "as the original" : "changed, with the same totals as the original";
}

export const tabLetter = (index) => String.fromCharCode(65 + index);
export const tabName = (index) => (index === 0 ? "original" : `plan ${tabLetter(index)}`);

// --- what a job compares: the plan beside (none where `against` is no other plan), then the one in hand
export function pair(tabs, tab, against) {
  const of = (i) => ({ name: tabName(i), ...request(idle(tabs[i].now) ? NOTHING : tabs[i].now) });
  const alike = against < 0 || against >= tabs.length || against === tab || same(request(tabs[against].now), request(tabs[tab].now)) || (idle(tabs[against].now) && idle(tabs[tab].now));
  return (alike ? [tab] : [against, tab]).map(of);
}

// Where the plan beside stands after plan `closed` was closed.
export const afterClosing = (against, closed) => (against === closed ? 0 : against > closed ? against - 1 : against);

// What a job's result belongs to: network, plans by name, picture.
export const jobKey = ({ network, plans = [], picture }) =>
  JSON.stringify([network, plans.map(({ name, changes = {}, keep_weights: keep = false, means = "" }) => [name, sorted(changes), keep, keep && means]), picture]);
