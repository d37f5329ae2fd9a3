/** The videos that this page holds, fetched piece by piece: a range never counts as the download. */

import * as api from "./api.js";

/** How many are held; the browser keeps large ones on disk. */
const HELD = 8;

export class Films {
  #held = new Map();
  #coming = new Map();

  has(id) {
    return this.#held.has(id);
  }

  /** Return an address that plays. *onShare* gets the share that has come, 0 to 1. */
  async toPlay(id, onShare = () => {}) {
    if (!this.has(id)) await this.#fetched(id, onShare);
    return this.#touched(id).url;
  }

  /** Save a job's video as a file. The server keeps its copy, because the pieces come by ranges. */
  async save(job) {
    const link = document.createElement("a");
    link.href = await this.toPlay(job.job_id);
    link.download = `${job.job_id}.mp4`;
    link.click();
  }

  drop(id) {
    URL.revokeObjectURL(this.#held.get(id)?.url ?? "");
    this.#held.delete(id);
  }

  #fetched(id, onShare) {
    if (!this.#coming.has(id)) {
      const coming = api.videoToPlay(id, onShare).then((blob) => this.#hold(id, blob));
      this.#coming.set(id, coming);
      coming.finally(() => this.#coming.delete(id)).catch(() => {});
    }
    return this.#coming.get(id);
  }

  #hold(id, blob) {
    if (this.has(id)) return;
    this.#held.set(id, { url: URL.createObjectURL(blob) });
    if (this.#held.size > HELD) this.drop(this.#held.keys().next().value);
  }

  /** Move a video to the end of those that make room first. */
  #touched(id) {
    const film = this.#held.get(id);
    this.#held.delete(id);
    this.#held.set(id, film);
    return film;
  }
}
