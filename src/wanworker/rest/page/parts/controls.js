/** Small controls that several views use. */

import { html, useId, useRef } from "./hooks.js";
import { Icon } from "./icons.js";

/** One choice of a few, as a row of radio buttons. *options*: [value, text, icon?] each. */
export function Segments({ label, name, value, options, onChange, className = "" }) {
  const id = useId(name);
  return html`<fieldset class=${`segments ${className}`}>
    <legend class="visually-hidden">${label}</legend>
    ${options.map(
      ([each, text, icon]) => html`<label key=${each} class=${each === value ? "segment chosen" : "segment"}>
        <input type="radio" name=${id} value=${each} checked=${each === value} onChange=${() => onChange(each)} />
        ${icon && html`<${Icon} name=${icon} />`}
        <span>${text}</span>
      </label>`,
    )}
  </fieldset>`;
}

/** A field with its label, its note and what is wrong with it. *children*: the control, given its ids. */
export function Field({ label, range = "", error = "", className = "", control }) {
  const id = useId(label);
  const errorId = `${id}-error`;
  return html`<div class=${`field ${className}`}>
    <label for=${id}><span>${label}</span>${range && html` <span class="range">${range}</span>`}</label>
    ${control({ id, "aria-describedby": errorId, "aria-invalid": error ? "true" : undefined })}
    <p class="error" id=${errorId}>${error}</p>
  </div>`;
}

/** A text area that is as high as its text, within its CSS. */
export function GrowingText({ value, onInput, ...others }) {
  return html`<div class="growing" data-text=${`${value}\n`}>
    <textarea dir="auto" value=${value} onInput=${(event) => onInput(event.target.value)} ...${others}></textarea>
  </div>`;
}

/** A place to drop a file on, or to choose one with. *onFile* gets it. */
export function DropZone({ accept, label, hint, icon, onFile, error = "", className = "", name = "" }) {
  const id = useId(label);
  const place = useRef();
  const over = (isOver) => place.current.classList.toggle("over", isOver);
  const take = (event) => {
    event.preventDefault();
    event.stopPropagation();
    over(false);
    if (event.dataTransfer.files[0]) onFile(event.dataTransfer.files[0]);
  };
  return html`<div
    ref=${place}
    class=${`drop ${className}`}
    data-name=${name}
    onDragOver=${(event) => (event.preventDefault(), over(true))}
    onDragLeave=${() => over(false)}
    onDrop=${take}
  >
    <input
      class="visually-hidden"
      type="file"
      id=${id}
      accept=${accept}
      aria-describedby=${`${id}-error`}
      onChange=${(event) => (event.target.files[0] && onFile(event.target.files[0]), (event.target.value = ""))}
    />
    <label for=${id}><${Icon} name=${icon} /><span class="drop-label">${label}</span><span class="note">${hint}</span></label>
    <p class="error" id=${`${id}-error`}>${error}</p>
  </div>`;
}
