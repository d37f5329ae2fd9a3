/** The jobs that this page knows. */

import { isActive } from "./words.js";

/** Fires "change" whenever a job or the list changes, and "end" with a job that has just ended. */
export class Jobs extends EventTarget {
  #known = new Map();
  #dropped = new Set();
  #sorted = null;
  #isStale = false;
  cursor = null;
  total = 0;
  /** Whether the server's list has come: without it, nothing is known of what is not here. */
  isListed = false;

  get(id) {
    return this.#known.get(id);
  }

  /** Newest first. */
  get all() {
    this.#sorted ??= [...this.#known.values()].sort((one, other) => other.created_at - one.created_at);
    return this.#sorted;
  }

  /** The one being rendered, else the next, of those that the server has a record of. */
  get front() {
    const active = this.all.filter((job) => isActive(job) && !job.isUnrecorded).reverse();
    return active.find((job) => job.status === "processing") ?? active[0];
  }

  /** Take a status. One that was overtaken on its way, by the stream or by a deletion, is left out. */
  put(news) {
    const before = this.#known.get(news.job_id);
    if (this.#dropped.has(news.job_id) || (before && isOlder(news, before))) return;
    // A whole status leaves out what no longer holds; the answer to a request is only a part of one.
    const isWhole = Boolean(news.created_at) && !news.isUnrecorded;
    const base = isWhole ? { title: before?.title, runId: before?.runId } : { created_at: Date.now() / 1000, ...before };
    const job = { ...base, learntAt: before?.learntAt ?? performance.now(), ...news };
    this.#known.set(job.job_id, job);
    this.#changed();
    if (before && isActive(before) && !isActive(job)) this.dispatchEvent(new CustomEvent("end", { detail: job }));
  }

  drop(id) {
    this.#dropped.add(id);
    if (this.#known.delete(id)) this.total = Math.max(0, this.total - 1);
    this.#changed();
  }

  /** Take a job back that was dropped here but is still on the server. */
  restore(job) {
    this.#dropped.delete(job.job_id);
    this.total += 1;
    this.#known.set(job.job_id, job);
    this.#changed();
  }

  /**
   * Take the newest jobs, asked for at *askedAt*. What is newer than the oldest of them and not among them was
   * deleted elsewhere, unless we learnt of it since.
   */
  takeFirst(page, askedAt) {
    const ids = new Set(page.jobs.map((job) => job.job_id));
    const oldest = page.next_cursor ? page.jobs.at(-1).created_at : -Infinity;
    for (const { job_id: id, created_at: created, learntAt, isUnrecorded } of this.all) {
      if (!isUnrecorded && !ids.has(id) && created > oldest && learntAt < askedAt) this.#known.delete(id);
    }
    this.#sorted = null;
    this.isListed = true;
    // Further pages that were asked for have a cursor of their own.
    const hasMore = this.all.some((job) => !ids.has(job.job_id) && job.created_at <= oldest);
    this.#take(page, hasMore ? this.cursor : page.next_cursor);
  }

  takeMore(page) {
    this.#take(page, page.next_cursor);
  }

  #take({ jobs, total }, cursor) {
    this.cursor = cursor ?? null;
    this.total = total - [...this.#dropped].filter((id) => jobs.some((job) => job.job_id === id)).length;
    jobs.forEach((job) => this.put(job));
    this.#changed();
  }

  /** Tell of many changes at once, soon. */
  #changed() {
    this.#sorted = null;
    if (this.#isStale) return;
    this.#isStale = true;
    queueMicrotask(() => {
      this.#isStale = false;
      this.dispatchEvent(new Event("change"));
    });
  }
}

/** Say whether *news* of a job is from before *known*: a job ends once, and its progress never falls. */
function isOlder(news, known) {
  if (!isActive(news)) return false;
  if (!isActive(known)) return true;
  return known.status === "processing" && (news.status === "queued" || news.progress < known.progress);
}
