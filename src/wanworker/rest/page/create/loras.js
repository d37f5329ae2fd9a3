/** LoRAs: picked from what the volume or the ComfyUI server has, each with its strength. */

import * as api from "../core/api.js";
import { tables } from "../core/tables.js";
import { withKey } from "../core/world.js";
import { html, useState } from "../parts/hooks.js";
import { Icon } from "../parts/icons.js";
import { fill } from "./desk.js";

export function Loras({ filled }) {
  const [found, setFound] = useState(null);
  const [trouble, setTrouble] = useState("");
  const look = async () => {
    setTrouble("");
    try {
      const { models } = await withKey(() => api.ask({ action: "comfyui_models" }));
      const names = models?.loras ?? [];
      setFound(names);
      if (!names.length) setTrouble("There is no LoRA yet. Put its file into loras/ in the folder of the weights.");
    } catch (error) {
      setTrouble(error.message);
    }
  };
  const put = (index, news) =>
    fill({ loras: filled.loras.map((lora, at) => (at === index ? { ...lora, ...news } : lora)) });
  const add = (name) => fill({ loras: [...filled.loras, { name, strength: 1 }] });
  const free = (found ?? []).filter((name) => !filled.loras.some((lora) => lora.name === name));
  return html`<section class="option loras">
    <h2>LoRA</h2>
    ${filled.loras.map(
      (lora, index) => html`<div class="lora" key=${lora.name}>
        <span class="lora-name" title=${lora.name}>${lora.name}</span>
        <input type="range" min="0" max="2" step="0.05" value=${lora.strength} aria-label=${`Strength of ${lora.name}`}
          onInput=${(event) => put(index, { strength: clamped(event.target.value) })} />
        <output>${lora.strength.toFixed(2)}</output>
        <button type="button" class="round small-round" aria-label=${`Remove ${lora.name}`}
          onClick=${() => fill({ loras: filled.loras.filter((_, at) => at !== index) })}><${Icon} name="close" /></button>
      </div>`,
    )}
    ${!found?.length && html`<button type="button" class="quiet" onClick=${look}><${Icon} name=${found ? "again" : "plus"} />${found ? "Look again" : "Add a LoRA"}</button>`}
    ${free.length > 0 &&
    filled.loras.length < tables.loras &&
    html`<select aria-label="Add a LoRA" value="" onChange=${(event) => event.target.value && add(event.target.value)}>
      <option value="">Add a LoRA</option>
      ${free.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
    </select>`}
    <p class="note" role="status">${trouble}</p>
  </section>`;
}

function clamped(text) {
  const { low, high } = tables.numbers.strength;
  return Math.min(high, Math.max(low, Number(text) || 0));
}
