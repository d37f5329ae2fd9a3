/** Deleting with an undo: the job goes from the page at once, and from the server some seconds later. */

import * as api from "../core/api.js";
import { go, route } from "../core/route.js";
import { announce, films, follower, jobs, withKey } from "../core/world.js";
import { isActive } from "../core/words.js";
import { tell } from "./toasts.js";

const UNDO_MS = 7000;

const leaving = new Map();

export function removeWithUndo(job) {
  const active = isActive(job);
  if (route.value.job === job.job_id) go(route.value.view);
  jobs.drop(job.job_id);
  if (active) return removeNow(job, "Cancelled.");
  const timer = setTimeout(() => removeNow(job), UNDO_MS);
  const away = tell("Deleted.", { undo: () => takeBack(job), ms: UNDO_MS });
  leaving.set(job.job_id, { job, timer, away });
  announce("Deleted. Press Control and Z to undo.");
}

function takeBack(job) {
  clearTimeout(leaving.get(job.job_id)?.timer);
  leaving.delete(job.job_id);
  jobs.restore(job);
  announce("The video is back.");
}

async function removeNow(job, done = "") {
  leaving.delete(job.job_id);
  try {
    await withKey(async () => {
      if (isActive(job) && job.runId) await api.cancelRun(job.runId).catch(passOver404);
      await api.remove(job.job_id).catch(passOver404);
    });
    films.drop(job.job_id);
    if (done) tell(done);
    follower.wake();
  } catch (error) {
    jobs.restore(job);
    tell(`It was not deleted. ${error.message}`, { isBad: true });
  }
}

function passOver404(error) {
  if (error.status !== 404) throw error;
}

// Whoever leaves the page has not undone what waits.
addEventListener("pagehide", () => {
  for (const { job, timer } of leaving.values()) {
    clearTimeout(timer);
    api.remove(job.job_id, { keepalive: true }).catch(() => {});
  }
  leaving.clear();
});
