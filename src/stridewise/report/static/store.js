// The page's state as signals, and what changes it. Geometry comes from the server; here it is only kept.

import * as words from "sw/format";
import { lose, Lost, post, Refused } from "sw/net";
import { afterClosing, fieldsBy, MOST_PLANS, history, idle, looked, lookOf, NOTHING, pair, rebuilt, redo, remember, request, same, summary, tabName, undo, wishesOf } from "sw/state";
import { batch, computed, effect, signal } from "sw/ui";

const embedded = document.getElementById("data");
export const data = embedded ? JSON.parse(embedded.textContent) : null; // in a file: {kind, report}
export const live = data === null;

export const networks = signal([]);
export const network = signal(-1);
export const opening = signal(-1); // the network that is being opened
export const base = signal(null);
export const tabs = signal([history()]);
export const tab = signal(0);
export const against = signal(0); // the plan that the one in hand is compared with
export const answers = signal([]);
export const layer = signal("");
export const position = signal(null);
export const area = signal("layers");
export const errors = signal([]);
export const said = signal("");
export const toast = signal(""); // what was just done, for a few seconds
export const busy = signal("");
export const picture = signal({ number: 0, name: "" });
export const kinds = signal([]);
export const extras = signal({});
export const settings = signal(null); // of the one convolution, once a person has changed them
export const looks = signal({});

// A small value of how things are looked at, and how to set it; as `useState`, but kept in the address.
export const look = (name, start) => {
  const set = (value) => {
    const old = lookOf(looks.value, name, start);
    const wanted = typeof value === "function" ? value(old) : value;
    if (wanted !== old) looks.value = looked(looks.value, name, start, wanted); // the same again draws nothing anew
  };
  return [lookOf(looks.value, name, start), set];
};

// What a position of the input measures: as the page is asked, else as the start said. The server reads the text.
export const unit = computed(() => lookOf(looks.value, "unit", ""));
const unitRead = signal({ text: "", scale: null });
export const scale = computed(() => (unit.value && unitRead.value.text === unit.value && unitRead.value.scale) || (base.value?.scale ?? null));
effect(() => {
  const [text, number] = [unit.value, network.value];
  if (!live || number < 0) return;
  if (!text) return void (unitRead.value = { text: "", scale: null });
  post("/api/scale", { network: number, scale: text }).then((found) => { if (unit.value === text && network.value === number) unitRead.value = { text, scale: found.scale }; }).catch((error) => { if (unit.value === text && network.value === number) { unitRead.value = { text: "", scale: null }; complain(error); } });
});

export const original = computed(() => base.value && { ...base.value, marks: base.value.marks ?? [] });
export const view = computed(() => answers.value[tab.value] ?? original.value);
export const now = computed(() => tabs.value[tab.value]?.now ?? NOTHING);
export const changed = computed(() => !idle(now.value));

// The plans that a forward is run under: one, or the plan beside and the one in hand.
export const compared = computed(() => pair(tabs.value, tab.value, against.value));
export const viewOf = (name) => { const i = tabs.value.findIndex((_, at) => tabName(at) === name); return answers.value[i] ?? original.value; };

export const row = computed(() => {
  const rows = view.value?.layers ?? [];
  return rows.find((r) => r.key === layer.value) ?? null;
});

export function complain(error) {
  if (error instanceof Lost) return lose(error.message);
  if (!(error instanceof Refused)) console.error(error);
  const text = String(error.message ?? error).replaceAll("--keep-weights", "‘keep trained weights’");
  errors.value = [...errors.value.filter((e) => e !== text), text].slice(-3);
  return text;
}

// By the text of a refusal the requests nearest to it that do work, each tried by the server.
export const offers = signal({});
async function offer(text, asked) {
  try {
    const found = (await post("/api/offers", { network: network.value, ...asked, now: request(now.value) })).offers;
    if (errors.value.includes(text)) offers.value = { [text]: found };
  } catch {
    // the card stands without them
  }
}
export async function take({ request: asked }) {
  const wishes = "output_stride" in asked ? await read(asked, "/api/request") : wishesOf(asked);
  if (wishes && (await change(wishes))) errors.value = [];
}
export const forgive = (text) => (errors.value = errors.value.filter((e) => e !== text));

const clean = (answer) => ({
  totals: answer.totals, outputs: answer.outputs, marks: answer.marks, plan: answer.plan, pads: answer.pads, ms: answer.ms,
  layers: rebuilt(base.value.layers, answer.layers), findings: null, weights: answer.weights, fields: fieldsBy(answer.fields),
});

export const ask = (wishes) => post("/api/what-if", { network: network.value, ...request(wishes) });

