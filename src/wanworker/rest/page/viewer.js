/** The chosen job: its preview while it is rendered, then its player, facts and actions. */

import * as api from "./api.js";
import { activity, facts, isActive } from "./words.js";

const byId = (id) => document.getElementById(id);

export class Viewer {
  #films;
  #job = null;
  #player = byId("player");
  #preview = byId("preview");
  #loading = null;
  #previewAsked = 0;
  #isFetchingPreview = false;

  constructor(films) {
    this.#films = films;
  }

  get id() {
    return this.#job?.job_id ?? null;
  }

  /** Show *job*, or nothing chosen. */
  show(job) {
    if (job?.job_id !== this.id) this.#clear();
    this.#job = job ?? null;
    byId("about").hidden = !job;
    byId("run").hidden = !job || !isActive(job);
    if (!job) return this.#say("Your video appears here.");
    this.#shape(job);
    this.#tell(job);
    if (isActive(job)) this.#showPreview(job);
    else this.#end(job);
  }

  note(text) {
    byId("about-note").textContent = text;
  }

  #clear() {
    this.#player.pause();
    this.#player.removeAttribute("src");
    this.#player.load();
    this.#player.hidden = true;
    this.#hidePreview();
    this.#loading = null;
    this.note("");
  }

  #shape({ video, width, height }) {
    const [wide, high] = [video?.width ?? width, video?.height ?? height];
    if (wide && high) byId("screen").style.setProperty("--aspect", `${wide} / ${high}`);
    else byId("screen").style.removeProperty("--aspect");
  }

  #tell(job) {
    byId("about-prompt").textContent = job.prompt ?? "";
    byId("run-progress").value = job.progress ?? 0;
    setText(byId("run-text"), activity(job));
    byId("save").hidden = !(job.status === "completed" && (job.video_ready || this.#films.has(job.job_id)));
    byId("remove").textContent = isActive(job) ? "Cancel" : "Delete";
    setChildren(byId("facts"), facts(job).map(fact));
    const warnings = job.warnings ?? [];
    byId("warnings").hidden = !warnings.length;
    byId("warnings-title").textContent = warnings.length === 1 ? "1 remark" : `${warnings.length} remarks`;
    setChildren(byId("warnings-list"), warnings.map((text) => element("li", text)));
  }

  #end(job) {
    if (job.status === "error") {
      this.#hidePreview();
      return this.#say(["No video was made.", job.error, job.hint].filter(Boolean).join(" "));
    }
    if (!this.#player.hidden || this.#loading === job.job_id) return;
    if (job.video_ready || this.#films.has(job.job_id)) return this.#play(job.job_id);
    this.#hidePreview();
    this.#say("The server no longer has this video: it was downloaded, or its time was up.");
  }

  async #play(id) {
    this.#loading = id;
    try {
      const url = await this.#films.toPlay(id, (share) => id === this.id && this.#say(`Loading, ${Math.floor(share * 100)}%`));
      if (id !== this.id) return;
      this.#hidePreview();
      this.#player.src = url;
      this.#player.hidden = false;
      this.#say("");
    } catch (error) {
      if (id !== this.id) return;
      this.#loading = null;
      this.#say(`The video could not be loaded. ${error.message}`);
    }
  }

  /** Fetch the preview as often as news comes, one at a time and at most one a second; a picture that fails is left out. */
  async #showPreview({ job_id: id, preview_url: path, status }) {
    if (this.#preview.hidden) this.#say(status === "queued" ? "Waiting for its turn." : "Rendering.");
    if (!path || this.#isFetchingPreview || performance.now() - this.#previewAsked < 1000) return;
    this.#previewAsked = performance.now();
    this.#isFetchingPreview = true;
    try {
      const url = URL.createObjectURL(await api.picture(path));
      if (id !== this.id || !isActive(this.#job)) return URL.revokeObjectURL(url);
      URL.revokeObjectURL(this.#preview.src);
      this.#preview.src = url;
      this.#preview.hidden = false;
      this.#say("");
    } catch {
      // There is none yet, or none any more.
    } finally {
      this.#isFetchingPreview = false;
    }
  }

  #hidePreview() {
    URL.revokeObjectURL(this.#preview.src);
    this.#preview.removeAttribute("src");
    this.#preview.hidden = true;
  }

  #say(text) {
    setText(byId("screen-text"), text);
  }
}

function fact([name, text]) {
  const pair = document.createElement("div");
  pair.append(element("dt", name), element("dd", text));
  return pair;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

/** Leave children alone that say the same already: a reader may have marked some of them. */
function setChildren(node, children) {
  if (children.map((child) => child.textContent).join("") !== node.textContent) node.replaceChildren(...children);
}

/** Leave a text alone that says the same already: a screen reader would say it again. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
