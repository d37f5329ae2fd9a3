/** The dock below the stage: what the video begins with, its prompt, and the button that sends it. */

import { useCell } from "../core/cells.js";
import { tables } from "../core/tables.js";
import { GrowingText, Segments } from "../parts/controls.js";
import { html, useRef } from "../parts/hooks.js";
import { Icon } from "../parts/icons.js";
import { draft, fill, isSending, send, trouble } from "./desk.js";
import { MediaTiles } from "./media.js";
import { PlanLine } from "./plan.js";
import { MODES, familyOf, taskOf } from "./presets.js";

const MODE_OPTIONS = Object.entries(MODES).map(([mode, { label, icon }]) => [mode, label, icon]);

export function Composer() {
  const form = useRef();
  const filled = useCell(draft);
  const { fields, text } = useCell(trouble);
  const submit = async (event) => {
    event.preventDefault();
    if (!(await send())) focusOnTrouble();
  };
  const hurry = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.current.requestSubmit();
  };
  const errorOf = fields.prompt ?? "";
  return html`<form class="composer" id="composer" ref=${form} onSubmit=${submit} onKeyDown=${hurry} novalidate autocomplete="off">
    <div class="composer-head">
      <${Segments} label="What the video begins with" name="mode" value=${filled.mode} options=${MODE_OPTIONS}
        className="modes" onChange=${(mode) => fill({ mode })} />
      <${ModelPicker} filled=${filled} />
    </div>
    <div class="composer-body">
      <${MediaTiles} />
      <div class="prompt-field">
        <label class="visually-hidden" for="prompt">Prompt</label>
        <${GrowingText} id="prompt" name="prompt" rows="2" value=${filled.prompt} aria-describedby="prompt-error"
          aria-invalid=${errorOf ? "true" : undefined} placeholder="Describe the video: who or what, what happens, how it looks"
          onInput=${(prompt) => fill({ prompt })} />
        <p class="error" id="prompt-error">${errorOf}</p>
      </div>
    </div>
    <div class="composer-foot">
      <${PlanLine} />
      <p class="error" id="form-error" role="alert">${text}</p>
      <${RenderButton} />
    </div>
  </form>`;
}

function RenderButton() {
  const { waitS } = useCell(trouble);
  const sending = useCell(isSending);
  const words = waitS ? `Render in ${waitS} s` : sending ? "Sending" : "Render";
  return html`<button type="submit" id="render" class="primary big" form="composer" title="Ctrl+Enter" aria-busy=${sending}>
    <${Icon} name="spark" /><span>${words}</span>
  </button>`;
}

function ModelPicker({ filled }) {
  const { tasks } = MODES[filled.mode];
  return html`<label class="model">
    <span class="visually-hidden">Model</span>
    <select id="model" value=${taskOf(filled)} disabled=${tasks.length === 1}
      onChange=${(event) => fill({ model: familyOf(event.target.value) })}>
      ${tasks.map((task) => html`<option key=${task} value=${task}>${tables.tasks[task].title}</option>`)}
    </select>
  </label>`;
}

/** Move to the first field that is wrong; one in the folded part opens it. */
export function focusOnTrouble() {
  requestAnimationFrame(() => {
    const field = document.querySelector('[aria-invalid="true"], .tile:has(.error:not(:empty)) input');
    const folded = field?.closest("details");
    if (folded) folded.open = true;
    field?.focus();
  });
}
