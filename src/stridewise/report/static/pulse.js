// Whether the server is still there, and what another tab of this page has changed: asked every few seconds while seen.

import { get, lose, Lost } from "sw/net";
import { picture, said } from "sw/store";

const EVERY = 3000;

export async function beat() {
  try {
    const found = await get("/api/pulse");
    if (found.picture.number !== picture.value.number) {
      picture.value = found.picture;
      said.value = "Another picture was chosen in another tab.";
    }
  } catch (error) {
    if (error instanceof Lost) lose(error.message);
  }
}

export function watch() {
  setInterval(() => document.visibilityState === "visible" && beat(), EVERY);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && beat());
}
