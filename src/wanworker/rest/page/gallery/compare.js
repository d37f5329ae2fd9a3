/** Two videos side by side, in step: one button plays both, one slider moves both. */

import { clip, facts, nameOf } from "../core/words.js";
import { useFilm } from "../create/stage.js";
import { Dialog } from "../parts/dialogs.js";
import { html, useEffect, useRef, useState } from "../parts/hooks.js";
import { Icon } from "../parts/icons.js";

/** The second follows the first when they are this far apart, in seconds: about two frames. */
const APART_S = 0.08;

export function Compare({ pair, onClose }) {
  const [videos] = useState(() => [{ current: null }, { current: null }]);
  const [isPlaying, setPlaying] = useState(false);
  const [at, setAt] = useState(0);
  const [length, setLength] = useState(0);
  const both = () => videos.map(({ current }) => current).filter(Boolean);
  const measure = () => setLength(Math.min(...both().map((video) => video.duration || Infinity)));
  const seek = (seconds) => {
    both().forEach((video) => (video.currentTime = Math.min(seconds, video.duration || seconds)));
    setAt(seconds);
  };
  const toggle = () => {
    const videos = both();
    if (isPlaying) videos.forEach((video) => video.pause());
    else Promise.all(videos.map((video) => video.play())).catch(() => setPlaying(false));
    setPlaying(!isPlaying);
  };
  useEffect(() => inStep(both, setAt), [length]);
  const keys = (event) => {
    if (event.key !== " " || event.target.matches("button")) return;
    event.preventDefault();
    toggle();
  };
  const isReady = Number.isFinite(length) && length > 0;
  return html`<${Dialog} label="Compare two videos" className="compare" onClose=${onClose}>
    <div class="compare-films" onKeyDown=${keys}>
      ${pair.map((job, index) => html`<${Side} key=${job.job_id} job=${job} place=${videos[index]} onMeasured=${measure} other=${pair[1 - index]} />`)}
    </div>
    <div class="row compare-row">
      <button type="button" class="primary" id="both" disabled=${!isReady} onClick=${toggle}>${isPlaying ? "Pause both" : "Play both"}</button>
      <input type="range" id="scrub" min="0" max=${isReady ? length : 1} step="0.01" value=${at} aria-label="Time" disabled=${!isReady}
        aria-valuetext=${`${at.toFixed(1)} seconds`} onInput=${(event) => seek(Number(event.target.value))} />
      <output>${isReady ? `${at.toFixed(1)} of ${clip(length)}` : "Loading"}</output>
      <button type="button" class="quiet" onClick=${onClose}><${Icon} name="close" />Close</button>
    </div>
  <//>`;
}

function Side({ job, other, place, onMeasured }) {
  const { url, share, error } = useFilm(job.job_id);
  const video = useRef();
  useEffect(() => (place.current = video.current, undefined), [url]);
  const theirs = new Map(facts(other));
  return html`<figure class="side">
    <div class="side-screen">
      ${url
        ? html`<video ref=${video} src=${url} muted loop playsinline preload="auto" aria-label=${nameOf(job).slice(0, 80)} onLoadedMetadata=${onMeasured}></video>`
        : html`<p>${error || `Loading, ${Math.floor(share * 100)}%`}</p>`}
    </div>
    <figcaption>
      <p class="side-name" dir="auto">${nameOf(job)}</p>
      <dl class="facts">${facts(job).map(
        ([name, text]) => html`<div key=${name} class=${theirs.get(name) === text ? "" : "differs"}><dt>${name}</dt><dd>${text}</dd></div>`,
      )}</dl>
    </figcaption>
  </figure>`;
}

/** Keep the second video with the first, frame by frame, and tell the time. Returns how to stop. */
function inStep(both, tell) {
  let frame = 0;
  const look = () => {
    frame = requestAnimationFrame(look);
    const [first, second] = both();
    if (!first || !second || first.paused) return;
    if (Math.abs(first.currentTime - second.currentTime) > APART_S) second.currentTime = first.currentTime;
    tell(first.currentTime);
  };
  look();
  return () => cancelAnimationFrame(frame);
}
