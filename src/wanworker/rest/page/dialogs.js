/** The two questions that the page asks: for the key, and whether to delete. */

import { key } from "./api.js";
import { isActive } from "./words.js";

const byId = (id) => document.getElementById(id);

/** Ask for the key; true when there is a new one to try. An empty one forgets the key. */
export async function askForKey(isRefused) {
  const field = byId("key");
  byId("key-text").textContent = isRefused
    ? "The server refused this key. Enter its WAN_API_KEY."
    : "The server's WAN_API_KEY. It is kept in this tab until you close it.";
  field.value = key.get();
  if ((await answered(byId("key-dialog"))) !== "use") return false;
  key.set(field.value.trim());
  return true;
}

/** Ask before work is lost; a job that failed is deleted without a question. */
export async function askToRemove(job) {
  if (job.status === "error" || (job.status === "completed" && !job.video_ready)) return true;
  const active = isActive(job);
  byId("remove-title").textContent = active ? "Cancel this job?" : "Delete this video?";
  byId("remove-text").textContent = active ? "What has been rendered of it is lost." : "The server has no other copy of it.";
  byId("remove-yes").textContent = active ? "Cancel the job" : "Delete";
  return (await answered(byId("remove-dialog"))) === "remove";
}

/** Show a dialog and return the value of the button that closed it, "" for the Escape key. */
function answered(dialog) {
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }));
}
