/** The questions that the page asks, in a dialog. */

import { key } from "../core/api.js";
import { useCell } from "../core/cells.js";
import { question } from "../core/world.js";
import { html, useEffect, useRef } from "../vendor/preact-htm.js";

/** A dialog above the page, open for as long as it is rendered. *onClose* is called by Escape too. */
export function Dialog({ label, className = "", onClose, children }) {
  const place = useRef();
  useEffect(() => {
    const dialog = place.current;
    const before = document.activeElement;
    dialog.showModal();
    return () => {
      dialog.close();
      if (before?.isConnected) before.focus();
    };
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    onClose();
  };
  return html`<dialog ref=${place} class=${className} aria-label=${label} onCancel=${cancel}>${children}</dialog>`;
}

export function Questions() {
  const asked = useCell(question);
  if (asked?.kind !== "key") return null;
  const answer = (text) => {
    question.value = null;
    asked.answer(text);
  };
  return html`<${KeyQuestion} isRefused=${asked.isRefused} onAnswer=${answer} />`;
}

function KeyQuestion({ isRefused, onAnswer }) {
  const field = useRef();
  const send = (event) => {
    event.preventDefault();
    onAnswer(field.current.value);
  };
  const text = isRefused
    ? "The server refused this key. Enter its WAN_API_KEY."
    : "The server's WAN_API_KEY. It is kept in this tab until you close it.";
  return html`<${Dialog} label="API key" className="small" onClose=${() => onAnswer(null)}>
    <form onSubmit=${send}>
      <h2>API key</h2>
      <p id="key-text">${text}</p>
      <label class="field">
        <span>Key</span>
        <input ref=${field} id="key" type="password" autocomplete="off" spellcheck=${false} defaultValue=${key.get()}
          aria-describedby="key-text" />
      </label>
      <div class="row end">
        <button type="button" class="quiet" onClick=${() => onAnswer(null)}>Cancel</button>
        <button type="submit" class="primary">Use this key</button>
      </div>
    </form>
  <//>`;
}
