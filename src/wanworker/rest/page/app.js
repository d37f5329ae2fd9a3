/** The page: its head, the view that the address names, and what lies above all views. */

import { Cell, useCell } from "./core/cells.js";
import { resumeRuns } from "./core/runs.js";
import { VIEWS, hrefOf, route } from "./core/route.js";
import { announce, changeKey, follower, jobs, said, server } from "./core/world.js";
import { activity, percent } from "./core/words.js";
import { Create } from "./create/create.js";
import { onStage } from "./create/desk.js";
import { html, render, useEffect, useLayoutEffect } from "./parts/hooks.js";
import { Icon } from "./parts/icons.js";
import { Questions } from "./parts/dialogs.js";
import { Toasts } from "./parts/toasts.js";

const TABS = {
  create: { text: "Create", icon: "spark" },
  gallery: { text: "Gallery", icon: "film", style: "gallery.css", load: () => import("./gallery/gallery.js") },
  workflow: { text: "Workflow", icon: "graph", style: "pages.css", load: () => import("./workflow/workflow.js") },
  machine: { text: "Machine", icon: "chip", style: "pages.css", load: () => import("./machine/machine.js") },
};

/** The views that are here. The others come when they are first visited, or when a hand is on their tab. */
const views = new Cell({ create: Create });

async function bring(name) {
  if (views.value[name] && views.value[name] !== Missing) return;
  try {
    const [{ View }] = await Promise.all([TABS[name].load(), styled(TABS[name].style)]);
    views.patch({ [name]: View });
  } catch {
    views.patch({ [name]: Missing });
  }
}

const sheets = {};

/** Fetch a style sheet of the page, once; it holds from then on. */
function styled(name) {
  sheets[name] ??= new Promise((resolve, reject) => {
    const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL(`style/${name}`, import.meta.url) });
    link.onload = resolve;
    link.onerror = () => (link.remove(), delete sheets[name], reject(new Error(name)));
    document.head.append(link);
  });
  return sheets[name];
}

function Missing() {
  return html`<div class="page">
    <p class="error" role="alert">This part of the page could not be loaded from the server.</p>
    <p><button type="button" class="quiet" onClick=${() => location.reload()}>Load the page again</button></p>
  </div>`;
}

function App() {
  const { view } = useCell(route);
  const { state, facts, trouble } = useCell(server);
  const words = useCell(said);
  const Shown = useCell(views)[view];
  useLayoutEffect(() => void (document.getElementById("view").scrollTop = 0), [view]);
  useEffect(() => void bring(view), [view, state]); // again, once the server is back
  return html`
    <header class="top">
      <a class="brand" href="#create"><${Icon} name="play" /><h1>wanworker</h1></a>
      <nav class="tabs" aria-label="Views">
        ${VIEWS.map(
          (name) => html`<a key=${name} href=${hrefOf(name)} aria-current=${name === view ? "page" : undefined}
            onPointerEnter=${() => bring(name)} onFocus=${() => bring(name)}>
            <${Icon} name=${TABS[name].icon} /><span>${TABS[name].text}</span>
          </a>`,
        )}
      </nav>
      <p class="server" id="server" data-state=${state}><span id="server-text">${serverWords(state, facts)}</span></p>
      <button type="button" class="quiet small-button" id="key-button" onClick=${() => changeKey(false)}>API key</button>
    </header>
    ${trouble && html`<p class="banner" id="banner" role="status">${trouble}</p>`}
    <main id="view" class=${`view view-${view}`}>${Shown && html`<${Shown} />`}</main>
    <${Toasts} />
    <${Questions} />
    <p class="visually-hidden" id="announcer" role="status">${words}</p>`;
}

function serverWords(state, facts) {
  if (state === "waiting") return "Connecting";
  if (state === "locked") return "Locked";
  if (state === "offline") return "Offline";
  if (!facts.engine) return facts.status === "starting" ? "Starting" : "No engine can render here";
  const waiting = facts.queue?.length ? `${facts.queue.length} waiting` : null;
  return [facts.engine, facts.queue?.running ? "rendering" : "ready", waiting].filter(Boolean).join(" · ");
}

let lastStage = "";

jobs.addEventListener("change", () => {
  const running = jobs.all.find((job) => job.status === "processing");
  document.title = running ? `${percent(running)} · wanworker` : "wanworker";
  // Screen readers hear of each stage once, not of each step.
  const shown = onStage();
  if (shown?.status === "processing" && shown.stage !== lastStage) announce(activity(shown));
  lastStage = shown?.stage ?? "";
});
jobs.addEventListener("end", ({ detail: job }) => {
  if (job.job_id === onStage()?.job_id) announce(job.status === "error" ? "The job failed." : "The video is ready.");
});
// A file that is dropped beside its place does not replace the page.
for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());

resumeRuns();
render(html`<${App} />`, document.getElementById("app"));
follower.wake();
