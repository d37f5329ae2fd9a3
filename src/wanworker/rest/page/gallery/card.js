/** One job of the gallery: its picture, which plays while it is pointed at, its prompt and its state. */

import { go } from "../core/route.js";
import { films } from "../core/world.js";
import { activity, clip, isActive, nameOf, stateOf, STATES, when } from "../core/words.js";
import { html, useEffect, useState } from "../parts/hooks.js";
import { Icon } from "../parts/icons.js";
import { removeWithUndo } from "../parts/removal.js";
import { Thumbnail } from "../parts/thumbnail.js";

const PLAY_AFTER_MS = 180;
/** More of a prompt than a card has room for would be read out with each card. */
const MOST_CHARS = 180;

export function Card({ job, index, count, isChosen, onChoose }) {
  const state = stateOf(job);
  const [isPointedAt, point] = useState(false);
  const name = nameOf(job).slice(0, MOST_CHARS);
  const short = name.slice(0, 80);
  const keys = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return; // the browser's own: copy, back
    if (event.key === "Delete" || event.key === "Backspace") leave(event, job);
    if (event.key === "c" && state === "ready") onChoose(job.job_id);
    if (event.key.startsWith("Arrow")) move(event);
  };
  return html`<li class=${isChosen ? "card chosen" : "card"} data-id=${job.job_id} data-state=${state}
    aria-setsize=${count} aria-posinset=${index + 1}>
    <button type="button" class="card-open" onClick=${() => go(`#job/${job.job_id}`)} onKeyDown=${keys}
      onPointerEnter=${(event) => event.pointerType === "mouse" && point(true)} onPointerLeave=${() => point(false)}
      onFocus=${() => point(true)} onBlur=${() => point(false)}>
      <span class=${isWide(job) ? "card-picture" : "card-picture whole"}>
        <${Thumbnail} job=${job} reason=${state === "failed" ? job.error : ""} />
        ${isPointedAt && state === "ready" && html`<${Moving} id=${job.job_id} />`}
        ${job.status === "processing" && html`<progress max="100" value=${job.progress ?? 0} aria-label="Progress"></progress>`}
      </span>
      <span class="card-name" dir="auto" title=${name}>${name}</span>
      <span class="card-facts"><span class="badge">${STATES[state]}</span> <span>${line(job)}</span></span>
    </button>
    ${state === "ready" &&
    html`<label class="card-choose" title="Choose to compare (C)"><input type="checkbox" checked=${isChosen} onChange=${() => onChoose(job.job_id)}
      aria-label=${`Compare: ${short}`} /><${Icon} name="check" /></label>`}
    <button type="button" class="round small-round card-remove" aria-label=${`${isActive(job) ? "Cancel" : "Delete"}: ${short}`}
      title=${isActive(job) ? "Cancel" : "Delete"} onClick=${(event) => leave(event, job)}><${Icon} name=${isActive(job) ? "close" : "trash"} /></button>
  </li>`;
}

/** Say whether a video nearly has the shape of its card: of any other, cutting it to that would hide a part. */
function isWide({ video }) {
  return !video?.height || Math.abs(video.width / video.height - 16 / 9) < 0.1;
}

/** The film itself, in place of its picture. It is fetched by ranges, which leave the server its copy. */
function Moving({ id }) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    let isOver = false;
    const timer = setTimeout(() => films.toPlay(id).then((url) => isOver || setUrl(url), () => {}), PLAY_AFTER_MS);
    return () => ((isOver = true), clearTimeout(timer));
  }, [id]);
  return url && html`<video class="moving" src=${url} muted loop autoplay playsinline aria-hidden="true" tabindex="-1"></video>`;
}

/** Delete a job; the focus goes to the next card, or the one before the last. */
function leave(event, job) {
  event.preventDefault();
  const card = event.target.closest("li");
  const next = card.nextElementSibling ?? card.previousElementSibling;
  removeWithUndo(job);
  requestAnimationFrame(() => (next?.isConnected ? next.querySelector(".card-open") : document.getElementById("search"))?.focus());
}

/** Arrow keys go from card to card. */
function move(event) {
  const cards = [...document.querySelectorAll("#jobs .card-open")];
  const columns = Number(getComputedStyle(document.getElementById("jobs")).getPropertyValue("--columns"));
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  const target = cards[cards.indexOf(event.currentTarget) + by];
  if (!target) return;
  event.preventDefault();
  target.focus({ preventScroll: true });
  target.scrollIntoView({ block: "nearest" });
}

function line(job) {
  if (job.status === "processing") return activity(job);
  if (job.status === "queued" && job.queue_position) return `number ${job.queue_position} in the queue`;
  const seconds = job.video?.duration_s;
  return [seconds && clip(seconds), when(job.created_at)].filter(Boolean).join(" · ");
}
