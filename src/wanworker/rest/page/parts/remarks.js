/** What the server changed or left out: what is new stands open and first, what was read with a job is folded. */

import { notes } from "../core/memory.js";
import { counted } from "../core/words.js";
import { html, useEffect, useState } from "./hooks.js";

const KEPT = 50;

/** The last ones come first, as they are of what was described; *isRead*: these count as read from now on, wherever they come again. */
export function Remarks({ texts, id, isRead = false }) {
  const said = texts.join("\n");
  const [{ known, isOpen }, show] = useState(() => standing(texts));
  useEffect(() => {
    show(standing(texts));
    if (isRead) notes.set("read", [...new Set([...notes.get("read", []), ...texts])].slice(-KEPT));
  }, [said]);
  if (!texts.length) return null;
  const inOrder = [...texts].reverse().sort((one, other) => known.has(one) - known.has(other));
  return html`<details class="remarks" id=${id} open=${isOpen} onToggle=${(event) => show({ known, isOpen: event.target.open })}>
    <summary>${counted(texts.length, "remark")}</summary>
    <ul>${inOrder.map((text) => html`<li key=${text}>${text}</li>`)}</ul>
  </details>`;
}

function standing(texts) {
  const known = new Set(notes.get("read", []));
  return { known, isOpen: texts.some((text) => !known.has(text)) };
}
