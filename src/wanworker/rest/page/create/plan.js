/** What the video will be, and what the server says that it will use and cost. */

import * as api from "../core/api.js";
import { Cell, useCell } from "../core/cells.js";
import { clip, duration } from "../core/words.js";
import { html, useEffect } from "../parts/hooks.js";
import { draft, files } from "./desk.js";
import { framesOf, hasLength, rateOf } from "./presets.js";
import { actionFields, complaints, usedFiles, wantedSize } from "./request.js";

/** What the server plans for the draft; null where it is not known, or the server does not tell. */
export const planned = new Cell(null);

const PAUSE_MS = 500;
let isTold = true;

export function PlanLine() {
  const filled = useCell(draft);
  const chosen = useCell(files);
  const plan = useCell(planned);
  useEffect(() => {
    const abort = new AbortController();
    const timer = setTimeout(() => look(filled, chosen, abort.signal), PAUSE_MS);
    return () => (clearTimeout(timer), abort.abort());
  }, [filled, chosen]);
  return html`<p class="plan" id="plan">
    <span>${inWords(filled)}</span>
    ${plan && html`<span class="plan-more">${planWords(plan)}</span>`}
    ${(plan?.warnings ?? []).map((text) => html`<span class="plan-more" key=${text}>${text}</span>`)}
  </p>`;
}

async function look(filled, chosen, signal) {
  const used = usedFiles(filled, chosen);
  if (!isTold || Object.keys(complaints(filled, used)).length) return void (planned.value = null);
  try {
    const plan = await api.plan(actionFields(filled), signal);
    isTold = plan !== null;
    planned.value = plan;
  } catch {
    if (!signal.aborted) planned.value = null;
  }
}

/** "832 × 480 · 5 s, 81 frames at 16 fps". */
export function inWords(filled) {
  const size = wantedSize(filled);
  const fps = Number(filled.fps) || rateOf(filled);
  const frames = Number(filled.length) || framesOf(filled);
  const length = hasLength(filled) ? `${clip(frames / fps)}, ${frames} frames at ${fps} fps` : lengthFrom(filled);
  return `${size ? `${size[0]} × ${size[1]}` : "The picture's shape"} · ${length}`;
}

const lengthFrom = ({ mode }) => (mode === "sound" ? "as long as the sound" : "as long as the film");

function planWords({ engine, model, recipe, seconds, cost }) {
  const time = seconds === null || seconds === undefined ? null : `about ${duration(Math.round(seconds))}`;
  const way = typeof recipe === "string" ? recipe : recipe?.name;
  return [[engine, model].filter(Boolean).join(", "), way, time, costWords(cost)].filter(Boolean).join(" · ");
}

function costWords(cost) {
  if (cost === null || cost === undefined) return null;
  return typeof cost === "number" ? `$${cost.toFixed(cost < 0.1 ? 3 : 2)}` : String(cost.text ?? cost.usd ?? "") || null;
}
