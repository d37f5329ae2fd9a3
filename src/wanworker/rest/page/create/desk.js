/** The desk: what is filled in, kept over a reload; sending it; and the job on the stage. */

import * as api from "../core/api.js";
import { Cell } from "../core/cells.js";
import { forget, notes, recall, remember } from "../core/memory.js";
import { go, route } from "../core/route.js";
import { announce, follower, jobs, withKey } from "../core/world.js";
import { beginRun } from "../core/runs.js";
import { isActive } from "../core/words.js";
import { FILES } from "./presets.js";
import { EMPTY, actionFields, complaints, completed, draftOf, isPlain, plainFields, shownFields, usedFiles } from "./request.js";

export const draft = new Cell(completed(notes.get("draft", EMPTY)));

/** The files that were chosen, by field. Those that the mode does not take stay here, and out of the request. */
export const files = new Cell({});

/** `fields`: what is wrong, by field; `text`: with the whole; `waitS`: how long the server wants not to be asked. */
export const trouble = new Cell({ fields: {}, text: "", waitS: 0 });

export const isSending = new Cell(false);

draft.addEventListener("change", () => notes.set("draft", draft.value));
files.addEventListener("change", () => remember("draft", "files", files.value));
recall("draft", "files").then((kept) => kept && !Object.keys(files.value).length && (files.value = kept));

/** Change fields of the draft; what was said about them no longer holds. */
export function fill(news) {
  draft.patch(news);
  clearTrouble(Object.keys(news));
}

export function choose(name, file) {
  const { [name]: _, ...others } = files.value;
  files.value = file ? { ...others, [name]: file } : others;
  clearTrouble([name]);
}

export function clear() {
  draft.value = { ...EMPTY, mode: draft.value.mode, model: draft.value.model, price: draft.value.price };
  files.value = {};
  forget("draft", "files");
  trouble.value = { fields: {}, text: "", waitS: 0 };
}

/** Keep what is filled in. Returns how to have it again. */
export function keptAside() {
  const [before, chosen] = [draft.value, files.value];
  return () => {
    draft.value = before;
    files.value = chosen;
    trouble.value = { fields: {}, text: "", waitS: 0 };
  };
}

/** Take a job's settings, with its files where it was sent from this browser. */
export async function reuse(job) {
  const kept = await recall("jobs", job.job_id);
  const again = kept ? { ...completed(kept.draft), seed: String(job.seed ?? kept.draft.seed), isSeedLocked: true } : draftOf(job);
  draft.value = { ...again, price: draft.value.price };
  files.value = kept?.files ?? {};
  trouble.value = { fields: {}, text: "", waitS: 0 };
  announce("The settings are filled in.");
}

/** Send a job once more, as it was, with a seed of its own. */
export async function vary(job) {
  const kept = await recall("jobs", job.job_id);
  const again = kept ? completed(kept.draft) : draftOf(job);
  return send({ ...again, seed: "", isSeedLocked: false }, kept?.files ?? {});
}

/** Send what is filled in. Returns the job's id, or null where it cannot be sent; `trouble` says why. */
export async function send(wanted = draft.value, chosen = files.value) {
  if (isSending.value || trouble.value.waitS) return null;
  const used = usedFiles(wanted, chosen);
  const isOnScreen = wanted === draft.value;
  const wrong = complaints(wanted, used);
  trouble.value = troubleOf(wrong, isOnScreen);
  if (Object.keys(wrong).length) return null;
  isSending.value = true;
  try {
    const job = await withKey(() => (isPlain(wanted) ? sendPlain(wanted, used) : sendAction(wanted, used, isOnScreen)));
    remember("jobs", job.job_id, { draft: wanted, files: used, sentAt: Date.now() });
    accepted(job);
    return job.job_id;
  } catch (error) {
    show(error, isOnScreen);
    return null;
  } finally {
    isSending.value = false;
  }
}

function accepted(job) {
  jobs.total += 1;
  jobs.put({ progress: 0, ...job });
  follower.wake();
  announce("The job was accepted.");
  go(`#job/${job.job_id}`);
  // On a small screen the stage lies above what was filled in.
  requestAnimationFrame(() => document.getElementById("screen")?.scrollIntoView({ block: "nearest" }));
}

async function sendPlain(wanted, used) {
  const answer = await api.generate(plainFields(wanted), used.image);
  return { ...answer, prompt: wanted.prompt.trim() };
}

async function sendAction(wanted, used, isOnScreen) {
  const id = newId();
  const input = { ...actionFields(wanted), request_id: id };
  for (const [name, file] of Object.entries(used)) input[`${FILES[name].field}_base64`] = await asBase64(file);
  const { id: runId } = await api.run(input);
  const [width, height] = (input.size ?? "").split("*").map(Number);
  const job = { job_id: id, runId, prompt: input.prompt, width, height };
  beginRun(job, (error) => show(error, isOnScreen));
  return jobs.get(id);
}

/** 32 hexadecimal digits. (randomUUID is not there on plain http.) */
export function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function asBase64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error(`${file.name} can no longer be read. Choose it again.`));
    reader.readAsDataURL(file);
  });
}

/** The names that the two routes have for a field of the draft. */
const FIELDS = {
  image_url: "image",
  reference_image_url: "image",
  reference_image_base64: "image",
  last_image_base64: "last_image",
  audio_base64: "audio",
  audio_url: "audio",
  driving_video_base64: "driving_video",
  sample_steps: "steps",
  sample_guide_scale: "cfg",
  sample_shift: "shift",
  frame_num: "length",
  size: "width",
};

/** What is wrong, each beside its field if that is on the screen with the request, and all else with the whole. */
function troubleOf(wrong, isOnScreen) {
  const shown = isOnScreen ? shownFields(draft.value) : [];
  const isBeside = ([name]) => shown.includes(name);
  const entries = Object.entries(wrong);
  const others = entries.filter((entry) => !isBeside(entry)).map(([, text]) => text);
  return { fields: Object.fromEntries(entries.filter(isBeside)), text: others.join(" "), waitS: 0 };
}

function show(error, isOnScreen) {
  // The button counts down what the hint of such an error has in the words of HTTP.
  const told = error.retryAfterS ? error.text : error.message;
  const said = troubleOf({ [FIELDS[error.field] ?? error.field ?? ""]: told }, isOnScreen);
  // Beside a field there is no room for the hint, so that the message of such an error is without it.
  const text = error.field ? `${said.text} ${error.hint}`.trim() : said.text;
  trouble.value = said.text ? { ...said, text, waitS: error.retryAfterS ?? 0 } : said;
  if (trouble.value.waitS) setTimeout(countDown, 1000);
}

/** Count down to when the server wants to be asked again. */
function countDown() {
  const waitS = trouble.value.waitS - 1;
  trouble.value = waitS > 0 ? { ...trouble.value, waitS } : { fields: {}, text: "", waitS: 0 };
  if (waitS > 0) setTimeout(countDown, 1000);
}

function clearTrouble(names) {
  const { fields, text, waitS } = trouble.value;
  const left = Object.fromEntries(Object.entries(fields).filter(([name]) => !names.includes(name)));
  if (Object.keys(left).length !== Object.keys(fields).length || (text && !waitS)) {
    trouble.value = { fields: left, text: waitS ? text : "", waitS };
  }
}

/** The job on the stage: the one that the address names, else the one at the front, else the newest. */
export function onStage() {
  const named = route.value.job;
  if (named) return jobs.get(named) ?? null;
  return jobs.front ?? jobs.all.find((job) => !isActive(job)) ?? null;
}
