// The page's address: written as the state changes, and followed when somebody puts another one in.

import { decoded, encoded } from "sw/state";
import { kept, visit } from "sw/opening";
import { against, area, base, layer, looks, network, networks, position, settings, tab, tabs } from "sw/store";
import { effect } from "sw/ui";

export const address = () =>
  encoded({
    network: networks.value[network.value]?.name ?? "",
    tabs: tabs.value.slice(1).map((h) => h.now),
    tab: tab.value,
    against: against.value,
    layer: layer.value,
    area: area.value,
    position: position.value,
    settings: settings.value,
    looks: looks.value,
    kept: [...kept.values()].filter((k) => k.network !== networks.value[network.value]?.name),
  });

// Written at most ten times a second: browsers stop listening to a page that writes more.
let written = 0;
let later = 0;
function writeAddress() {
  if (!base.value) return;
  const hash = `#${address()}`;
  const write = () => {
    written = performance.now();
    window.history.replaceState(null, "", hash);
  };
  clearTimeout(later);
  later = setTimeout(write, Math.max(0, written + 100 - performance.now()));
  document.title = `${networks.value[network.value].name} · Stridewise`;
}

export function follow() {
  effect(writeAddress);
  window.addEventListener("hashchange", () => {
    clearTimeout(later); // somebody's address, put into this page
    visit(decoded(location.hash));
  });
}
