/**
 * Keeps the jobs fresh: the front job by its stream of events, all others (and that one, when streams fail) by
 * asking for the list. One stream only: browsers open six connections to a server, and the page needs some.
 */

import * as api from "./api.js";
import { isActive } from "./words.js";

/** How many jobs are asked for at once, to stay fresh and to go on in the list. */
const FIRST = 24;
/** How long to wait before asking again, in ms: with a live stream, without one, with nothing to do, unanswered. */
const PACE_MS = { streaming: 8000, active: 1500, idle: 12_000, offline: 3000 };

export class Follower {
  #jobs;
  #onState;
  #timer = null;
  #stream = null;
  #asking = false;
  #isAskedAgain = false;
  #more = null;

  /** *onState* gets the answer of GET / whenever it comes, or the error that came in its place. */
  constructor(jobs, onState) {
    this.#jobs = jobs;
    this.#onState = onState;
    document.addEventListener("visibilitychange", () => document.hidden || this.wake());
    for (const name of ["online", "offline"]) addEventListener(name, () => this.wake());
  }

  /** Fetch the next *count* jobs of the list, once at a time. */
  async more(count = 60) {
    if (this.#jobs.cursor === null) return;
    this.#more ??= api.jobs(count, this.#jobs.cursor).then((page) => this.#jobs.takeMore(page));
    try {
      await this.#more;
    } finally {
      this.#more = null;
    }
  }

  /** Ask now, then again at the pace that fits. */
  async wake() {
    this.#isAskedAgain = this.#asking;
    if (this.#asking) return;
    this.#asking = true;
    clearTimeout(this.#timer);
    const pace = await this.#ask();
    this.#asking = false;
    if (this.#isAskedAgain) this.wake();
    else if (pace) this.#timer = setTimeout(() => this.wake(), PACE_MS[pace]);
  }

  async #ask() {
    const askedAt = performance.now();
    const [state, page] = await Promise.allSettled([api.server(), api.jobs(FIRST)]);
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
