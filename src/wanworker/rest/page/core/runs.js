/** Jobs that went by RunPod's route: they have no record before their turn, and none where they are refused. */

import * as api from "./api.js";
import { follower, jobs } from "./world.js";
import { isActive } from "./words.js";

const PACE_MS = 700;

/** Follow a run until its end. *onRefused* gets the error of one that never became a job. */
export async function followRun(runId, jobId, onRefused = () => {}) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, PACE_MS));
    const job = jobs.get(jobId);
    if (!job) return;
    const run = await api.ran(runId).catch((error) => (error.status === 404 ? { status: "FORGOTTEN" } : null));
    if (run === null) continue; // the server does not answer at the moment
    if (run.status === "IN_PROGRESS" && run.output) take(jobId, run.output);
    else if (run.status !== "IN_QUEUE" && run.status !== "IN_PROGRESS") return ended(jobId, run, onRefused);
  }
}

function take(jobId, { progress, stage, step, steps, eta_s, detail, preview_url }) {
  if (!isActive(jobs.get(jobId) ?? {})) return;
  const isWaiting = stage === "preparing" && !progress;
  jobs.put({ job_id: jobId, status: isWaiting ? "queued" : "processing", progress, stage, step, steps, eta_s, detail, preview_url });
}

async function ended(jobId, run, onRefused) {
  const record = await api.status(jobId).catch(() => null);
  if (record) {
    jobs.put({ ...record, isUnrecorded: false });
  } else {
    const error = run.error ? api.refusedRun(run) : new Error("The job ended without a record of it.");
    jobs.put({ job_id: jobId, status: "error", error: error.message, code: error.code, isUnrecorded: true });
    onRefused(error);
  }
  follower.wake();
}
