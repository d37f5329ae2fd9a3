/** The cards that render, each with what it holds and does, and those that WAN_GPUS leaves out. */

import { hrefOf } from "../core/route.js";
import { jobs } from "../core/world.js";
import { bytes, duration, nameOf } from "../core/words.js";
import { html } from "../parts/hooks.js";

const MIB = 2 ** 20;

/** Without WAN_GPUS a server has one place, on the first card or, where there is none, on the processor. */
export function Cards({ facts: { cards, gpus } }) {
  const taken = new Set(cards.map(({ number }) => number));
  const others = gpus.map((gpu, number) => ({ gpu, number })).filter(({ number }) => !taken.has(number));
  return html`
    ${cards.map((card) => html`<${Place} key=${card.number} card=${card} gpu=${card.name ? gpus[card.number] : null} isOne=${cards.length === 1} />`)}
    ${others.map(
      ({ gpu, number }) => html`<section class="panel" key=${`other-${number}`}>
        <h3>${gpu.name}, number ${number}</h3><${Memory} gpu=${gpu} /><p class="note">Not used: WAN_GPUS does not name it.</p>
      </section>`,
    )}`;
}

function Place({ card, gpu, isOne }) {
  const name = card.name ?? "Processor";
  return html`<section class="panel place" data-state=${card.state} aria-label=${`${name} ${card.number}`}>
    <h3>${isOne ? name : `${name}, number ${card.number}`}</h3>
    <p class="figure place-state"><span class="lamp" aria-hidden="true"></span><${State} card=${card} /></p>
    ${gpu && html`<${Memory} gpu=${gpu} />`}
    <p class="note">${card.holds ? `Warm: ${card.holds}` : "Nothing is loaded yet."}</p>
    ${card.state === "busy" && html`<${Job} id=${card.job} />`}
    ${card.last_failure && html`<p class="note">Failed ${duration(Math.round(card.last_failure_age_s))} ago: ${card.last_failure}</p>`}
  </section>`;
}

const State = ({ card: { state } }) => ({ free: "Free", busy: "Rendering", resting: "Left out for a while" })[state];

function Job({ id }) {
  const job = jobs.get(id);
  return job ? html`<p class="note"><a href=${hrefOf(`job/${id}`)}>${nameOf(job).slice(0, 80)}</a></p>` : null;
}

function Memory({ gpu }) {
  const total = gpu.memory_mib * MIB;
  const used = (gpu.used_mib ?? null) === null ? null : gpu.used_mib * MIB;
  const line = [gpu.temperature_c && `${gpu.temperature_c} °C`, (gpu.busy_percent ?? null) !== null && `${gpu.busy_percent} % busy`, `driver ${gpu.driver}`];
  return html`<p>${used === null ? bytes(total) : `${bytes(used)} of ${bytes(total)}`}</p>
    ${used !== null && html`<meter min="0" max="1" high="0.9" value=${used / total} aria-label=${`Memory of ${gpu.name} in use`}></meter>`}
    <p class="note">${line.filter(Boolean).join(" · ")}</p>`;
}
