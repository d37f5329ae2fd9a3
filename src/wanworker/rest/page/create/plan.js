/** What the video will be, and what the server says that it will use and take. */

import * as api from "../core/api.js";
import { Cell, useCell } from "../core/cells.js";
import { tables } from "../core/tables.js";
import { clip, duration, rendererOf } from "../core/words.js";
import { server } from "../core/world.js";
import { html, useEffect } from "../parts/hooks.js";
import { Remarks } from "../parts/remarks.js";
import { asBase64, draft, files } from "./desk.js";
import { FILES, framesOf, hasLength, rateOf } from "./presets.js";
import { actionFields, complaints, isPlain, number, plainFields, usedFiles, wantedSize } from "./request.js";

/** What the server plans for the draft, or its `refusal`; null where it is not known. */
export const planned = new Cell(null);

const PAUSE_MS = 500;
/** What is planned as long as nothing is described: the numbers do not depend on it. */
const STAND_IN = "a video";
const MOST_PX = 768;
/** A longer sound or film is not sent just to ask: what it becomes is seen when it is rendered. */
const MOST_BYTES = 4e6;
const small = new WeakMap();

export function PlanLine() {
  const filled = useCell(draft);
  const chosen = useCell(files);
  const plan = useCell(planned);
  const { state, facts } = useCell(server);
  useEffect(() => {
    if (state !== "ready") return;
    const abort = new AbortController();
    const timer = setTimeout(() => look(filled, chosen, abort.signal), PAUSE_MS);
    return () => (clearTimeout(timer), abort.abort());
  }, [filled, chosen, state, facts?.engine]);
  const known = state === "ready" ? plan : null;
  return html`<div class="plan" id="plan">
    <p><span>${inWords(filled)}</span>${known && html` <span class="plan-more" data-refused=${Boolean(known.refusal) || undefined}>${isOf(known, filled) ? planWords(known) : "…"}</span>`}</p>
    <${Remarks} texts=${known?.warnings ?? []} isBrief />
  </div>`;
}

/** Say whether *plan* is of these choices: in what is described it may be one pause behind. */
function isOf({ of }, filled) {
  return Object.keys(filled).every((name) => name === "prompt" || of[name] === filled[name]);
}

async function look(filled, chosen, signal) {
  const used = usedFiles(filled, chosen);
  const { prompt: isUnsaid, ...others } = complaints(filled, used);
  const isLarge = Object.entries(used).some(([name, file]) => FILES[name].kind !== "image" && file.size > MOST_BYTES);
  if (isLarge || Object.keys(others).length || filled.prompt.length > tables.prompt_chars) return void (planned.value = null);
  try {
    const plan = await asked(isUnsaid ? { ...filled, prompt: STAND_IN } : filled, used, signal);
    planned.value = { ...plan, ...(isUnsaid && { warnings: [] }), of: filled };
  } catch (error) {
    if (signal.aborted) return;
    planned.value = error instanceof api.Refused && error.status !== 429 ? refusalOf(error, filled) : null;
  }
}

/** A refusal in a line, and how to go on as its remarks: those may be as long as a list of folders. */
const refusalOf = ({ text, hint }, filled) => ({ refusal: text, warnings: hint ? hint.split("\n").reverse() : [], of: filled });

/** Ask for the plan of what would be sent, by the route that would take it. */
async function asked(filled, used, signal) {
  const price = { price_per_hour: number(filled.price) };
  if (isPlain(filled)) {
    const image = used.image && (await fileOf("image", used.image));
    return api.plan({ ...plainFields(filled), ...price, ...(image && { image }) }, { isPlain: true, signal });
  }
  const input = { ...actionFields(filled), ...price };
  for (const [name, file] of Object.entries(used)) input[`${FILES[name].field}_base64`] = await fileOf(name, file);
  return api.plan(input, { signal });
}

/** A file as base64, a picture small but in its shape: asking for a plan must be cheap. */
async function fileOf(name, file) {
  if (!small.has(file)) small.set(file, await asBase64(FILES[name].kind === "image" ? await shrunk(file) : file));
  return small.get(file);
}

async function shrunk(file) {
  const picture = await createImageBitmap(file);
  const scale = Math.min(1, MOST_PX / Math.max(picture.width, picture.height));
  const canvas = new OffscreenCanvas(Math.round(picture.width * scale), Math.round(picture.height * scale));
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg" });
}

/** The size, the length, the frames and their rate, as far as the draft decides them. */
export function inWords(filled) {
  const size = wantedSize(filled);
  const fps = Number(filled.fps) || rateOf(filled);
  const frames = Number(filled.length) || framesOf(filled);
  const length = hasLength(filled) ? `${clip(frames / fps)}, ${frames} frames at ${fps} fps` : lengthFrom(filled);
  return `${size ? `${size[0]} × ${size[1]}` : "The picture's shape"} · ${length}`;
}

const lengthFrom = ({ mode }) => (mode === "sound" ? "as long as the sound" : "as long as the video");

function planWords({ engine, model, recipe, seconds, cost, refusal }) {
  if (refusal) return refusal;
  const time = seconds === null || seconds === undefined ? null : `about ${duration(Math.round(seconds))}`;
  const price = (cost ?? null) === null ? null : `costs about ${Number(cost.toPrecision(2))}`;
  return [rendererOf({ engine, model }), recipe?.name, time, price].filter(Boolean).join(" · ");
}
