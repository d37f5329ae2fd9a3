/** The panel beside the stage: shape, size and length by presets, the seed, and the rest under "Advanced". */

import { useCell } from "../core/cells.js";
import { tables } from "../core/tables.js";
import { sentence } from "../core/words.js";
import { Field, GrowingText, Segments } from "../parts/controls.js";
import { html, useEffect, useRef } from "../parts/hooks.js";
import { Icon } from "../parts/icons.js";
import { tell } from "../parts/toasts.js";
import { clear, draft, fill, keptAside, trouble } from "./desk.js";
import { Loras } from "./loras.js";
import { planned } from "./plan.js";
import { SHAPES, framesOf, hasLength, hasPicture, rateOf, resolutionsOf, sizeOf } from "./presets.js";
import { shownNumbers } from "./request.js";

const NAMES = { width: "Width", height: "Height", length: "Frames", fps: "Frame rate", steps: "Steps", cfg: "Guidance", shift: "Shift", price: "Price per hour" };
const PROFILES = [["", "Server's choice"], ...tables.profiles.map((name) => [name, sentence(name)])];
const SIZE_FREE = { width: "", height: "" };

export function Options() {
  const filled = useCell(draft);
  return html`<aside class="options" aria-label="Settings">
    <${Format} filled=${filled} />
    <section class="option">
      <h2>Quality</h2>
      <${Segments} label="Profile" name="profile" value=${filled.profile} options=${PROFILES}
        onChange=${(profile) => fill({ profile })} />
    </section>
    <${Seed} filled=${filled} />
    <${Loras} filled=${filled} />
    <${Advanced} filled=${filled} />
    <button type="button" class="text-button" onClick=${reset}>Reset everything</button>
  </aside>`;
}

function reset() {
  const undo = keptAside();
  clear();
  tell("Everything is reset.", { undo });
}

function Format({ filled }) {
  const follows = hasPicture(filled) && filled.followsPicture && !filled.width && !filled.height;
  return html`<section class="option">
    <h2>Format</h2>
    ${hasPicture(filled) &&
    html`<label class="check"><input type="checkbox" id="follows" checked=${filled.followsPicture}
        onChange=${(event) => fill({ followsPicture: event.target.checked, ...SIZE_FREE })} />
      <span>The picture's own shape</span></label>`}
    ${!follows &&
    html`<${Segments} label="Shape" name="shape" value=${filled.shape} className="shapes"
        options=${Object.entries(SHAPES)} onChange=${(shape) => fill({ shape, ...SIZE_FREE })} />
      <${Segments} label="Resolution" name="resolution" value=${filled.resolution}
        options=${resolutionsOf(filled).map((name) => [name, name])} onChange=${(resolution) => fill({ resolution, ...SIZE_FREE })} />`}
    ${hasLength(filled)
      ? html`<${Segments} label="Length" name="seconds" value=${filled.seconds}
          options=${tables.seconds.map((seconds) => [seconds, `${seconds} s`])}
          onChange=${(seconds) => fill({ seconds, length: "" })} />`
      : html`<p class="note">The ${filled.mode === "sound" ? "sound" : "video"} decides the length.</p>`}
  </section>`;
}

function Seed({ filled }) {
  const { fields } = useCell(trouble);
  const isLocked = filled.isSeedLocked;
  const roll = () => fill({ seed: String(Math.floor(Math.random() * 2 ** 32)), isSeedLocked: true });
  return html`<section class="option seed">
    <h2>Seed</h2>
    <div class="row">
      <${Field} label="Seed" error=${fields.seed} className="bare" control=${(ids) => html`<input type="text" inputmode="numeric"
        name="seed" ...${ids} value=${filled.seed} placeholder="random"
        onInput=${(event) => fill({ seed: event.target.value, isSeedLocked: event.target.value.trim() !== "" })} />`} />
      <button type="button" class="round" aria-pressed=${isLocked} aria-label="Keep this seed" title="Keep this seed"
        onClick=${() => fill({ isSeedLocked: !isLocked })}><${Icon} name=${isLocked ? "lock" : "unlock"} /></button>
      <button type="button" class="round" aria-label="Roll a seed" title="Roll a seed" onClick=${roll}><${Icon} name="dice" /></button>
    </div>
    <p class="note">${isLocked && filled.seed ? "The same request gives the same video." : "Each video gets a seed of its own."}</p>
  </section>`;
}

function Advanced({ filled }) {
  const { fields } = useCell(trouble);
  const plan = useCell(planned);
  const [width, height] = sizeOf(filled);
  const presets = { width, height, length: framesOf(filled) ?? plan?.video?.frames, fps: rateOf(filled) };
  const engines = plan?.recipe ?? {};
  const own = { steps: engines.steps, cfg: engines.guidance, shift: engines.shift };
  const guidance = Number(filled.cfg || own.cfg) || null;
  const isVain = filled.negative_prompt.trim() && guidance !== null && guidance <= 1;
  const names = shownNumbers(filled);
  const place = useRef();
  const isWrong = ["negative_prompt", "engine", ...names].some((name) => fields[name]);
  useEffect(() => void (isWrong && (place.current.open = true)), [isWrong]);
  const swap = () => fill({ width: String(Number(filled.height) || height), height: String(Number(filled.width) || width) });
  return html`<details class="option advanced" id="advanced" ref=${place}>
    <summary><h2>Advanced</h2></summary>
    <${Field} label="Negative prompt" error=${fields.negative_prompt} control=${(ids) => html`<${GrowingText}
      name="negative_prompt" rows="2" ...${ids} value=${filled.negative_prompt} onInput=${(text) => fill({ negative_prompt: text })} />`} />
    ${isVain && html`<p class="note" id="negative-note">At a guidance of 1 or less, a negative prompt has no effect.</p>`}
    <div class="numbers">
      ${names.map((name) => html`<${NumberField} key=${name} name=${name} value=${filled[name]} error=${fields[name]}
        placeholder=${name === "price" ? "of the machine" : (presets[name] ?? own[name] ?? "engine's")} />`)}
    </div>
    <button type="button" class="text-button" onClick=${swap}>Swap width and height</button>
    <${Field} label="Engine" error=${fields.engine} control=${(ids) => html`<select name="engine" ...${ids} value=${filled.engine}
      onChange=${(event) => fill({ engine: event.target.value })}>
      <option value="">Server's choice</option>
      ${tables.engines.map((engine) => html`<option key=${engine} value=${engine}>${engine}</option>`)}
    </select>`} />
    <p class="note">A field left empty takes the value shown in it, or what suits the engine.</p>
  </details>`;
}

function NumberField({ name, value, error, placeholder }) {
  const { low, high } = tables.numbers[name];
  return html`<${Field} label=${NAMES[name]} range=${`${low}–${high}`} error=${error} control=${(ids) => html`<input
    type="text" inputmode="decimal" name=${name} ...${ids} value=${value} placeholder=${placeholder}
    onInput=${(event) => fill({ [name]: event.target.value })} />`} />`;
}
