/** What the server changed or left out: what is new comes first, and what was read with a job is folded. */

import { notes } from "../core/memory.js";
import { counted } from "../core/words.js";
import { html, useEffect, useState } from "./hooks.js";

const KEPT = 50;

/**
 * The last ones come first, as they are of what was described. *isRead*: these count as read from now on, wherever they
 * come again. *isBrief*: a line that says the first new one, so that nothing moves when they come; else they are open.
 */
export function Remarks({ texts, id, isRead = false, isBrief = false }) {
  const said = texts.join("\n");
  const [known, learn] = useState(readBefore);
  const [isOpen, open] = useState(() => !isBrief && texts.some((text) => !known.has(text)));
  useEffect(() => {
    const before = readBefore();
    learn(before);
    if (!isBrief) open(texts.some((text) => !before.has(text)));
    if (isRead) notes.set("read", [...new Set([...before, ...texts])].slice(-KEPT));
  }, [said]);
  if (!texts.length) return null;
  const inOrder = [...texts].reverse().sort((one, other) => known.has(one) - known.has(other));
  const [first] = inOrder;
  return html`<details class="remarks" id=${id} open=${isOpen} onToggle=${(event) => open(event.target.open)}>
    <summary>${counted(texts.length, "remark")}${isBrief && !isOpen && !known.has(first) && html`: <span>${first}</span>`}</summary>
    <ul>${inOrder.map((text) => html`<li key=${text}>${text}</li>`)}</ul>
  </details>`;
}

const readBefore = () => new Set(notes.get("read", []));
