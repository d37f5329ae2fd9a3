/** The workflow tab: a ComfyUI graph is dropped, checked with its server, set, and run. */

import * as api from "../core/api.js";
import { Cell, useCell } from "../core/cells.js";
import { go } from "../core/route.js";
import { beginRun } from "../core/runs.js";
import { announce, follower, jobs, server, withKey } from "../core/world.js";
import { counted } from "../core/words.js";
import { asBase64, newId } from "../create/desk.js";
import { DropZone } from "../parts/controls.js";
import { html } from "../parts/hooks.js";
import { Icon } from "../parts/icons.js";
import { tell } from "../parts/toasts.js";
import { countOf, problemsIn, read, settable } from "./graph.js";
import { Nodes } from "./nodes.js";
import { textsIn } from "./png.js";

/**
 * `state`: empty, checking, valid, refused, changed (since it was checked) or unchecked (no server could be asked);
 * `sent` are the files for its loaders, by the name that the graph has for each; `wrong` is what is no value, by input;
 * `known` are the choices of its classes, and which `source` told them: the server or the folders of the models.
 */
const EMPTY = { state: "empty", name: "", graph: null, problems: [], remarks: [], trouble: "", sent: {}, wrong: {}, known: {} };
const desk = new Cell(EMPTY);

export function View() {
  const { state, trouble } = useCell(desk);
  const { facts } = useCell(server);
  const drop = (event) => event.dataTransfer.files[0] && take(event.dataTransfer.files[0]);
  return html`<div class="page workflow" onDrop=${drop}>
    <header class="page-head">
      <h2>Workflow</h2>
      <p>Run a graph of your own on this server's ComfyUI. Nothing runs before it is checked.</p>
      ${facts?.comfyui_status === "offline" && html`<p id="graph-server">ComfyUI is offline at the moment. The <a href="#machine">machine tab</a> says where this server looks for it.</p>`}
    </header>
    ${state === "empty"
      ? html`<${DropZone} accept=".json,.png,application/json,image/png" label="Drop a ComfyUI workflow here" icon="graph"
          hint="A JSON file in either format, or a PNG that ComfyUI saved" onFile=${take} error=${trouble} className="big-drop" name="workflow" />`
      : html`<${Loaded} />`}
  </div>`;
}

function Loaded() {
  const { state, name, graph, problems, remarks, trouble, wrong, known } = useCell(desk);
  const isApi = !Array.isArray(graph.nodes);
  const refused = new Set(problems.map(({ node }) => node));
  const canRun = (state === "valid" || state === "changed") && !Object.keys(wrong).length;
  return html`
    <section class="panel graph-panel">
      <${Icon} name="graph" />
      <div class="graph-name"><h3 dir="auto">${name}</h3><p class="note">${counted(countOf(graph), "node")}</p></div>
      <p class="verdict" id="graph-state" data-state=${state} role="status">${VERDICTS[state](problems)}</p>
      <button type="button" class="quiet" onClick=${() => desk.patch({ state: "empty", trouble: "" })}>Another one</button>
      <button type="button" class="quiet" id="check" disabled=${state === "checking"} onClick=${check}>Check again</button>
      <button type="button" class="primary" id="run-graph" disabled=${!canRun} onClick=${run}><${Icon} name="play" />Run</button>
    </section>
    ${trouble && html`<p class="error" role="alert">${trouble}</p>`}
    ${problems.length > 0 &&
    html`<ul class="problems" id="problems" aria-label="Problems">
      ${problems.map(({ node, place, text }, index) => html`<li key=${index}>
        <span class="problem-node">${node ? `Node ${node}` : "The graph"}</span>${place && html`<span class="note">${place}</span>`}<span>${text}</span>
      </li>`)}
    </ul>`}
    ${remarks.length > 0 && html`<details class="remarks" open><summary>${counted(remarks.length, "remark")}</summary><ul>${remarks.map((text) => html`<li key=${text}>${text}</li>`)}</ul></details>`}
    ${isApi && html`<${Nodes} nodes=${settable(graph, known)} refused=${refused} desk=${desk} />`}`;
}

