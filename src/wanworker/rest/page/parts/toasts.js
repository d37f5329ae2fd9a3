/** Short news at the foot of the page, some of which can be undone for a while. */

import { Cell, useCell } from "../core/cells.js";
import { html } from "../vendor/preact-htm.js";

const SHOWN_MS = 7000;

export const toasts = new Cell([]);

let count = 0;

/** Show *text*; return a function that takes it away. *undo* adds a button that calls it. */
export function tell(text, { undo = null, isBad = false, ms = SHOWN_MS } = {}) {
  const id = (count += 1);
  const away = () => (toasts.value = toasts.value.filter((toast) => toast.id !== id));
  toasts.value = [...toasts.value.slice(-2), { id, text, isBad, away, undo: undo && (() => (away(), undo())) }];
  setTimeout(away, ms);
  return away;
}

// What was done last is undone as everywhere else; a text field has its own undoing.
document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || event.target.matches("input, textarea")) return;
  const last = toasts.value.findLast((toast) => toast.undo);
  if (!last) return;
  event.preventDefault();
  last.undo();
});

export function Toasts() {
  const shown = useCell(toasts);
  return html`<div class="toasts" role="status" aria-live="polite">
    ${shown.map(
      ({ id, text, isBad, undo, away }) => html`<p key=${id} class=${isBad ? "toast bad" : "toast"}>
        <span>${text}</span>
        ${undo && html`<button type="button" class="text-button" onClick=${undo} title="Ctrl+Z">Undo</button>`}
        ${!undo && html`<button type="button" class="text-button" onClick=${away}>Close</button>`}
      </p>`,
    )}
  </div>`;
}
