/** A job's small picture: the beginning of its video; while there is none its state, or the *reason* of it. */

import * as api from "../core/api.js";
import { percent, stateOf, STATES } from "../core/words.js";
import { html, useEffect, useState } from "./hooks.js";

/** Pictures that were fetched, by job and attempt; the oldest make room. */
const pictures = new Map();
const HELD = 400;

/** A picture is asked for when it has been in sight this long: who scrolls past asks for none. */
const PAUSE_MS = 120;

export function Thumbnail({ job, reason = "" }) {
  const state = stateOf(job);
  const picture = usePicture(job, state === "ready" || state === "gone");
  return html`<span class="thumb" data-state=${state}>
    ${picture && html`<img src=${picture} alt="" />`}
    ${state === "rendering" && html`<span class="thumb-text" aria-hidden="true">${percent(job)}</span>`}
    ${!picture && reason && html`<span class="thumb-text" dir="auto">${reason}</span>`}
    ${!picture && !reason && state !== "rendering" && html`<span class="thumb-text" aria-hidden="true">${STATES[state]}</span>`}
  </span>`;
}

function usePicture(job, isThere) {
  const key = isThere ? `${job.job_id} ${job.completed_at}` : null;
  const [, show] = useState(null);
  useEffect(() => {
    if (!key || pictures.has(key)) return;
    const abort = new AbortController();
    const timer = setTimeout(async () => {
      const address = await api.thumbnail(job, abort.signal).then((blob) => URL.createObjectURL(blob), () => null);
      if (abort.signal.aborted) return;
      hold(key, address);
      show(key);
    }, PAUSE_MS);
    return () => (clearTimeout(timer), abort.abort());
  }, [key]);
  return pictures.get(key) ?? null;
}

function hold(key, address) {
  pictures.set(key, address);
  if (pictures.size <= HELD) return;
  const [oldest, old] = pictures.entries().next().value;
  if (old) URL.revokeObjectURL(old);
  pictures.delete(oldest);
}