function keep(index, answer) {
  const next = [...answers.value];
  next[index] = answer;
  answers.value = next;
}

// The newest wish wins: while one is on its way, later ones replace each other.
let waiting = null;
let running = false;

export async function propose(changes, { commit = true } = {}) {
  const index = tab.value;
  if (!live || index === 0) return false;
  return new Promise((resolve) => {
    waiting?.resolve(false);
    waiting = { changes, commit, index, resolve };
    if (!running) drain();
  });
}

async function drain() {
  running = true;
  while (waiting) {
    const { changes, commit, index, resolve } = waiting;
    waiting = null;
    try {
      const answer = idle(changes) ? null : { ...clean(await ask(changes)), wishes: changes };
      batch(() => {
        keep(index, answer);
        errors.value = [];
        if (commit) tabs.value = tabs.value.map((h, i) => (i === index ? remember(h, changes) : h));
        said.value = `Plan ${String.fromCharCode(65 + index)}: ${summary(base.value.totals, (answer ?? base.value).totals, words)}`;
      });
      resolve(true);
    } catch (error) {
      const text = complain(error);
      if (commit && error instanceof Refused && !(error instanceof Lost)) offer(text, request(changes));
      resolve(false);
    }
  }
  running = false;
}

// What takes longer is asked for when the hand rests on a plan: findings, smallest input, a trial on the model.
let rest = 0;
effect(() => {
  const [index, answer] = [tab.value, answers.value[tab.value]];
  clearTimeout(rest);
  if (!live || !answer) return;
  if (answer.findings === null) rest = setTimeout(() => findings(index, answer.wishes), 160);
  else if (!answer.tried) rest = setTimeout(() => tried(index, answer.wishes), 1000);
});

// The answer in hand, whole: with what is else only asked for when the hand rests.
export async function whole() {
  const answer = answers.value[tab.value];
  if (answer?.findings === null) await findings(tab.value, answer.wishes);
  return answers.value[tab.value] ?? base.value;
}

async function tried(index, changes) {
  try {
    const weights = await post("/api/tried", { network: network.value, ...request(changes) });
    const now = answers.value[index];
    if (!now || !same(tabs.value[index].now, changes)) return;
    if (weights.state === "refused") complain(new Refused(weights.reasons[0]));
    keep(index, { ...now, weights, tried: true });
  } catch (error) {
    complain(error);
  }
}

async function findings(index, changes) {
  try {
    const found = await post("/api/findings", { network: network.value, ...request(changes) });
    const now = answers.value[index];
    if (!now || !same(tabs.value[index].now, changes)) return;
    keep(index, { ...now, findings: found.findings, totals: { ...now.totals, smallest_input: found.smallest_input } });
  } catch (error) {
    complain(error);
  }
}

// Change the plan in hand; on the original, a new plan is begun with it.
export async function change(changes, options) {
  if (tab.value === 0) addTab();
  return propose(changes, options);
}

// What a plan file, or an output stride, comes to on this network: its wishes, or null where it is refused.
export async function read(asked, path = "/api/plan") {
  try {
    return wishesOf(await post(path, { network: network.value, ...asked }));
  } catch (error) {
    const text = complain(error);
    if ("output_stride" in asked && !(error instanceof Lost)) offer(text, asked);
    return null;
  }
}

let fading = 0;
export function tell(text) {
  clearTimeout(fading);
  batch(() => {
    toast.value = text;
    said.value = text;
  });
  fading = setTimeout(() => (toast.value = ""), 5000);
}

export function addTab(changes = NOTHING) {
  if (tabs.value.length > MOST_PLANS) return complain(new Refused(`plans: ${MOST_PLANS} are open, as many as a page holds: close one that is not needed`));
  batch(() => {
    tabs.value = [...tabs.value, history()];
    answers.value = [...Array(tabs.value.length).keys()].map((i) => answers.value[i] ?? null);
    tab.value = tabs.value.length - 1;
  });
  if (!same(changes, NOTHING)) propose(changes);
}

export function closeTab(index) {
  batch(() => {
    tabs.value = tabs.value.filter((_, i) => i !== index);
    answers.value = answers.value.filter((_, i) => i !== index);
    tab.value = Math.min(tab.value >= index ? tab.value - 1 : tab.value, tabs.value.length - 1);
    against.value = afterClosing(against.value, index);
  });
}

async function travel(step) {
  const index = tab.value;
  const next = step(tabs.value[index]);
  if (next === tabs.value[index]) return;
  tabs.value = tabs.value.map((h, i) => (i === index ? next : h));
  await propose(next.now, { commit: false });
}
export const goBack = () => travel(undo);
export const goForth = () => travel(redo);
