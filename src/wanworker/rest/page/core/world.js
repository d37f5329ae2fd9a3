/** What all views share: the jobs, the server's state, and the acts that need a key or may fail. */

import * as api from "./api.js";
import { Cell } from "./cells.js";
import { Films } from "./films.js";
import { Follower } from "./follower.js";
import { Jobs } from "./jobs.js";

export const jobs = new Jobs();
export const films = new Films();

/** `state`: waiting, ready, offline or locked; `facts`: the answer of GET /; `trouble`: what is wrong, in words. */
export const server = new Cell({ state: "waiting", facts: null, trouble: "" });

/** The question that is open: {kind, ...}, or null. Its answer goes to `answer`. */
export const question = new Cell(null);

/** What was said last to those who listen. */
export const said = new Cell("");

export const follower = new Follower(jobs, heard);

let hasAskedForKey = false;

export function announce(text) {
  said.value = text;
}

let asking = null;

/** Ask *what* in a dialog, and return the answer: null where it was turned down. Who asks meanwhile shares it. */
export function asked(what) {
  asking ??= new Promise((answer) => (question.value = { ...what, answer })).finally(() => (asking = null));
  return asking;
}

/** Run *act*; where the server wants a key, ask for it and run it again. */
export async function withKey(act) {
  for (let isRefused = Boolean(api.key.get()); ; isRefused = true) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof api.KeyWanted) || !(await changeKey(isRefused))) throw error;
    }
  }
}

/** Ask for the key; true when there is a new one to try. An empty one forgets the key. */
export async function changeKey(isRefused) {
  const given = await asked({ kind: "key", isRefused });
  if (given === null) return false;
  api.key.set(given.trim());
  hasAskedForKey = false;
  follower.wake();
  return true;
}

function heard(facts, error) {
  const isKeyWanted = error instanceof api.KeyWanted;
  const state = isKeyWanted ? "locked" : error ? "offline" : "ready";
  const trouble = isKeyWanted ? `${error.message} Press “API key” above.` : error ? `${error.message} Trying again.` : "";
  server.value = { state, facts: facts ?? server.value.facts, trouble };
  if (isKeyWanted && !hasAskedForKey) {
    hasAskedForKey = true;
    changeKey(Boolean(api.key.get()));
  }
}
