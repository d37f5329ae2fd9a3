/** Values that views watch. */

import { useEffect, useReducer } from "../vendor/preact-htm.js";

/** Holds one value, and fires "change" when it is replaced by another one. */
export class Cell extends EventTarget {
  #value;

  constructor(value) {
    super();
    this.#value = value;
  }

  get value() {
    return this.#value;
  }

  set value(value) {
    if (value === this.#value) return;
    this.#value = value;
    this.dispatchEvent(new Event("change"));
  }

  /** Replace some keys of the object that is held. */
  patch(news) {
    this.value = { ...this.#value, ...news };
  }
}

/** Render the calling view again whenever *source* fires "change". */
export function useChanges(source) {
  const [, again] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    source.addEventListener("change", again);
    return () => source.removeEventListener("change", again);
  }, [source]);
}

export function useCell(cell) {
  useChanges(cell);
  return cell.value;
}
