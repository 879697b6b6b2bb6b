// Networks come and go: which one is open, the plans kept of the others, what an address asks for, the first look.

import { get, Refused } from "sw/net";
import { decoded, fieldsBy, history, idle, MOST_KEPT, MOST_PLANS } from "sw/state";
import * as words from "sw/format";
import { addTab, against, answers, area, base, busy, complain, data, errors, extras, kinds, layer, live, looks, network, networks, opening, picture, position, propose, settings, tab, tabs } from "sw/store";
import { batch } from "sw/ui";

// Plans by the name of their network, while another one is open: with their histories, or as an address told them.
export const kept = new Map();

function putAside() {
  const name = networks.value[network.value]?.name;
  if (!name || !base.value) return;
  kept.delete(name);
  if (tabs.value.some((h) => !idle(h.now) || h.past.length))
    kept.set(name, { network: name, tabs: tabs.value.slice(1).map((h) => h.now), histories: tabs.value, tab: tab.value, against: against.value, layer: layer.value, position: position.value });
  while (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
}

let turns = 0; // a hand on the keys goes through the list of networks: the last one counts
export async function openNetwork(index, wanted = null) {
  if (index !== network.value) putAside();
  wanted ??= kept.get(networks.value[index]?.name) ?? {};
  busy.value = `tracing ${networks.value[index]?.name ?? "the network"} …`;
  const turn = (turns += 1);
  opening.value = index;
  try {
    const found = await get(`/api/network/${index}`);
    if (turn !== turns) return; // another one was chosen meanwhile
    batch(() => {
      network.value = index;
      base.value = { ...found, fields: fieldsBy(found.fields) };
      networks.value = networks.value.map((n, i) => (i === index ? { ...n, name: found.model } : n)); // resolved by now
      errors.value = [];
      tabs.value = [history()];
      answers.value = [null];
      tab.value = 0;
      against.value = 0;
      position.value = wanted.position ?? null;
      layer.value = found.layers.some((r) => r.key === wanted.layer) ? wanted.layer : deepest(found);
    });
    kept.delete(found.model);
    for (const changes of wanted.tabs ?? []) {
      addTab();
      await propose(changes);
      if (turn !== turns) return;
    }
    if (wanted.histories?.length === tabs.value.length) tabs.value = wanted.histories; // undo goes on where it was
    if (!wanted.tabs?.length) addTab();
    if (wanted.tabs?.length && wanted.tab < tabs.value.length) tab.value = wanted.tab;
    against.value = wanted.against < tabs.value.length ? wanted.against ?? 0 : 0;
  } catch (error) {
    if (turn !== turns) return;
    complain(error);
  }
  opening.value = -1;
  busy.value = "";
}

// The last layer that still has positions: what a person most often wants to see first.
const deepest = (found) =>
  (found.layers.findLast((r) => r.op === "conv" && r.cumulative_stride.length && r.cumulative_stride.every((s) => s !== null)) ??
    found.layers[0])?.key ?? "";

export async function visit(wanted) {
  const named = networks.value.findIndex((n) => n.name === wanted.network || wanted.network.endsWith(`:${n.name}`));
  if (wanted.area) area.value = wanted.area;
  settings.value = wanted.settings;
  looks.value = wanted.looks;
  kept.clear();
  for (const other of wanted.kept ?? []) if (networks.value.some((n) => n.name === other.network)) kept.set(other.network, other);
  await openNetwork(Math.max(named, 0), named >= 0 || !wanted.network ? wanted : {});
  if (wanted.many > MOST_PLANS) complain(new Refused(`address: it holds ${wanted.many} plans, of which the first ${MOST_PLANS} are shown: as many as a page holds`));
  if (wanted.network && named < 0)
    complain(new Refused(`${words.clipped(wanted.network)}: the address shows this network, which is not among those here: start “stridewise serve ${words.quoted(wanted.network)}” and open the address with it`));
}

export async function begin() {
  if (!live) return beginFromFile() ?? null;
  const token = new URL(location.href);
  if (token.searchParams.has("token")) {
    token.searchParams.delete("token");
    window.history.replaceState(null, "", token.pathname + token.hash);
  }
  const wanted = decoded(location.hash);
  try {
    const start = await get("/api/start");
    batch(() => {
      networks.value = start.networks;
      picture.value = start.picture;
      kinds.value = start.kinds;
      extras.value = start;
    });
    await visit(wanted);
    return start;
  } catch (error) {
    complain(error);
    return null;
  }
}

function beginFromFile() {
  const report = data.report;
  if (data.kind !== "show") return;
  batch(() => {
    base.value = report;
    networks.value = [{ name: report.model }];
    network.value = 0;
    const plans = report.plans ?? [];
    tabs.value = [history(), ...plans.map((p) => history({ [p.plan]: "" }))];
    answers.value = [null, ...plans.map((p) => ({ ...p, plan: null, pads: [] }))];
    tab.value = plans.length;
    layer.value = deepest(report);
  });
}
