/** How values read. Pure. */

const STAGES = {
  preparing: "Preparing",
  starting: "Starting the engine",
  loading: "Loading the model",
  text: "Reading the prompt",
  sampling: "Denoising",
  decoding: "Decoding",
  encoding: "Writing the video",
};

const STATUSES = { queued: "Waiting", processing: "Rendering", completed: "Ready", error: "Failed" };

export const isActive = (job) => job.status === "queued" || job.status === "processing";

export const badge = (job) => (job.status === "completed" && !job.video_ready ? "Gone" : (STATUSES[job.status] ?? job.status));

export const percent = (job) => `${Math.floor(job.progress ?? 0)}%`;

/** Say where an active job is: "Denoising, step 3 of 8 · 42% · about 20 s left". */
export function activity(job) {
  if (job.status === "queued") return job.queue_position ? `Waiting, number ${job.queue_position} in the queue` : "Waiting";
  const stage = STAGES[job.stage] ?? sentence(job.stage || "rendering");
  const step = job.step && job.steps ? `${stage}, step ${job.step} of ${job.steps}` : stage;
  const left = job.eta_s > 0 ? `about ${duration(Math.max(1, Math.round(job.eta_s)))} left` : null;
  return [step, percent(job), left].filter(Boolean).join(" · ");
}

export function duration(seconds) {
  if (seconds < 60) return `${Number.isInteger(seconds) ? seconds : seconds.toFixed(1)}\u00a0s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes}\u00a0min` : `${(seconds / 3600).toFixed(1)}\u00a0h`;
}

export function bytes(count) {
  return count < 1e6 ? `${Math.max(1, Math.round(count / 1e3))}\u00a0kB` : `${(count / 1e6).toFixed(1)}\u00a0MB`;
}

/** Say when: the time today, else the date as well; in the reader's own way of writing both. */
export function when(seconds) {
  const date = new Date(seconds * 1000);
  const isToday = date.toDateString() === new Date().toDateString();
  const time = { hour: "2-digit", minute: "2-digit" };
  return date.toLocaleString(undefined, isToday ? time : { day: "numeric", month: "short", ...time });
}

/** The job's facts as [name, text] pairs, those that are known. */
export function facts(job) {
  const video = job.video ?? {};
  return [
    ["Size", video.width && `${video.width} × ${video.height}`],
    ["Length", video.duration_s && `${duration(Math.round(video.duration_s * 10) / 10)}, ${video.frames} frames`],
    ["Frame rate", video.fps && `${video.fps} fps`],
    ["File", video.size_bytes && bytes(video.size_bytes)],
    ["Seed", job.seed],
    ["Engine", job.engine && (job.model ? `${job.engine}, ${job.model}` : job.engine)],
  ].filter(([, text]) => text !== undefined && text !== null && text !== "");
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
