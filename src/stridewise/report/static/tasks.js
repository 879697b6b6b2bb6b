// A first minute: three tasks that the page checks itself, and examples that open by link.

import { bytes, change as changed, count, number, once } from "sw/format";
import { ladder } from "sw/shape";
import { encoded, KEEP } from "sw/state";
import { base, change, changed as edited, look, network, networks, now, read, view } from "sw/store";
import { html } from "sw/ui";

const finest = (v) => v.totals.output_stride.map(number);
const cost = () => `${count(view.value.totals.macs)} multiply-adds, ${changed(view.value.totals.macs, base.value.totals.macs) || "as before"}; peak memory ${bytes(view.value.totals.peak_activation_bytes)}, ${changed(view.value.totals.peak_activation_bytes, base.value.totals.peak_activation_bytes) || "as before"}`;
const rises = (v) => ladder(base.value, v).rises;

// {ask, hint, done: whether what is shown now answers it, answer: what it came to, show: the wishes that do it}
const TASKS = [
  {
    id: "finer",
    ask: "Make the last map twice as fine without retraining. What does it cost?",
    hint: "choose half the output stride, and tick ‘keep trained weights’",
    possible: () => Math.max(...finest(base.value)) > 1,
    done: () => ["exact", "means"].includes(view.value.weights?.state) && finest(view.value).every((s, i) => s * 2 <= finest(base.value)[i]),
    answer: () => `${finest(view.value).join("×")} instead of ${finest(base.value).join("×")}: ${cost()}. Every weight reads the pixels it was trained on${view.value.weights.state === "means" ? "; only means at the end are now taken over more positions" : ""}.`,
    show: () => read({ changes: {}, output_stride: Math.max(...finest(base.value)) / 2, keep_weights: true, means: "dense" }, "/api/request"),
  },
  {
    id: "half",
    ask: "Halve the network's work, its last map staying as it is. Which step did you move?",
    hint: "move a step to an earlier place: everything behind it then runs on fewer positions",
    possible: () => rises(base.value).length > 0,
    done: () => view.value.totals.macs <= 0.5 * base.value.totals.macs && once(view.value.totals.output_stride) === once(base.value.totals.output_stride),
    answer: () => `${cost()}. Details smaller than the new step are gone before more layers saw them: a network trained with it says what that costs in accuracy.`,
    show: null,
  },
  {
    id: "later",
    ask: "Let the first layers see finer maps: move a step to a later place. What is the price?",
    hint: "focus a step on the ladder and press →, or drag it to the right",
    possible: () => rises(base.value).length > 0,
    done: () => edited.value && view.value.totals.macs > base.value.totals.macs && once(view.value.totals.output_stride) === once(base.value.totals.output_stride),
    answer: () => `${cost()}. The last map is the same size, and the layers before the step work on ${once(view.value.totals.output_stride) === "1" ? "every pixel" : "more positions"}.`,
    show: null,
  },
];

// Links that open something worth seeing on the network at hand.
function examples() {
  const name = networks.value[network.value].name;
  const last = rises(base.value).filter((r) => r.free).at(-1);
  const kinds = last && (base.value.kinds?.[last.key] ?? base.value.kinds?.[last.key.startsWith("+") ? "+" : ""] ?? []);
  const open = (more) => `#${encoded({ network: name, tab: 1, ...more })}`;
  return [
    last && ["without its last step", open({ tabs: [{ [last.key]: "1" }] })],
    last && kinds.includes("blur") && ["its last step behind a blur", open({ tabs: [{ [last.key]: `${last.stride[0]}:blur` }] })],
    last && !last.key.startsWith("+") && ["the same, trained weights kept", open({ tabs: [{ [last.key]: "1", [KEEP]: "dense" }] })],
    base.value.input.length === 4 && ["an edge at stride 1 and 2", open({ tabs: [{}], area: "convolution" })],
  ].filter(Boolean);
}

export function Tasks() {
  const [open, setOpen] = look("minute", false);
  const [solved, setSolved] = look("solved", "");
  const there = TASKS.filter((task) => task.possible());
  const was = solved.split(".").filter(Boolean);
  const met = there.filter((task) => task.done());
  const fresh = met.filter((task) => !was.includes(task.id));
  if (fresh.length && open) queueMicrotask(() => setSolved([...was, ...fresh.map((task) => task.id)].join(".")));
  return html`<details class="minute" open=${open} onToggle=${(e) => setOpen(e.target.open)}><summary>A first minute: three tasks and some examples${was.length ? ` (${was.length} of ${there.length} done)` : ""}</summary>
    ${open && html`<ol class="tasks">${there.map((task) => {
      const done = met.includes(task);
      return html`<li key=${task.id} data-task=${task.id} class=${done ? "done" : was.includes(task.id) ? "was" : ""}><span aria-hidden="true">${done || was.includes(task.id) ? "✓" : "○"}</span> <b>${task.ask}</b>${" "}
        ${done ? html`<span class="answered" role="status">Done. ${task.answer()}</span>` : html`<span class="muted">Hint: ${task.hint}.</span> `}
        ${!done && task.show && html`<button type="button" class="small" onClick=${async () => { const wishes = await task.show(); if (wishes) change(wishes); }}>show me</button>`}</li>`;
    })}</ol>
    <p class="links">Examples: ${examples().map(([name, href], i) => html`${i ? " · " : ""}<a href=${href}>${name}</a>`)}</p>`}</details>`;
}
