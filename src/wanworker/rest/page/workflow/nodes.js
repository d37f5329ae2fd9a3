/** The inputs of a graph, by node: what people set first is open, the rest is folded. */

import { counted } from "../core/words.js";
import { html, useMemo } from "../parts/hooks.js";
import { DropZone, Field, GrowingText } from "../parts/controls.js";
import { Preview } from "../parts/preview.js";
import { withInput } from "./graph.js";

const FILES = {
  image: { accept: "image/*", icon: "image", label: "Choose a picture" },
  audio: { accept: "audio/*", icon: "sound", label: "Choose a sound" },
  video: { accept: "video/*", icon: "film", label: "Choose a video" },
};

/** A longer name does not fit into its field, and the ends of such names tell them apart. */
const SHOWN_CHARS = 30;

export function Nodes({ nodes, refused, desk }) {
  const { sent, wrong } = desk.value;
  const first = nodes.filter((node) => node.isFirst || refused.has(node.id));
  const others = nodes.filter((node) => !first.includes(node));
  const marked = others.filter(({ inputs }) => inputs.some(({ choices }) => choices?.trouble)).length;
  const put = (node, input, value) => {
    const { [placeOf(node, input)]: _, ...wrong } = desk.value.wrong;
    desk.patch({ graph: withInput(desk.value.graph, node.id, input.name, value), state: "changed", wrong });
  };
  const refuse = (node, input) => desk.patch({ wrong: { ...desk.value.wrong, [placeOf(node, input)]: "This must be a number." } });
  const send = (node, input, file) => {
    desk.patch({ sent: { ...desk.value.sent, [file.name]: { file, kind: input.kind } } });
    put(node, input, file.name);
  };
  const show = (node) => html`<${Node} key=${node.id} node=${node} isRefused=${refused.has(node.id)} wrong=${wrong} sent=${sent}
    put=${put} refuse=${refuse} send=${send} />`;
  return html`
    <div class="nodes" id="nodes">${first.map(show)}</div>
    ${others.length > 0 && html`<details class="other-nodes"><summary>${counted(others.length, "more node")}${marked > 0 && `, ${marked} marked`}</summary><div class="nodes">${others.map(show)}</div></details>`}`;
}

const placeOf = (node, input) => `${node.id} ${input.name}`;

function Node({ node, isRefused, wrong, sent, put, refuse, send }) {
  return html`<section class=${isRefused ? "panel node wrong" : "panel node"} aria-label=${`Node ${node.id}: ${node.title}`}>
    <h3 dir="auto">${node.title} <span class="range">${node.id} · ${node.class_type}</span></h3>
    ${node.inputs.map((input) =>
      FILES[input.kind]
        ? html`<${FileInput} key=${input.name} input=${input} file=${sent[input.value]?.file} onFile=${(file) => send(node, input, file)} />`
        : html`<${Field} key=${input.name} label=${input.name} error=${wrong[placeOf(node, input)] ?? input.choices?.trouble} control=${(ids) =>
            html`<${Input} ids=${ids} input=${input} onValue=${(value) => put(node, input, value)} onBad=${() => refuse(node, input)} />`} />`,
    )}
  </section>`;
}

/** A loader's file: the name that the graph has for it, until another one is given. */
function FileInput({ input, file, onFile }) {
  const { accept, icon, label } = FILES[input.kind];
  return html`<div class="file-input">
    ${file && html`<${Preview} file=${file} kind=${input.kind} label=${input.name} />`}
    <${DropZone} accept=${accept} icon=${icon} label=${label} name=${input.name} onFile=${onFile} hint=${input.value || "Drop it here, or choose it"} />
  </div>`;
}

function Input({ ids, input, onValue, onBad }) {
  const { kind, value, name, choices } = input;
  if (choices) return html`<${choices.isFree ? Suggested : Choice} ids=${ids} input=${input} onValue=${onValue} />`;
  if (kind === "boolean") return html`<input type="checkbox" ...${ids} checked=${value} onChange=${(event) => onValue(event.target.checked)} />`;
  if (kind === "text") return html`<${GrowingText} rows="2" ...${ids} value=${value} onInput=${onValue} />`;
  if (kind === "number") {
    const take = ({ target }) => (isNumber(target.value) ? onValue(Number(target.value)) : onBad());
    return html`<input type="text" inputmode="decimal" name=${name} ...${ids} defaultValue=${value} onInput=${take} />`;
  }
  return html`<input type="text" name=${name} ...${ids} dir="auto" value=${value ?? ""} onInput=${(event) => onValue(event.target.value)} />`;
}

/** One of what the server has. The graph's own value stays the chosen one where the server lacks it. */
function Choice({ ids, input, onValue }) {
  const { name, value, choices } = input;
  const { values, at } = choices;
  const own = String(at < 0 ? value : values[at]);
  const take = ({ target }) => onValue(values[target.selectedIndex - (at < 0 ? 1 : 0)]);
  return html`<select name=${name} ...${ids} value=${own} onChange=${take}>
      ${at < 0 && html`<option value=${own}>${own} (not there)</option>`}
      ${useOptions(values)}
    </select>
    ${own.length > SHOWN_CHARS && html`<p class="note">${own}</p>`}`;
}

/** A free text, with what is known beside it: the list may lack what the server has. */
function Suggested({ ids, input, onValue }) {
  const list = `${ids.id}-list`;
  return html`<input type="text" name=${input.name} ...${ids} list=${list} dir="auto" value=${input.value ?? ""} onInput=${({ target }) => onValue(target.value)} />
    <datalist id=${list}>${useOptions(input.choices.values)}</datalist>`;
}

const Options = ({ values }) => values.map((each) => html`<option key=${each} value=${each}>${String(each)}</option>`);

/** Made once: a folder may have thousands of files, and each key that is pressed draws all nodes anew. */
const useOptions = (values) => useMemo(() => html`<${Options} values=${values} />`, [values]);

const isNumber = (text) => text.trim() !== "" && Number.isFinite(Number(text));
