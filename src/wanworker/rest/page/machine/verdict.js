/** What the facts of health amount to, in a sentence. Pure. */

import { counted } from "../core/words.js";

const STAND_IN = "mini";

/** Return {level, title, text}: level is good, fair or bad. */
export function verdict({ engines, gpus, ok, mini_allowed: isMiniAllowed, kernels = [], damaged = [] }) {
  const broken = kernels.find(({ ran, engines: of }) => !ran && of.length);
  const real = Object.entries(engines).filter(([name]) => name !== STAND_IN);
  const ready = real.flatMap(([name, tasks]) => Object.entries(tasks).filter(([, words]) => words === "ready").map(([task]) => [name, task]));
  const flaws = damaged.length ? ` ${counted(damaged.length, "file of weights is", "files of weights are")} damaged.` : "";
  if (broken) return { level: "bad", title: "The graphics card does not work", text: broken.text };
  if (ready.length) {
    const tasks = [...new Set(ready.map(([, task]) => task))];
    const names = [...new Set(ready.map(([name]) => name))];
    return { level: damaged.length ? "fair" : "good", title: "This machine can render", text: `${tasks.join(", ")} by ${names.join(", ")}.${flaws}` };
  }
  const why = gpus.length ? "its weights are missing" : "there is no graphics card, or its weights are missing";
  if (ok && isMiniAllowed) {
    return { level: "fair", title: "The miniature stands in", text: `No real engine can render here: ${why}. The miniature draws simple shapes.${flaws}` };
  }
  return { level: "bad", title: "This machine cannot render", text: `No engine is ready: ${why}.${flaws}` };
}

/** Say whether an engine lacks nothing but what can be fetched. */
export const isWeightless = (words) => /weights|files?|model|missing/i.test(words) && !/GPU|install|flash/i.test(words);
