/** From what is filled in to what is sent. */

import { tables } from "../core/tables.js";
import { FILES, MODES, SHAPES, familyOf, framesOf, hasLength, hasPicture, rateOf, resolutionsOf, sizeOf, taskOf } from "./presets.js";

/** Numbers that may be set by hand. Empty: the preset's, or what suits the engine. */
export const BY_HAND = ["width", "height", "length", "fps", "steps", "cfg", "shift"];

export const EMPTY = {
  mode: "text",
  model: familyOf(tables.plain_task),
  prompt: "",
  negative_prompt: "",
  shape: "wide",
  resolution: "480p",
  seconds: 5,
  followsPicture: true,
  profile: "",
  engine: "",
  loras: [],
  seed: "",
  isSeedLocked: false,
  price: "",
  ...Object.fromEntries(BY_HAND.map((name) => [name, ""])),
};

/** Make a draft of what an older page, or a job, left. Unknown keys and wrong kinds go. */
export function completed(found) {
  const draft = { ...EMPTY };
  for (const [name, byDefault] of Object.entries(EMPTY)) {
    if (typeof found?.[name] === typeof byDefault && Array.isArray(found[name]) === Array.isArray(byDefault)) {
      draft[name] = found[name];
    }
  }
  if (!MODES[draft.mode]) draft.mode = EMPTY.mode;
  if (!resolutionsOf(draft).includes(draft.resolution)) draft.resolution = EMPTY.resolution;
  if (!tables.seconds.includes(draft.seconds)) draft.seconds = EMPTY.seconds;
  return SHAPES[draft.shape] ? draft : { ...draft, shape: EMPTY.shape };
}

/** The numbers that are on the screen: what a sound or a film decides is neither asked for nor sent. */
export const shownNumbers = (draft) => [...BY_HAND.filter((name) => hasLength(draft) || name !== "fps"), "price"];

/** The fields that are on the screen with a place for what is wrong with them. */
export const shownFields = (draft) => ["prompt", "negative_prompt", "seed", "engine", ...shownNumbers(draft), ...MODES[draft.mode].files];

/** Return what is wrong with a draft, by field: {} where it can be sent. */
export function complaints(draft, files) {
  const wrong = {};
  if (!draft.prompt.trim()) wrong.prompt = "Describe what the video shows.";
  for (const name of ["prompt", "negative_prompt"]) {
    const length = draft[name].trim().length;
    if (length > tables.prompt_chars) wrong[name] = `At most ${tables.prompt_chars} characters; these are ${length}.`;
  }
  for (const name of shownNumbers(draft)) {
    const text = complaint(name, draft[name]);
    if (text) wrong[name] = text;
  }
  if (draft.seed && !/^-?\d+$/.test(draft.seed.trim())) wrong.seed = "A whole number, or empty.";
  for (const name of MODES[draft.mode].files) {
    if (!files[name]) wrong[name] = FILES[name].wanted;
  }
  return wrong;
}

function complaint(name, value) {
  const text = String(value).trim();
  if (!text) return "";
  const { low, high, is_whole: isWhole } = tables.numbers[name];
  const number = Number(text);
  if (Number.isNaN(number)) return "This must be a number.";
  if (number < low || number > high) return `From ${low} to ${high}.`;
  return isWhole && !Number.isInteger(number) ? "A whole number." : "";
}

/** The size that is asked for; null where the picture decides. */
export function wantedSize(draft) {
  if (draft.width || draft.height) {
    const [width, height] = sizeOf(draft);
    return [Number(draft.width) || width, Number(draft.height) || height];
  }
  return hasPicture(draft) && draft.followsPicture ? null : sizeOf(draft);
}

/** Where a request goes: the documented POST /generate, or RunPod's route for what only that knows. */
export const isPlain = (draft) => taskOf(draft) === tables.plain_task && !draft.loras.length && !draft.shift;

/** The fields of POST /generate. */
export function plainFields(draft) {
  const [width, height] = wantedSize(draft) ?? [];
  return filled({
    prompt: draft.prompt.trim(),
    negative_prompt: draft.negative_prompt.trim(),
    seed: seedOf(draft),
    steps: number(draft.steps),
    cfg: number(draft.cfg),
    width,
    height,
    length: number(draft.length) ?? framesOf(draft),
    fps: number(draft.fps) ?? rateOf(draft),
    engine: draft.engine,
    profile: draft.profile,
  });
}

/** The input of the `generate` action, without its files. */
export function actionFields(draft) {
  const size = wantedSize(draft);
  return filled({
    action: "generate",
    task: taskOf(draft),
    prompt: draft.prompt.trim(),
    negative_prompt: draft.negative_prompt.trim(),
    seed: seedOf(draft),
    sample_steps: number(draft.steps),
    sample_guide_scale: number(draft.cfg),
    sample_shift: number(draft.shift),
    size: size && `${size[0]}*${size[1]}`,
    frame_num: hasLength(draft) || draft.length ? (number(draft.length) ?? framesOf(draft)) : undefined,
    fps: hasLength(draft) ? (number(draft.fps) ?? rateOf(draft)) : undefined,
    loras: draft.loras.length ? draft.loras.map(({ name, strength }) => ({ high: name, strength })) : undefined,
    engine: draft.engine,
    profile: draft.profile,
    return_video: false,
  });
}

/** Files that a request of this kind takes; what was chosen for another kind stays out of it. */
export function usedFiles(draft, files) {
  const used = MODES[draft.mode].files.filter((name) => files[name]);
  return Object.fromEntries(used.map((name) => [name, files[name]]));
}

/** Fill in what is known of an earlier job, of which this browser has no copy of the request. */
export function draftOf(job) {
  const { width, height, fps, frames } = job.video ?? {};
  const text = (value) => (value === undefined || value === null ? "" : String(value));
  return {
    ...EMPTY,
    prompt: job.prompt ?? "",
    seed: text(job.seed),
    isSeedLocked: job.seed !== undefined && job.seed !== null,
    width: text(width),
    height: text(height),
    fps: text(fps),
    length: text(frames),
  };
}

/** A seed beyond JavaScript's whole numbers stays text, so as to stay exact. */
function seedOf({ seed, isSeedLocked }) {
  const text = seed.trim();
  if (!isSeedLocked || !text) return undefined;
  return Number.isSafeInteger(Number(text)) ? Number(text) : text;
}

export function number(text) {
  return String(text).trim() === "" ? undefined : Number(text);
}

function filled(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null && value !== ""));
}
