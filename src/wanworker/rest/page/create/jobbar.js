/** Below the stage: what the chosen job is, and what can be done with it. */

import { linkTo } from "../core/route.js";
import { films, withKey } from "../core/world.js";
import { notes } from "../core/memory.js";
import { facts, isActive, nameOf, stateOf } from "../core/words.js";
import { html, useEffect, useState } from "../parts/hooks.js";
import { Icon } from "../parts/icons.js";
import { removeWithUndo } from "../parts/removal.js";
import { tell } from "../parts/toasts.js";
import { reuse, vary } from "./desk.js";
import { focusOnTrouble } from "./composer.js";

export function JobBar({ job }) {
  const state = stateOf(job);
  const hasFilm = state === "ready" || films.has(job.job_id);
  return html`<section class="jobbar" aria-label="The video on the stage">
    <div class="jobbar-main">
      <h2 class="jobbar-prompt" id="about-prompt" tabindex="-1" dir="auto">${nameOf(job)}</h2>
      <div class="actions">
        ${job.prompt && html`<${Act} icon="settings" text="Use settings" title="Fill in this video's settings" onClick=${() => reuse(job).then(showForm)} />`}
        ${!isActive(job) && job.prompt && html`<${Act} icon="dice" text="Another seed" title="The same again, with another seed" onClick=${() => vary(job).then((id) => id || focusOnTrouble())} />`}
        <${Act} icon="link" text="Share" title="Copy a link to this video" onClick=${() => share(job)} />
        ${hasFilm && html`<${Act} icon="down" text="Download" onClick=${() => save(job)} />`}
        <${Act} icon=${isActive(job) ? "close" : "trash"} text=${isActive(job) ? "Cancel" : "Delete"} className="danger" onClick=${() => removeWithUndo(job)} />
      </div>
    </div>
    <dl class="facts" id="facts">
      ${facts(job).map(([name, text]) => html`<div key=${name}><dt>${name}</dt><dd>${text}</dd></div>`)}
    </dl>
    <${Remarks} key=${job.job_id} texts=${job.warnings ?? []} />
  </section>`;
}

function Act({ icon, text, title, className = "", onClick }) {
  return html`<button type="button" class=${`act ${className}`} title=${title} onClick=${onClick}>
    <${Icon} name=${icon} /><span>${text}</span>
  </button>`;
}

/** What the server changed or left out. What was read with an earlier job is folded away; what is new is open. */
function Remarks({ texts }) {
  const [isOpen, setOpen] = useState(() => !texts.every((text) => notes.get("read", []).includes(text)));
  useEffect(() => {
    const read = notes.get("read", []);
    const fresh = texts.filter((text) => !read.includes(text));
    if (!fresh.length) return;
    setOpen(true);
    notes.set("read", [...read, ...fresh].slice(-50));
  }, [texts.join("\n")]);
  if (!texts.length) return null;
  return html`<details class="remarks" id="warnings" open=${isOpen} onToggle=${(event) => setOpen(event.target.open)}>
    <summary>${texts.length === 1 ? "1 remark" : `${texts.length} remarks`}</summary>
    <ul>${texts.map((text) => html`<li key=${text}>${text}</li>`)}</ul>
  </details>`;
}

function showForm() {
  const prompt = document.getElementById("prompt");
  prompt.focus();
  prompt.scrollIntoView({ block: "nearest" });
}

async function share(job) {
  const link = linkTo(job.job_id);
  try {
    await navigator.clipboard.writeText(link);
    tell("The link is copied.");
  } catch {
    // Browsers let no page write to the clipboard over plain http, except on this machine.
    tell(link, { ms: 20_000 });
  }
}

async function save(job) {
  try {
    await withKey(() => films.save(job));
    tell("Saved. The server keeps its copy.");
  } catch (error) {
    tell(error.message, { isBad: true });
  }
}
