/** Below the stage: what the chosen job is, and what can be done with it. */

import { linkTo } from "../core/route.js";
import { films, withKey } from "../core/world.js";
import { facts, isActive, nameOf, stateOf } from "../core/words.js";
import { html } from "../parts/hooks.js";
import { Icon } from "../parts/icons.js";
import { Remarks } from "../parts/remarks.js";
import { removeWithUndo } from "../parts/removal.js";
import { tell } from "../parts/toasts.js";
import { draft, keptAside, reuse, vary } from "./desk.js";
import { focusOnTrouble } from "./composer.js";

const ANOTHER_SEED = { icon: "dice", text: "Another seed", title: "The same again, with another seed" };
const TRY_AGAIN = { icon: "again", text: "Try again", title: "The same again" };

export function JobBar({ job }) {
  const state = stateOf(job);
  const hasFailed = state === "failed" || state === "cancelled";
  const hasFilm = state === "ready" || films.has(job.job_id);
  return html`<section class="jobbar" aria-label="The video on the stage">
    <div class="jobbar-main">
      <h2 class="jobbar-prompt" id="about-prompt" tabindex="-1" dir="auto">${nameOf(job)}</h2>
      <div class="actions">
        ${job.prompt && html`<${Act} icon="settings" text="Use settings" title="Fill in this video's settings" onClick=${() => takeSettings(job)} />`}
        ${!isActive(job) && job.prompt && html`<${Act} ...${hasFailed ? TRY_AGAIN : ANOTHER_SEED} onClick=${() => vary(job).then((id) => id || focusOnTrouble())} />`}
        <${Act} icon="link" text="Share" title="Copy a link to this video" onClick=${() => share(job)} />
        ${hasFilm && html`<${Act} icon="down" text="Download" onClick=${() => save(job)} />`}
        <${Act} icon=${isActive(job) ? "close" : "trash"} text=${isActive(job) ? "Cancel" : "Delete"} className="danger" onClick=${() => removeWithUndo(job)} />
      </div>
    </div>
    <dl class="facts" id="facts">
      ${facts(job).map(([name, text]) => html`<div key=${name}><dt>${name}</dt><dd>${text}</dd></div>`)}
    </dl>
    <${Remarks} key=${job.job_id} id="warnings" texts=${job.warnings ?? []} isRead />
  </section>`;
}

function Act({ icon, text, title, className = "", onClick }) {
  return html`<button type="button" class=${`act ${className}`} title=${title} onClick=${onClick}>
    <${Icon} name=${icon} /><span>${text}</span>
  </button>`;
}

/** Fill in a job's settings; a prompt that was being written can be had again. */
async function takeSettings(job) {
  const undo = draft.value.prompt.trim() && draft.value.prompt !== job.prompt ? keptAside() : null;
  await reuse(job);
  if (undo) tell("This video's settings are filled in.", { undo });
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
