/** The page: wires the form, the viewer and the list to the server. */

import * as api from "./api.js";
import { askForKey, askToRemove } from "./dialogs.js";
import { Films } from "./films.js";
import { Form } from "./form.js";
import { Follower, Jobs } from "./jobs.js";
import { List } from "./list.js";
import { Viewer } from "./viewer.js";
import { isActive, percent } from "./words.js";

const byId = (id) => document.getElementById(id);

const jobs = new Jobs();
const films = new Films();
const viewer = new Viewer(films);
const list = new List({ onOpen: open, onRemove: remove });
const form = new Form({ onSent: sent, withKey });
const follower = new Follower(jobs, showServer);

let chosenId = null;
let engine = null;
let isDescribed = false;
let hasAskedForKey = false;
let isSaving = false;
let lastStage = "";
const troubles = { action: "", server: "" };

jobs.addEventListener("change", render);
jobs.addEventListener("end", ({ detail: job }) => {
  if (job.job_id === chosenId) announce(job.status === "error" ? "The job failed." : "The video is ready.");
});

byId("key-button").addEventListener("click", () => changeKey(false));
byId("more").addEventListener("click", () => guarded(() => follower.more()));
byId("remove").addEventListener("click", () => remove(chosenId));
byId("again").addEventListener("click", () => form.repeat(jobs.get(chosenId)));
byId("save").addEventListener("click", save);

follower.wake();

function render() {
  if (!jobs.get(chosenId)) chosenId = jobs.front?.job_id ?? jobs.all[0]?.job_id ?? null;
  const chosen = jobs.get(chosenId);
  viewer.show(chosen);
  list.show(jobs, chosenId);
  const running = jobs.all.find((job) => job.status === "processing");
  document.title = running ? `${percent(running)} · wanworker` : "wanworker";
  // Screen readers hear of each stage once, not of each step.
  if (chosen?.status === "processing" && chosen.stage !== lastStage) announce(byId("run-text").textContent);
  lastStage = chosen?.stage ?? "";
}

function open(id) {
  chosenId = id;
  render();
  byId("about-prompt").focus({ preventScroll: true });
  byId("screen").scrollIntoView({ block: "nearest" });
}

function sent(job) {
  chosenId = job.job_id;
  jobs.total += 1;
  jobs.put({ progress: 0, ...job });
  follower.wake();
  announce("The job was accepted.");
  byId("screen").scrollIntoView({ block: "nearest" });
}

async function save() {
  if (isSaving) return;
  isSaving = true;
  const job = jobs.get(chosenId);
  viewer.note("Downloading.");
  await guarded(async () => {
    await withKey(() => films.save(job));
    const news = await api.status(job.job_id);
    jobs.put({ ...news, job_id: job.job_id });
    viewer.note(news.video_ready ? "Saved." : "Saved. The server lets a video go once it has been downloaded; this page holds it until you leave.");
  }, (text) => viewer.note(text));
  isSaving = false;
}

async function remove(id) {
  const job = jobs.get(id);
  if (!(await askToRemove(job))) return;
  await guarded(async () => {
    await withKey(() => api.remove(id)).catch((error) => {
      if (error.status !== 404) throw error;
    });
    films.drop(id);
    jobs.drop(id);
    announce(isActive(job) ? "Cancelled." : "Deleted.");
    follower.wake();
  });
}

/** Run *act*; where the server wants a key, ask for it and run it again. */
async function withKey(act) {
  for (let isRefused = Boolean(api.key.get()); ; isRefused = true) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof api.KeyWanted) || !(await askForKey(isRefused))) throw error;
      follower.wake();
    }
  }
}

/** Run *act* and show what goes wrong, in the banner where no better place is given. */
async function guarded(act, show = (text) => banner({ action: text })) {
  banner({ action: "" });
  try {
    await act();
  } catch (error) {
    show(error.message);
  }
}

async function changeKey(isRefused) {
  if (!(await askForKey(isRefused))) return;
  hasAskedForKey = false;
  isDescribed = false;
  follower.wake();
}

/** Show how the server is: *state* is the answer of GET /, *error* what went wrong in asking. */
function showServer(state, error) {
  const isKeyWanted = error instanceof api.KeyWanted;
  byId("server").dataset.state = isKeyWanted ? "locked" : error ? "offline" : "ready";
  setText(byId("server-text"), isKeyWanted ? "Locked" : error ? "Offline" : serverLine(state));
  banner({ server: isKeyWanted ? `${error.message} Press “API key” above.` : error ? `${error.message} Trying again.` : "" });
  if (state && state.engine !== engine) form.suggest((engine = state.engine));
  if (isKeyWanted && !hasAskedForKey) {
    hasAskedForKey = true;
    changeKey(Boolean(api.key.get()));
  }
  if (!error && !isDescribed) describe();
}

async function describe() {
  isDescribed = true;
  try {
    form.describe(await api.schema());
  } catch {
    isDescribed = false;
  }
}

function serverLine({ status, engine: name, queue }) {
  if (!name) return status === "starting" ? "Starting" : "No engine can render here";
  const waiting = queue?.length ? `${queue.length} waiting` : null;
  return [name, queue?.running ? "rendering" : "ready", waiting].filter(Boolean).join(" · ");
}

/** Say in the banner what is wrong with the server or the last action; the action comes first. */
function banner(news) {
  Object.assign(troubles, news);
  const text = troubles.action || troubles.server;
  setText(byId("banner"), text);
  byId("banner").hidden = !text;
}

function announce(text) {
  byId("announcer").textContent = text;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
