/** The stage: the chosen job's preview while it is rendered, then its film. */

import * as api from "../core/api.js";
import { films, server } from "../core/world.js";
import { useCell } from "../core/cells.js";
import { activity, isActive, percent, stateOf, timeLeft } from "../core/words.js";
import { html, useEffect, useRef, useState } from "../parts/hooks.js";
import { fill } from "./desk.js";
import { EXAMPLES } from "./presets.js";

const PREVIEW_MS = 1000;

/** *search*: what is known of the job that the address names, while there is none; see create.js. */
export function Stage({ job, search }) {
  const [wide, high] = [job?.video?.width ?? job?.width, job?.video?.height ?? job?.height];
  const ratio = wide && high ? wide / high : 16 / 9;
  const state = job ? stateOf(job) : "empty";
  return html`<div class="stage">
    <div class="screen" id="screen" data-state=${state} style=${`--ratio: ${ratio.toFixed(4)}`}>
      ${job && isActive(job) && html`<${Rendering} key=${job.job_id} job=${job} />`}
      ${job && !isActive(job) && html`<${Ended} key=${job.job_id} job=${job} state=${state} />`}
      ${!job && html`<${Empty} search=${search} />`}
    </div>
  </div>`;
}

function Words({ title, text = "", hint = "", id = "screen-text" }) {
  return html`<div class="screen-words" id=${id}>
    <p class="screen-title">${title}</p>
    ${text && html`<p>${text}</p>`}
    ${hint && html`<p class="screen-hint">${hint}</p>`}
  </div>`;
}

function Empty({ search }) {
  const { state, facts } = useCell(server);
  if (search === "missing") return html`<${Words} title="There is no such job" text="It was deleted, or the link is not of this server." />`;
  if (search && state === "locked") return html`<${Words} title="This video needs the server's key" />`;
  if (search) return html`<${Words} title="Loading the video" />`;
  return facts && html`<${Welcome} facts=${facts} />`;
}

function Welcome({ facts }) {
  const { title, prompts } = EXAMPLES[facts.engine] ?? EXAMPLES.any;
  const take = (prompt) => {
    fill({ mode: "text", prompt });
    document.getElementById("render").focus();
  };
  return html`<div class="welcome">
    <p class="screen-title">Your video appears here</p>
    <p>${title} Try one:</p>
    <ul class="examples" id="examples">
      ${prompts.map((prompt) => html`<li key=${prompt}><button type="button" class="chip" onClick=${() => take(prompt)}>${prompt}</button></li>`)}
    </ul>
  </div>`;
}

function Rendering({ job }) {
  const preview = usePreview(job);
  const isQueued = job.status === "queued";
  return html`
    ${preview && html`<img class="preview" id="preview" src=${preview} alt="Preview of the video while it is rendered" />`}
    ${!preview && html`<div class="glow" aria-hidden="true"></div>`}
    <div class="run" id="run">
      <p class="run-share" aria-hidden="true">${isQueued ? "" : percent(job)}</p>
      <p id="run-text">${activity(job, { hasShare: false })}</p>
      <progress id="run-progress" max="100" value=${isQueued ? undefined : (job.progress ?? 0)} aria-labelledby="run-text"></progress>
      <p class="visually-hidden">${timeLeft(job)}</p>
    </div>`;
}

/** The preview as often as news comes, one at a time and at most one a second; a picture that fails is left out. */
function usePreview({ job_id: id, preview_url: path, progress }) {
  const [address, setAddress] = useState(null);
  const asking = useRef({ at: -Infinity, isBusy: false, address: null });
  useEffect(() => {
    const now = asking.current;
    if (!path || now.isBusy || performance.now() - now.at < PREVIEW_MS) return;
    Object.assign(now, { at: performance.now(), isBusy: true });
    api
      .picture(path)
      .then((blob) => {
        if (now.isOver) return;
        URL.revokeObjectURL(now.address ?? "");
        now.address = URL.createObjectURL(blob);
        setAddress(now.address);
      })
      .catch(() => {}) // there is none yet, or none any more
      .finally(() => (now.isBusy = false));
  }, [id, path, progress]);
  useEffect(() => () => {
    asking.current.isOver = true;
    URL.revokeObjectURL(asking.current.address ?? "");
  }, []);
  return address;
}

function Ended({ job, state }) {
  if (state === "cancelled") return html`<${Words} title="Cancelled" text="This job was stopped before it ended." />`;
  if (state === "failed") return html`<${Words} title="No video was made" text=${job.error} hint=${job.hint} />`;
  if (state === "gone" && !films.has(job.job_id)) {
    return html`<${Words} title="The video is gone" text="The server no longer has it: it was downloaded, or its time was up." />`;
  }
  return html`<${Player} id=${job.job_id} />`;
}

function Player({ id }) {
  const { url, share, error } = useFilm(id);
  const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (error) return html`<${Words} title="The video could not be loaded" text=${error} />`;
  if (!url) return html`<${Words} title=${`Loading, ${Math.floor(share * 100)}%`} />`;
  return html`<video id="player" src=${url} controls loop autoplay=${!isStill} muted playsinline aria-label="The video"></video>`;
}

/** A film's address once it has come, the share of it that has, and what went wrong. */
export function useFilm(id) {
  const [film, setFilm] = useState({ url: null, share: 0, error: "" });
  useEffect(() => {
    let isOver = false;
    const tell = (news) => isOver || setFilm((film) => ({ ...film, ...news }));
    films.toPlay(id, (share) => tell({ share })).then((url) => tell({ url }), (error) => tell({ error: error.message }));
    return () => (isOver = true);
  }, [id]);
  return film;
}