const VERDICTS = {
  checking: () => "Checking",
  valid: () => "Can run",
  refused: (problems) => counted(problems.length, "problem"),
  changed: () => "Changed",
  unchecked: () => "Not checked",
};

async function take(file) {
  try {
    const { graph } = read(await documentIn(file));
    desk.value = { ...EMPTY, state: "checking", name: file.name, graph };
  } catch (error) {
    return desk.patch({ trouble: `${file.name}: ${error.message}` });
  }
  await check();
}

async function documentIn(file) {
  const texts = await textsIn(await file.arrayBuffer());
  const text = texts.prompt ?? texts.workflow ?? (file.type === "image/png" ? null : await file.text());
  if (text === null) throw new Error("no workflow is in this picture; programs that change pictures remove it.");
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("this is neither JSON nor a PNG with a workflow.");
  }
}

const filesOf = async (sent) => {
  const kinds = { images: [], audio: [], videos: [] };
  for (const [name, { file, kind }] of Object.entries(sent)) {
    kinds[{ image: "images", audio: "audio", video: "videos" }[kind]].push({ name, data: await asBase64(file) });
  }
  return kinds;
};

async function check() {
  desk.patch({ state: "checking", trouble: "" });
  const { graph, sent } = desk.value;
  const learned = learn();
  try {
    const input = { action: "comfyui_workflow", workflow: graph, validate_only: true, ...(await filesOf(sent)) };
    const answer = await withKey(() => api.ask(input));
    if (desk.value.graph !== graph) return;
    desk.patch({ state: "valid", graph: answer.workflow ?? graph, remarks: answer.warnings ?? [], problems: [] });
    announce("The workflow can run.");
  } catch (error) {
    if (desk.value.graph === graph) refuse(error);
  }
  // The check may have started the server, or made a graph with inputs of the browser's.
  learned.then(() => desk.value.known.source !== "server" && desk.value.state !== "unchecked" && learn());
}

let questions = 0;

/** Ask what the inputs of the graph may be. Where nobody can say, they stay free: the check tells what is wrong. */
async function learn() {
  const { graph } = desk.value;
  const mine = (questions += 1);
  if (Array.isArray(graph.nodes)) return;
  const classes = [...new Set(Object.values(graph).map((node) => node.class_type))];
  try {
    const { choices, source } = await withKey(() => api.ask({ action: "comfyui_models", classes }));
    if (mine === questions) desk.patch({ known: { source, choices } });
  } catch {
    // It is a help only.
  }
}

function refuse(error) {
  const isOfGraph = error.code === "GRAPH_REFUSED" || error.code === "MODEL_NOT_FOUND";
  const [text] = error.message.split(error.hint || "\u0000");
  const problems = isOfGraph ? problemsIn(text.trim(), error.hint) : [];
  desk.patch({ state: isOfGraph ? "refused" : "unchecked", problems, trouble: isOfGraph ? "" : error.message });
  announce(isOfGraph ? `The workflow has ${counted(problems.length, "problem")}.` : error.message);
}

/** Run the graph; one that was changed is checked first, so that what is wrong is said here, by its node. */
async function run() {
  if (desk.value.state === "changed") await check();
  const { state, graph, name, sent } = desk.value;
  if (state !== "valid") return;
  const id = newId();
  try {
    const input = { action: "comfyui_workflow", workflow: graph, request_id: id, ...(await filesOf(sent)) };
    const { id: runId } = await withKey(() => api.run(input));
    beginRun({ job_id: id, runId, title: name, prompt: "" }, (error) => tell(error.message, { isBad: true }));
    follower.wake();
    announce("The job was accepted.");
    go(`#job/${id}`);
  } catch (error) {
    desk.patch({ trouble: error.message });
  }
}
