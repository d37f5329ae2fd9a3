/** ComfyUI's graphs: which format a document has, what can be set in it, and what is wrong with it. Pure. */

import { choicesOf } from "./choices.js";

/** Nodes whose inputs are what people set, in this order; others follow, folded. */
const FIRST = [/^LoadImage/, /^LoadAudio|^LoadVideo/, /TextEncode/, /Latent|ImageToVideo|ToVideo/, /Sampler|Noise|Scheduler/, /Save|CreateVideo/];

/** Return {graph, kind} of a document: "api" (ready to run), "ui" (as the browser saves it). Raises with a text. */
export function read(document) {
  const found = document?.prompt ?? document?.workflow ?? document;
  if (typeof found !== "object" || found === null) throw new Error("This is JSON, but no ComfyUI workflow.");
  if (Array.isArray(found.nodes)) return { graph: found, kind: "ui" };
  const nodes = Object.values(found);
  if (nodes.length && nodes.every((node) => typeof node?.class_type === "string")) return { graph: found, kind: "api" };
  throw new Error("This is JSON, but no ComfyUI workflow: it has neither nodes nor class_type.");
}

export const countOf = (graph) => (Array.isArray(graph.nodes) ? graph.nodes.length : Object.keys(graph).length);

/** The nodes that have something to set: {id, title, class_type, isFirst, inputs: [{name, value, kind, choices}]} each. */
export function settable(graph, known) {
  const nodes = Object.entries(graph).map(([id, node]) => ({
    id,
    title: node._meta?.title ?? node.class_type,
    class_type: node.class_type,
    rank: FIRST.findIndex((pattern) => pattern.test(node.class_type)),
    inputs: Object.entries(node.inputs ?? {}).flatMap(([name, value]) => inputOf(node, name, value, known)),
  }));
  const shown = nodes.filter(({ inputs }) => inputs.length);
  const order = ({ rank }) => (rank < 0 ? FIRST.length : rank);
  return shown.sort((one, other) => order(one) - order(other)).map((node) => ({ ...node, isFirst: node.rank >= 0 }));
}

function inputOf(node, name, value, known) {
  if (Array.isArray(value) || (typeof value === "object" && value !== null)) return []; // a link to another node
  const file = fileKind(node.class_type, name);
  if (file) return [{ name, value, kind: file }];
  const kind = typeof value === "string" && (value.length > 60 || /text|prompt/.test(name)) ? "text" : typeof value;
  return [{ name, value, kind, choices: choicesOf(node, name, known) }];
}

function fileKind(classType, name) {
  if (/^LoadImage/.test(classType) && name === "image") return "image";
  if (/^LoadAudio/.test(classType) && name === "audio") return "audio";
  return /LoadVideo/.test(classType) && (name === "file" || name === "video") ? "video" : null;
}

/** Return the graph with one input set. */
export function withInput(graph, id, name, value) {
  const node = graph[id];
  return { ...graph, [id]: { ...node, inputs: { ...node.inputs, [name]: value } } };
}

/** Cut the server's refusal into problems: {node, text} each; node is null for what concerns the whole graph. */
export function problemsIn(text, hint = "") {
  const words = text.replace(/^The graph cannot run: /, "").replace(/\.$/, "");
  const parts = words.split(/; (?=node [^;]*?:|no output node)|\. Its other nodes cannot run either: /);
  const problems = parts.map((part) => {
    const [, node, place, said] = /^node (\S+?)( \([^)]*\))?(?:,| *:)/.exec(part) ? placeIn(part) : [null, null, "", part];
    return { node, place, text: said };
  });
  const named = /node (\S+) \(([^)]*)\), input '([^']*)'/.exec(hint);
  if (problems.length === 1 && !problems[0].node && named) {
    return [{ node: named[1], place: `${named[2]}, ${named[3]}`, text: `${words}. ${hint}` }];
  }
  return problems;
}

function placeIn(part) {
  const found = /^node (\S+?)(?: \(([^)]*)\))?(?:, input '([^']*)')?: (.*)$/s.exec(part);
  return found ? [part, found[1], [found[2], found[3]].filter(Boolean).join(", "), found[4]] : [part, null, "", part];
}
