/** The inputs of a graph, by node: what people set first is open, the rest is folded. */

import { counted } from "../core/words.js";
import { html } from "../parts/hooks.js";
import { Field, GrowingText } from "../parts/controls.js";
import { withInput } from "./graph.js";

const ACCEPTS = { image: "image/*", audio: "audio/*", video: "video/*" };

export function Nodes({ nodes, wrong, desk }) {
  const first = nodes.filter((node) => node.isFirst || wrong.has(node.id));
  const others = nodes.filter((node) => !first.includes(node));
  const put = (node, input, value) => {
    const { graph, state } = desk.value;
    const next = state === "valid" || state === "checking" ? "valid" : state;
    desk.patch({ graph: withInput(graph, node.id, input.name, value), state: next });
  };
  const send = (node, input, file) => {
    const { sent } = desk.value;
    desk.patch({ sent: { ...sent, [file.name]: { file, kind: input.kind } } });
    put(node, input, file.name);
  };
  const show = (node) => html`<${Node} key=${node.id} node=${node} isWrong=${wrong.has(node.id)} put=${put} send=${send} />`;
  return html`
    <div class="nodes" id="nodes">${first.map(show)}</div>
    ${others.length > 0 && html`<details class="other-nodes"><summary>${counted(others.length, "more node")}</summary><div class="nodes">${others.map(show)}</div></details>`}`;
}

function Node({ node, isWrong, put, send }) {
  return html`<section class=${isWrong ? "panel node wrong" : "panel node"} aria-label=${`Node ${node.id}: ${node.title}`}>
    <h3 dir="auto">${node.title} <span class="range">${node.id} · ${node.class_type}</span></h3>
    ${node.inputs.map((input) => html`<${Field} key=${input.name} label=${input.name}
      control=${(ids) => html`<${Input} ids=${ids} input=${input} onValue=${(value) => put(node, input, value)} onFile=${(file) => send(node, input, file)} />`} />`)}
  </section>`;
}

function Input({ ids, input, onValue, onFile }) {
  const { kind, value, name } = input;
  if (kind === "boolean") return html`<input type="checkbox" ...${ids} checked=${value} onChange=${(event) => onValue(event.target.checked)} />`;
  if (kind === "text") return html`<${GrowingText} rows="2" ...${ids} value=${value} onInput=${onValue} />`;
  if (ACCEPTS[kind]) {
    return html`<div class="file-input"><input type="file" ...${ids} accept=${ACCEPTS[kind]} onChange=${(event) => event.target.files[0] && onFile(event.target.files[0])} />
      <span class="note">${value ?? ""}</span></div>`;
  }
  if (kind === "number") {
    const take = (event) => event.target.value.trim() !== "" && !Number.isNaN(Number(event.target.value)) && onValue(Number(event.target.value));
    return html`<input type="text" inputmode="decimal" name=${name} ...${ids} defaultValue=${value} onChange=${take} />`;
  }
  return html`<input type="text" name=${name} ...${ids} dir="auto" value=${value ?? ""} onInput=${(event) => onValue(event.target.value)} />`;
}
