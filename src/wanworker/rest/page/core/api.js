/** The server's API: one function a request, the key, and errors whose text can be shown as it is. */

/** The page lies one folder below the API, wherever a proxy puts both; this module lies one folder below the page. */
const ROOT = new URL("../../", import.meta.url);
const KEY_NAME = "wanworker-api-key";
/** A piece of a video: small enough to show how loading goes, large enough to need few of them. */
const PIECE_BYTES = 2 ** 22;
/** The server sends a comment at least every 15 s; three missed ones mean that the connection is dead. */
const SILENCE_MS = 45_000;

/** No answer came: the server is down, or the network is. */
export class Offline extends Error {
  constructor() {
    super("The server does not answer.");
  }
}

/** The server wants a key, or another one. */
export class KeyWanted extends Error {
  constructor() {
    super("This server needs its API key.");
  }
}

/** The server said no, and why; `field` names the one that is wrong, where it is one. */
export class Refused extends Error {
  constructor(text, { status, hint = "", field = null, retryAfterS = null, code = "" }) {
    super(field ? text : `${text} ${hint}`.trim());
    this.text = text;
    this.status = status;
    this.code = code;
    this.hint = hint;
    this.field = field;
    this.retryAfterS = retryAfterS;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY_NAME) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY_NAME, value) : sessionStorage.removeItem(KEY_NAME)),
};

export const server = () => json("");
export const status = (id) => json(`status/${id}`);
/** *keepalive* lets the request outlive the page. */
export const remove = (id, { keepalive = false } = {}) => json(`jobs/${id}`, { method: "DELETE", keepalive });

export function jobs(limit, cursor = null) {
  const query = new URLSearchParams(cursor === null ? { limit } : { limit, cursor });
  return json(`jobs?${query}`, { cache: "default" });
}

const asJson = (value, options) => ({
  method: "POST",
  body: JSON.stringify(value),
  headers: { "Content-Type": "application/json" },
  ...options,
});

/** Ask for a video. With a picture the request goes as a form, so that the picture goes as it is. */
export function generate(fields, picture) {
  if (!picture) return json("generate", asJson(fields));
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  form.append("image", picture, picture.name);
  return json("generate", { method: "POST", body: form });
}

/** Ask what a request would use, without sending it. *isPlain*: one of POST /generate. */
export const plan = (fields, { isPlain = false, signal }) => json(isPlain ? "plan?for=generate" : "plan", asJson(fields, { signal }));

/** Start a job by RunPod's own route, which knows every action; its answer is found by `ran`. */
export const run = (input) => json("v2/page/run", asJson({ input }));
export const cancelRun = (id) => json(`v2/page/cancel/${id}`, { method: "POST" });
export const ran = (id) => json(`v2/page/status/${id}`);

/** Ask an action that answers soon, and return what it says. */
export async function ask(input) {
  const answer = await json("v2/page/runsync", asJson({ input }));
  if (answer.error) throw refusedRun(answer);
  return answer.output ?? {};
}

/** The failure of a job that came by RunPod's route, as an error. */
export function refusedRun({ error, output }) {
  return new Refused(error, { status: 422, hint: output?.hint ?? "", code: output?.code });
}

/** Fetch a preview, whose address is a path on the server. */
export async function picture(path, { signal, cache } = {}) {
  const response = await send(path.replace(/^\/+/, ""), { signal, cache });
  return response.blob();
}

/** Fetch the small picture of a job's video. It is kept by the browser, for this attempt of the job. */
export const thumbnail = (job, signal) =>
  picture(`thumbnail/${job.job_id}?of=${job.completed_at ?? 0}`, { signal, cache: "default" });

/**
 * Fetch a video to play it, in pieces: a server that lets a video be downloaded once counts a complete answer
 * only, never a Range. A <video> cannot send the key itself; a service worker could, but browsers allow one on
 * https and localhost alone, and this page is also used over plain http on a local network.
 */
export async function videoToPlay(id, onShare) {
  const pieces = [];
  let total = Infinity;
  for (let have = 0; have < total; ) {
    const response = await send(`download/${id}`, { headers: { Range: `bytes=${have}-${have + PIECE_BYTES - 1}` } });
    const piece = await body(response);
    total = response.status === 206 ? Number(response.headers.get("Content-Range").split("/")[1]) : piece.size;
    if (!piece.size) throw new Offline();
    have += piece.size;
    pieces.push(piece);
    onShare(have / total);
  }
  return new Blob(pieces, { type: "video/mp4" });
}

/** Yield [event, status] pairs of a job until its stream ends. */
export async function* events(id, signal) {
  const silence = new AbortController();
  const watch = () => setTimeout(() => silence.abort(new Offline()), SILENCE_MS);
  let timer = watch();
  try {
    const both = AbortSignal.any([signal, silence.signal]);
    const response = await send(`events/${id}`, { signal: both, headers: { Accept: "text/event-stream" } });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new EventParser();
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      clearTimeout(timer);
      timer = watch();
      yield* parser.feed(chunk.value);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** Cut server-sent events out of a text that comes in pieces. */
export class EventParser {
  #rest = "";

  *feed(text) {
    const blocks = (this.#rest + text).replace(/\r\n/g, "\n").split("\n\n");
    this.#rest = blocks.pop();
    for (const block of blocks) {
      const value = (name) => block.match(new RegExp(`^${name}: ?(.*)$`, "m"))?.[1];
      const data = value("data");
      if (data) yield [value("event") ?? "message", JSON.parse(data)];
    }
  }
}

async function json(path, options) {
  const response = await send(path, options);
  try {
    return await response.json();
  } catch {
    throw new Offline();
  }
}

async function body(response) {
  try {
    return await response.blob();
  } catch {
    throw new Offline();
  }
}

async function send(path, { method = "GET", headers = {}, body, signal, keepalive, cache = "no-store" } = {}) {
  const authorization = key.get() ? { Authorization: `Bearer ${key.get()}` } : {};
  let response;
  try {
    const options = { method, body, signal, keepalive, cache, headers: { ...headers, ...authorization } };
    response = await fetch(new URL(path, ROOT), options);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Offline();
  }
  if (response.status === 401) throw new KeyWanted();
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const answer = await response.json().catch(() => ({}));
  const text = answer.error ?? `The server answered ${response.status}.`;
  const seconds = Number.parseInt(response.headers.get("Retry-After"), 10);
  const retryAfterS = Number.isNaN(seconds) ? null : seconds;
  return new Refused(text, { status: response.status, hint: answer.hint, code: answer.code, field: answer.field, retryAfterS });
}
