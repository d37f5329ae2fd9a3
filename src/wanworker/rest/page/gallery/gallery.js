/** The gallery: every job on the volume, from whichever door; search, filter, compare. */

import { useCell, useChanges, Cell } from "../core/cells.js";
import { follower, jobs, server } from "../core/world.js";
import { counted, isActive, nameOf, stateOf } from "../core/words.js";
import { Segments } from "../parts/controls.js";
import { html, useEffect, useMemo, useState } from "../parts/hooks.js";
import { Icon } from "../parts/icons.js";
import { Card } from "./card.js";
import { Compare } from "./compare.js";
import { Grid } from "./grid.js";

const FILTERS = {
  all: { text: "All", has: () => true },
  active: { text: "Active", has: isActive },
  ready: { text: "Ready", has: (job) => stateOf(job) === "ready" },
  failed: { text: "Failed", has: (job) => stateOf(job) === "failed" },
  cancelled: { text: "Cancelled", has: (job) => stateOf(job) === "cancelled" },
  gone: { text: "Gone", has: (job) => stateOf(job) === "gone" },
};

/** What is searched and chosen, and the place in the list, stay while another view is shown. */
const memory = { top: 0 };
const search = new Cell({ text: "", filter: "all" });
const chosen = new Cell([]);

/** A search goes through the whole list, in larger pieces. */
const PIECE = { all: 60, search: 250 };

export function View() {
  useChanges(jobs);
  const { text, filter } = useCell(search);
  const picked = useCell(chosen);
  const [isComparing, setComparing] = useState(false);
  const all = jobs.all;
  const shown = useMemo(() => found(all, text, filter), [all, text, filter]);
  const isSearch = Boolean(text.trim()) || filter !== "all";
  const more = () => follower.more(isSearch ? PIECE.search : PIECE.all).catch(() => {});
  // What was chosen since this rendering counts too: an effect comes later.
  useEffect(() => void (chosen.value = chosen.value.filter((id) => jobs.get(id))), [all]);
  return html`<div class="gallery">
    <header class="gallery-head">
      <h2>Gallery <span class="range" id="total" role="status">${isSearch ? matches(shown) : jobs.total || ""}</span></h2>
      <label class="search"><${Icon} name="search" /><span class="visually-hidden">Search the prompts</span>
        <input type="search" id="search" placeholder="Search the prompts" dir="auto" value=${text}
          onInput=${(event) => search.patch({ text: event.target.value })} /></label>
      <${Segments} label="State" name="state" value=${filter} className="filters"
        options=${Object.entries(FILTERS).map(([name, each]) => [name, each.text])}
        onChange=${(name) => search.patch({ filter: name })} />
    </header>
    ${shown.length === 0 && jobs.cursor === null && html`<${Nothing} isSearch=${isSearch} isListed=${jobs.isListed} />`}
    <${Grid} items=${shown} loaded=${all.length} hasMore=${jobs.cursor !== null} onMore=${more}
      facts=${(job, index) => [job, index, shown.length, picked.includes(job.job_id)]} render=${cardOf} memory=${memory} />
    ${picked.length > 0 &&
    html`<div class="tray" role="region" aria-label="Compare">
      <p>${picked.length === 1 ? "Choose one more to compare." : "Two are chosen."}</p>
      <button type="button" class="quiet" onClick=${() => (chosen.value = [])}>Clear</button>
      <button type="button" class="primary" id="compare" disabled=${picked.length !== 2} onClick=${() => setComparing(true)}>
        <${Icon} name="compare" />Compare</button>
    </div>`}
    ${isComparing && html`<${Compare} pair=${picked.map((id) => jobs.get(id))} onClose=${() => setComparing(false)} />`}
  </div>`;
}

/** How many were found, and of how many, as long as the list is still being fetched. */
function matches(shown) {
  const count = counted(shown.length, "match", "matches");
  return jobs.cursor === null ? count : `${count} in ${jobs.all.length} of ${jobs.total}`;
}

const cardOf = ([job, index, count, isChosen]) =>
  html`<${Card} key=${job.job_id} job=${job} index=${index} count=${count} isChosen=${isChosen} onChoose=${pick} />`;

/** Choose a job for the comparison, or no longer; the third takes the place of the first. */
function pick(id) {
  const others = chosen.value.filter((each) => each !== id);
  chosen.value = others.length < chosen.value.length ? others : [...others, id].slice(-2);
}

/** The jobs whose prompt, seed or id has every word of *text*, and that *filter* lets through. Pure. */
export function found(all, text, filter) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length && filter === "all") return all;
  return all.filter((job) => {
    if (!FILTERS[filter].has(job)) return false;
    const place = `${nameOf(job)} ${job.seed ?? ""} ${job.job_id} ${job.engine ?? ""} ${job.model ?? ""}`.toLowerCase();
    return words.every((word) => place.includes(word));
  });
}

function Nothing({ isSearch, isListed }) {
  if (!isListed) return html`<${Unlisted} />`;
  return html`<div class="nothing">
    <${Icon} name="film" />
    <p class="screen-title">${isSearch ? "Nothing like that" : "No videos yet"}</p>
    <p>${isSearch ? "Other words, or another state, may find more." : html`What any door renders is listed here. <a href="#create">Make the first one.</a>`}</p>
  </div>`;
}

/** Who has not seen the list does not know whether it is empty. What is wrong is said above. */
function Unlisted() {
  const { state } = useCell(server);
  const words = { locked: "The videos are shown once the key is given", offline: "The videos are shown once the server answers" };
  return html`<div class="nothing" aria-busy=${state === "waiting"}><p class="screen-title">${words[state] ?? "Loading the videos"}</p></div>`;
}
