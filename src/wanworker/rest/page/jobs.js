/** The jobs that this page knows, and keeping them as the server has them. */

import * as api from "./api.js";
import { isActive } from "./words.js";

const PAGE = 12;
/** How long to wait before asking again, in ms: with a live stream, without one, with nothing to do, unanswered. */
const PACE_MS = { streaming: 8000, active: 1500, idle: 12_000, offline: 3000 };

/** Fires "change" whenever a job or the list changes, and "end" with a job that has just ended. */
export class Jobs extends EventTarget {
  #known = new Map();
  #dropped = new Set();
  #isStale = false;
  cursor = null;
  total = 0;

  get(id) {
    return this.#known.get(id);
  }

  /** Newest first. */
  get all() {
    return [...this.#known.values()].sort((one, other) => other.created_at - one.created_at);
  }

  /** The one being rendered, else the next. */
  get front() {
    const active = this.all.filter(isActive).reverse();
    return active.find((job) => job.status === "processing") ?? active[0];
  }

  /** Take a status. One that was overtaken on its way, by the stream or by a deletion, is left out. */
  put(news) {
    const before = this.#known.get(news.job_id);
    if (this.#dropped.has(news.job_id) || (before && isOlder(news, before))) return;
    // A whole status leaves out what no longer holds; the answer to a request is only a part of one.
    const base = news.created_at ? {} : { created_at: Date.now() / 1000, ...before };
    const job = { ...base, learntAt: before?.learntAt ?? performance.now(), ...news };
    this.#known.set(job.job_id, job);
    this.#changed();
    if (before && isActive(before) && !isActive(job)) this.dispatchEvent(new CustomEvent("end", { detail: job }));
  }

  drop(id) {
    this.#dropped.add(id);
    if (this.#known.delete(id)) this.total -= 1;
    this.#changed();
  }

  /**
   * Take the newest jobs, asked for at *askedAt*. What is newer than the oldest of them and not among them was
   * deleted elsewhere, unless we learnt of it since.
   */
  takeFirst(page, askedAt) {
    const ids = new Set(page.jobs.map((job) => job.job_id));
    const oldest = page.next_cursor ? page.jobs.at(-1).created_at : -Infinity;
    for (const { job_id: id, created_at: created, learntAt } of this.all) {
      if (!ids.has(id) && created > oldest && learntAt < askedAt) this.#known.delete(id);
    }
    // Further pages that were asked for have a cursor of their own.
    const hasMore = this.all.some((job) => !ids.has(job.job_id) && job.created_at <= oldest);
    this.#take(page, hasMore ? this.cursor : page.next_cursor);
  }

  takeMore(page) {
    this.#take(page, page.next_cursor);
  }

  #take({ jobs, total }, cursor) {
    this.cursor = cursor ?? null;
    this.total = total;
    jobs.forEach((job) => this.put(job));
    this.#changed();
  }

  /** Tell of many changes at once, soon. */
  #changed() {
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

/**
 * Keeps the jobs fresh: the front job by its stream of events, all others (and that one, when streams fail) by
 * asking for the list. One stream only: browsers open six connections to a server, and the page needs some.
 */
export class Follower {
  #jobs;
  #onState;
  #timer = null;
  #stream = null;
  #asking = false;

  /** *onState* gets the answer of GET / whenever it comes, or the error that came in its place. */
  constructor(jobs, onState) {
    this.#jobs = jobs;
    this.#onState = onState;
    document.addEventListener("visibilitychange", () => document.hidden || this.wake());
    for (const name of ["online", "offline"]) addEventListener(name, () => this.wake());
  }

  async more() {
    this.#jobs.takeMore(await api.jobs(PAGE, this.#jobs.cursor));
  }

  /** Ask now, then again at the pace that fits. */
  async wake() {
    if (this.#asking) return;
    this.#asking = true;
    clearTimeout(this.#timer);
    const pace = await this.#ask();
    this.#asking = false;
    if (pace) this.#timer = setTimeout(() => this.wake(), PACE_MS[pace]);
  }

  async #ask() {
    const askedAt = performance.now();
    const [state, page] = await Promise.allSettled([api.server(), api.jobs(PAGE)]);
    const error = state.reason ?? page.reason ?? null;
    this.#onState(state.value ?? null, error);
    if (error instanceof api.KeyWanted) return null;
    if (error) return "offline";
    this.#jobs.takeFirst(page.value, askedAt);
    const front = this.#jobs.front;
    if (!front) return "idle";
    this.#follow(front.job_id);
    return this.#stream.isLive ? "streaming" : "active";
  }

  async #follow(id) {
    if (this.#stream?.id === id) return;
    this.#stream?.abort.abort();
    const stream = { id, abort: new AbortController(), isLive: false };
    this.#stream = stream;
    try {
      for await (const [event, job] of api.events(id, stream.abort.signal)) {
        stream.isLive = true;
        if (event === "deleted") this.#jobs.drop(id);
        else this.#jobs.put({ ...job, job_id: id });
      }
    } catch {
      // The list is asked for in any case; it reports what is wrong with the server.
    }
    if (this.#stream !== stream) return;
    // A stream that broke is tried again only after a while; one that ended makes way for the next job's.
    const isOver = !isActive(this.#jobs.get(id) ?? {});
    stream.isLive = false;
    setTimeout(() => this.#stream === stream && (this.#stream = null), isOver ? 0 : PACE_MS.streaming);
    setTimeout(() => this.wake());
  }
}
