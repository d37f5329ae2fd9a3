/** The videos that this page holds: fetched piece by piece to play, or whole to keep. */

import * as api from "./api.js";

/** How many are held; the browser keeps large ones on disk. */
const HELD = 6;

export class Films {
  #urls = new Map();

  has(id) {
    return this.#urls.has(id);
  }

  /** Return an address that plays. *onShare* gets the share that has come, 0 to 1. */
  async toPlay(id, onShare) {
    if (!this.has(id)) this.#hold(id, await api.videoToPlay(id, onShare));
    return this.#urls.get(id);
  }

  /** Download a job's video: from the server while it has it, so that it may let it go; else what we hold. */
  async save(job) {
    if (job.video_ready) this.#hold(job.job_id, await api.videoToKeep(job.job_id));
    const link = document.createElement("a");
    link.href = this.#urls.get(job.job_id);
    link.download = `${job.job_id}.mp4`;
    link.click();
  }

  drop(id) {
    URL.revokeObjectURL(this.#urls.get(id) ?? "");
    this.#urls.delete(id);
  }

  /** Hold a video; one held already stays, since a player may be at it. */
  #hold(id, blob) {
    if (this.has(id)) return;
    this.#urls.set(id, URL.createObjectURL(blob));
    if (this.#urls.size > HELD) this.drop(this.#urls.keys().next().value);
  }
}
