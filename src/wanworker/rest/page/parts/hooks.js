/** Preact, with the hooks that its standalone file lacks. */

import { useEffect, useRef, useState } from "../vendor/preact-htm.js";

export { html, render, useCallback, useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from "../vendor/preact-htm.js";

let count = 0;

/** An id of its own for each place where it is used. */
export function useId(word) {
  const id = useRef(null);
  id.current ??= `${String(word).toLowerCase().replace(/[^a-z0-9]+/g, "-")}-${(count += 1)}`;
  return id.current;
}

/** An address of *file*, for as long as it is shown. */
export function useAddress(file) {
  const [address, setAddress] = useState(null);
  useEffect(() => {
    if (!file) return setAddress(null);
    const made = URL.createObjectURL(file);
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [file]);
  return file ? address : null;
}
