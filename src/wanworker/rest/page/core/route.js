/** Which view is shown, as the address says: #create, #gallery, #workflow, #machine, or #job/ID, a link to share. */

import { Cell } from "./cells.js";

export const VIEWS = ["create", "gallery", "workflow", "machine"];

export const route = new Cell(read(location.hash));

addEventListener("hashchange", () => (route.value = read(location.hash)));

/** Read an address's hash. Anything else is the first view. Pure. */
export function read(hash) {
  const text = hash.replace(/^#\/?/, "");
  const job = /^job[/=]([A-Za-z0-9_-]{1,64})$/.exec(text)?.[1] ?? null;
  return { view: VIEWS.includes(text) ? text : "create", job };
}

export const hrefOf = (view) => `#${view}`;

export function go(hash) {
  location.hash = hash;
}

/** Return a job's address, to be opened elsewhere. */
export const linkTo = (id) => new URL(`#job/${id}`, location.href).href;
