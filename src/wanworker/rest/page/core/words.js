/** How values read. Pure. */

const STAGES = {
  preparing: "Preparing",
  starting: "Starting the engine",
  loading: "Loading the model",
  text: "Reading the prompt",
  sampling: "Denoising",
  decoding: "Decoding",
  encoding: "Encoding",
};

/** A job's state, of the server's four words and what they leave open: a cancelled job has not failed. */
export function stateOf(job) {
  if (job.status === "completed") return job.video_ready ? "ready" : "gone";
  if (job.status === "error") return job.code === "CANCELLED" ? "cancelled" : "failed";
  return job.status === "processing" ? "rendering" : "waiting";
}

export const STATES = {
  waiting: "Waiting",
  rendering: "Rendering",
  ready: "Ready",
  gone: "Gone",
  failed: "Failed",
  cancelled: "Cancelled",
};

export const isActive = (job) => job.status === "queued" || job.status === "processing";

export const badge = (job) => STATES[stateOf(job)];

export const nameOf = (job) => job.prompt || job.title || "A ComfyUI workflow";

export const percent = (job) => `${Math.floor(job.progress ?? 0)}%`;

/** Say where an active job is: "Denoising, step 3 of 8 · 42% · about 20 s left". *hasShare*: with the 42%. */
export function activity(job, { hasShare = true } = {}) {
  if (job.status === "queued") return job.queue_position ? `Waiting, number ${job.queue_position} in the queue` : "Waiting";
  // Some engines call by this name what they do before they sample.
  const isWriting = job.stage === "encoding" && job.progress >= 50;
  const stage = isWriting ? "Writing the video" : (STAGES[job.stage] ?? sentence(job.stage || "rendering"));
  const unit = isWriting ? "frame" : "step";
  const step = job.step && job.steps ? `${stage}, ${unit} ${job.step} of ${job.steps}` : stage;
  return [step, job.detail, hasShare && percent(job), timeLeft(job)].filter(Boolean).join(" · ");
}

export const timeLeft = (job) => (job.eta_s > 0 ? `about ${duration(Math.max(1, Math.round(job.eta_s)))} left` : "");

export function duration(seconds) {
  if (seconds < 60) return `${Number.isInteger(seconds) ? seconds : seconds.toFixed(1)}\u00a0s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes}\u00a0min` : `${(seconds / 3600).toFixed(1)}\u00a0h`;
}

export function bytes(count) {
  if (count < 1e6) return `${Math.max(1, Math.round(count / 1e3))}\u00a0kB`;
  return count < 1e9 ? `${(count / 1e6).toFixed(1)}\u00a0MB` : `${(count / 1e9).toFixed(count < 1e11 ? 1 : 0)}\u00a0GB`;
}

/** Say when: the time today, else the date as well; in the reader's own way of writing both. */
export function when(seconds) {
  const date = new Date(seconds * 1000);
  const isToday = date.toDateString() === new Date().toDateString();
  const time = { hour: "2-digit", minute: "2-digit" };
  return date.toLocaleString(undefined, isToday ? time : { day: "numeric", month: "short", ...time });
}

/** Say a length in seconds, with at most one digit after the point. */
export const clip = (seconds) => duration(Math.round(seconds * 10) / 10);

/** Name the engine and the model, in one where the model's name has the engine's. */
export const rendererOf = ({ engine, model }) =>
  [model?.startsWith(engine) ? null : engine, model].filter(Boolean).join(", ");

/** The job's facts as [name, text] pairs, those that are known. */
export function facts(job) {
  const video = job.video ?? {};
  return [
    ["Size", video.width && `${video.width} × ${video.height}`],
    ["Length", video.duration_s && `${clip(video.duration_s)}, ${video.frames} frames`],
    ["Rate", video.fps && `${video.fps} fps`],
    ["File", video.size_bytes && bytes(video.size_bytes)],
    ["Seed", job.seed],
    ["Engine", rendererOf(job)],
    ["Took", job.timings?.total_s && clip(job.timings.total_s)],
  ].filter(([, text]) => text !== undefined && text !== null && text !== "");
}

export function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** "1 job", "2 jobs". */
export const counted = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;
