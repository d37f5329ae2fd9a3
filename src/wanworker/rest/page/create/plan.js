/** What the video will be, and what the server says that it will use and take. */

import * as api from "../core/api.js";
import { Cell, useCell } from "../core/cells.js";
import { clip, duration } from "../core/words.js";
import { server } from "../core/world.js";
import { html, useEffect } from "../parts/hooks.js";
import { draft, files } from "./desk.js";
import { framesOf, hasLength, rateOf } from "./presets.js";
import { actionFields, complaints, isPlain, usedFiles, wantedSize } from "./request.js";

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
  // FastWAN has numbers of its own on /generate, which a plan of the action does not know.
  const isFastwan = isPlain(filled) && server.value.facts?.engine === "comfyui";
  if (!isTold || isFastwan || Object.keys(complaints(filled, used)).length) return void (planned.value = null);
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

function planWords({ engine, model, recipe, seconds }) {
  const time = seconds === null || seconds === undefined ? null : `about ${duration(Math.round(seconds))}`;
  return [[engine, model].filter(Boolean).join(", "), recipe?.name, time].filter(Boolean).join(" · ");
}
