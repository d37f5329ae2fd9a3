/** What this browser remembers: the draft, and the settings and files of the jobs that were sent from it. */

const NAME = "wanworker";
const KEPT = 60;

let opening = null;

/** Return what is kept under *key* in *store* ("jobs" or "draft"); undefined where nothing is, or nothing can be. */
export async function recall(store, key) {
  return act(store, "readonly", (files) => files.get(key)).catch(() => undefined);
}

/** Keep *value*, which may hold files. A browser that keeps nothing (a private window) is no reason to fail. */
export async function remember(store, key, value) {
  await act(store, "readwrite", (files) => files.put(value, key)).catch(() => {});
  if (store === "jobs") await prune().catch(() => {});
}

export function forget(store, key) {
  return act(store, "readwrite", (files) => files.delete(key)).catch(() => {});
}

/** Text that is wanted at once when the page opens. */
export const notes = {
  get(key, otherwise) {
    try {
      return JSON.parse(localStorage.getItem(`${NAME}-${key}`)) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(`${NAME}-${key}`, JSON.stringify(value));
    } catch {
      // The browser keeps nothing, or has no room.
    }
  },
};

async function prune() {
  const keys = await act("jobs", "readonly", (files) => files.getAllKeys());
  if (keys.length <= KEPT) return;
  const values = await act("jobs", "readonly", (files) => files.getAll());
  const byAge = keys.map((key, index) => [values[index].sentAt ?? 0, key]).sort(([one], [other]) => one - other);
  for (const [, key] of byAge.slice(0, keys.length - KEPT)) await forget("jobs", key);
}

async function act(store, mode, use) {
  const database = await open();
  return promised(use(database.transaction(store, mode).objectStore(store)));
}

function open() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => ["jobs", "draft"].forEach((name) => request.result.createObjectStore(name));
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

function promised(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
