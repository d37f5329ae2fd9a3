/** The list of the server's jobs, newest first. A row stays the same element while it lives, so that focus stays. */

import { activity, badge, duration, isActive, when } from "./words.js";

const byId = (id) => document.getElementById(id);

export class List {
  #rows = new Map();
  #list = byId("jobs");
  #onOpen;
  #onRemove;

  constructor({ onOpen, onRemove }) {
    this.#onOpen = onOpen;
    this.#onRemove = onRemove;
  }

  show(jobs, chosenId) {
    const ids = new Set(jobs.all.map((job) => job.job_id));
    for (const [id, row] of this.#rows) if (!ids.has(id)) this.#take(id, row);
    jobs.all.forEach((job, index) => {
      const row = this.#rows.get(job.job_id) ?? this.#make(job);
      if (this.#list.children[index] !== row) this.#list.insertBefore(row, this.#list.children[index] ?? null);
      fill(row, job, job.job_id === chosenId);
    });
    byId("history-empty").hidden = jobs.all.length > 0;
    byId("history-total").textContent = jobs.total > 0 ? jobs.total : "";
    byId("more").hidden = jobs.cursor === null;
  }

  /** Remove a row; if it had the focus, its neighbour gets it. */
  #take(id, row) {
    if (row.contains(document.activeElement)) {
      const next = (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("button");
      (next ?? byId("history-title")).focus();
    }
    row.remove();
    this.#rows.delete(id);
  }

  #make({ job_id: id }) {
    const row = byId("job-template").content.firstElementChild.cloneNode(true);
    row.querySelector(".job-open").addEventListener("click", () => this.#onOpen(id));
    row.querySelector(".job-remove").addEventListener("click", () => this.#onRemove(id));
    row.dataset.id = id;
    this.#rows.set(id, row);
    return row;
  }
}

function fill(row, job, isChosen) {
  const part = (name) => row.querySelector(`.${name}`);
  const name = job.prompt || job.job_id;
  row.dataset.status = badge(job).toLowerCase();
  part("job-open").textContent = name;
  if (isChosen) part("job-open").setAttribute("aria-current", "true");
  else part("job-open").removeAttribute("aria-current");
  part("badge").textContent = badge(job);
  part("job-text").textContent = line(job);
  part("job-progress").hidden = job.status !== "processing";
  part("job-progress").value = job.progress ?? 0;
  part("job-remove").textContent = isActive(job) ? "Cancel" : "Delete";
  part("job-remove").setAttribute("aria-label", `${isActive(job) ? "Cancel" : "Delete"}: ${name.slice(0, 80)}`);
}

function line(job) {
  if (job.status === "processing") return activity(job);
  if (job.status === "queued" && job.queue_position) return `number ${job.queue_position} in the queue`;
  const seconds = job.video?.duration_s;
  return [seconds && duration(Math.round(seconds * 10) / 10), when(job.created_at)].filter(Boolean).join(" · ");
}
