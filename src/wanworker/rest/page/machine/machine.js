/** The machine tab: whether this machine can render, with what, and how long it took of late. */

import * as api from "../core/api.js";
import { Cell, useCell, useChanges } from "../core/cells.js";
import { jobs, server, withKey } from "../core/world.js";
import { bytes, counted, duration, sentence } from "../core/words.js";
import { html, useEffect, useState } from "../parts/hooks.js";
import { Icon } from "../parts/icons.js";
import { Cards } from "./cards.js";
import { Chart } from "./chart.js";
import { isWeightless, verdict } from "./verdict.js";

const health = new Cell(null);
const EVERY_MS = 15_000;

export function View() {
  const facts = useCell(health);
  useChanges(jobs);
  const running = jobs.all.filter(({ status }) => status === "processing").map(({ job_id: id }) => id).join();
  const [trouble, setTrouble] = useState("");
  const [isBusy, setBusy] = useState(false);
  const look = async (refresh) => {
    setBusy(refresh);
    try {
      health.value = await withKey(() => api.ask({ action: "health", refresh }));
      setTrouble("");
    } catch (error) {
      setTrouble(error.message);
    }
    setBusy(false);
  };
  useEffect(() => {
    look(false);
    const timer = setInterval(() => document.hidden || server.value.state === "locked" || look(false), EVERY_MS);
    return () => clearInterval(timer);
  }, [running]);
  return html`<div class="page machine">
    <header class="page-head">
      <h2>Machine</h2>
      <button type="button" class="quiet" id="probe" disabled=${isBusy} onClick=${() => look(true)}><${Icon} name="again" />${isBusy ? "Looking" : "Look again"}</button>
    </header>
    ${trouble && html`<p class="error" role="alert">${trouble}</p>`}
    ${facts && html`<${Report} facts=${facts} />`}
    ${!facts && !trouble && html`<p class="note">Looking at the engines.</p>`}
  </div>`;
}

function Report({ facts }) {
  const { level, title, text } = verdict(facts);
  return html`
    <section class="panel verdict-panel" id="verdict" data-level=${level} aria-label="Verdict">
      <span class="lamp" aria-hidden="true"></span>
      <div><h3>${title}</h3><p>${text}</p></div>
      <p class="note">Looked ${facts.facts_age_s < 1 ? "just now" : `${duration(Math.round(facts.facts_age_s))} ago`} · version ${facts.version}</p>
    </section>
    <div class="cards">
      <${Cards} facts=${facts} />
      ${distinct(facts.disk).map((place) => html`<${Disk} key=${place.path} place=${place} />`)}
      <section class="panel"><h3>ComfyUI</h3><p class="figure">${sentence(facts.comfyui_status)}</p><p class="note">${facts.comfyui_url}</p></section>
    </div>
    <${Tasks} facts=${facts} />
    <${Damaged} files=${facts.damaged} />
    <${Timings} />`;
}

/** One disk may hold both folders. */
const distinct = (disk) => disk.filter((place, index) => disk.findIndex(({ free_bytes }) => free_bytes === place.free_bytes) === index);

function Disk({ place }) {
  return html`<section class="panel"><h3>Disk</h3><p class="figure">${bytes(place.free_bytes)} free</p><p class="note path">${place.path}</p></section>`;
}

function Tasks({ facts }) {
  const tasks = [...new Set(Object.values(facts.engines).flatMap((each) => Object.keys(each)))];
  return html`<section class="panel tasks" aria-labelledby="tasks-title">
    <h3 id="tasks-title">Engines by task</h3>
    <ul>
      ${tasks.map((task) => html`<li key=${task}>
        <h4>${task}</h4>
        <ul>${Object.entries(facts.engines).filter(([, each]) => task in each).map(
          ([engine, each]) => html`<${Engine} key=${engine} engine=${engine} words=${each[task]} command=${facts.fetch?.[engine]?.[task]} />`,
        )}</ul>
      </li>`)}
    </ul>
  </section>`;
}

function Engine({ engine, words, command }) {
  const isReady = words === "ready";
  return html`<li class="engine" data-ready=${isReady}>
    <span class="engine-name">${engine}</span>
    ${isReady
      ? html`<span class="badge ready">Ready</span>`
      : html`<details><summary>${isWeightless(words) ? "Weights are missing" : "Not ready"}</summary><p>${words}</p></details>`}
    ${!isReady && command && html`<code>${command}</code>`}
  </li>`;
}

function Damaged({ files }) {
  if (!files?.length) return null;
  return html`<section class="panel"><h3>${counted(files.length, "damaged file")}</h3>
    <ul>${files.map(({ path, flaw }) => html`<li key=${path}><code>${path}</code> <span class="note">${flaw}</span></li>`)}</ul>
  </section>`;
}

function Timings() {
  useChanges(jobs);
  const done = jobs.all.filter((job) => job.timings?.total_s && job.status === "completed").slice(0, 24).reverse();
  return html`<section class="panel" aria-labelledby="timings-title">
    <h3 id="timings-title">Recent timings</h3>
    ${done.length ? html`<${Chart} done=${done} />` : html`<p class="note">No video was made yet.</p>`}
  </section>`;
}
