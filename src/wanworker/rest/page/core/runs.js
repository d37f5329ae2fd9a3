/** Jobs that went by RunPod's route: they have no record before their turn, and none where they are refused. */

import * as api from "./api.js";
import { notes } from "./memory.js";
import { follower, jobs, server } from "./world.js";
import { isActive } from "./words.js";

const PACE_MS = 700;

/** The runs that are not over, as this browser remembers them: only it knows of those that wait for their turn. */
const remembered = () => notes.get("runs", []);
const forget = (jobId) => notes.set("runs", remembered().filter((run) => run.jobId !== jobId));

/** Follow a run that was just accepted until its end. *onRefused* gets the error of one that never became a job. */
export function beginRun({ job_id: jobId, runId, ...shown }, onRefused) {
  const sentAt = Date.now() / 1000;
  forget(jobId);
  notes.set("runs", [...remembered(), { jobId, runId, shown, sentAt }]);
  jobs.put({ ...shown, job_id: jobId, runId, status: "queued", progress: 0, isUnrecorded: true });
  follow(runId, jobId, onRefused);
}

/** Follow what was sent before the page was loaded again. */
export function resumeRuns() {
  for (const { jobId, runId, shown, sentAt } of remembered()) {
    jobs.put({ ...shown, job_id: jobId, runId, status: "queued", progress: 0, isUnrecorded: true, created_at: sentAt });
    follow(runId, jobId, ({ isForgotten }) => isForgotten && jobs.drop(jobId));
  }
}

async function follow(runId, jobId, onRefused) {
  await untilOver(runId, jobId, onRefused);
  forget(jobId);
}

async function untilOver(runId, jobId, onRefused) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, PACE_MS));
    if (!jobs.get(jobId)) return;
    if (server.value.state !== "ready") continue;
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
    error.isForgotten = run.status === "FORGOTTEN";
    jobs.put({ job_id: jobId, status: "error", error: error.message, code: error.code, isUnrecorded: true });
    onRefused(error);
  }
  follower.wake();
}
