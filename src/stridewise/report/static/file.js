// What a report of `search`, `measure` or `fit` shows: one result, drawn by the page's own areas.

import { Fitted } from "sw/fit";
import { Measured } from "sw/measured";
import { Study } from "sw/study";
import { html } from "sw/ui";

const KINDS = {
  search: (found) => [`Strides for ${found.model}`, html`<${Study} study=${found} load=${null} />`],
  measure: (found) => [`${found.model}, measured`, html`<${Measured} found=${found} />`],
  fit: (found) => [`Strides for ${found.data}`, html`<${Fitted} found=${found} />`],
};

export function File({ kind, report }) {
  const [title, body] = KINDS[kind](report);
  return html`<section class="panel sheet" aria-labelledby="title"><h2 id="title">${title}</h2>${body}</section>`;
}
