/** The playground: the stage, what is below it, and the settings beside it. */

import { useCell, useChanges } from "../core/cells.js";
import * as api from "../core/api.js";
import { go, route } from "../core/route.js";
import { jobs, server } from "../core/world.js";
import { nameOf, percent, stateOf, STATES } from "../core/words.js";
import { Thumbnail } from "../parts/thumbnail.js";
import { html, useEffect, useRef, useState } from "../parts/hooks.js";
import { Icon } from "../parts/icons.js";
import { Composer } from "./composer.js";
import { onStage } from "./desk.js";
import { JobBar } from "./jobbar.js";
import { Options } from "./options.js";
import { Stage } from "./stage.js";

const RECENT = 12;
const ROOM_PX = 16;

export function Create() {
  useChanges(jobs);
  const { job: named } = useCell(route);
  const search = useNamed(named);
  const job = onStage();
  return html`<div class="create">
    <${Strip} chosen=${job?.job_id} />
    <div class="centre">
      <${Stage} job=${job} search=${search} />
      ${job && html`<${JobBar} job=${job} />`}
      <${Composer} />
    </div>
    <${Options} />
  </div>`;
}

/**
 * Fetch the job that a link names, if the list has not brought it yet. Returns "" without a link, else "open", or
 * "missing" where the server has none.
 */
function useNamed(id) {
  const [missing, setMissing] = useState(null);
  const { state } = useCell(server);
  useEffect(() => {
    if (!id || state !== "ready" || jobs.get(id)) return;
    api.status(id).then((job) => jobs.put(job), (error) => error.status === 404 && setMissing(id));
  }, [id, state]);
  return id && (missing === id ? "missing" : "open");
}

/** Scroll the strip, and nothing else, to *frame*. */
function reveal(frame) {
  const strip = frame?.closest(".strip");
  if (!strip) return;
  const [seen, wanted] = [strip.getBoundingClientRect(), frame.getBoundingClientRect()];
  const by = (start, end) => (wanted[start] < seen[start] ? wanted[start] - seen[start] - ROOM_PX : Math.max(0, wanted[end] - seen[end] + ROOM_PX));
  strip.scrollBy(by("left", "right"), by("top", "bottom"));
}

const stateWords = (job) => (job.status === "processing" ? `Rendering, ${percent(job)}` : STATES[stateOf(job)]);

function Strip({ chosen }) {
  const recent = jobs.all.slice(0, RECENT);
  const place = useRef();
  useEffect(() => reveal(place.current?.querySelector("[aria-current]")), [chosen, recent.length > 0]);
  if (!recent.length) return html`<nav class="strip empty" aria-label="Recent videos"></nav>`;
  const open = (job) => {
    go(`#job/${job.job_id}`);
    requestAnimationFrame(() => document.getElementById("about-prompt")?.focus({ preventScroll: true }));
  };
  return html`<nav class="strip" aria-label="Recent videos">
    <button type="button" class="quiet skip" onClick=${() => document.getElementById("prompt").focus()}>Skip to the prompt</button>
    <ol id="recent" ref=${place}>
      ${recent.map(
        (job) => html`<li key=${job.job_id} data-id=${job.job_id} data-state=${stateOf(job)}>
          <button type="button" class="frame" aria-current=${job.job_id === chosen ? "true" : undefined}
            aria-label=${`${stateWords(job)}: ${nameOf(job).slice(0, 80)}`} onClick=${() => open(job)}>
            <${Thumbnail} job=${job} />
          </button>
        </li>`,
      )}
    </ol>
    <a class="all" href="#gallery"><${Icon} name="film" /><span>All</span></a>
  </nav>`;
}
