/** What the inputs of a graph may be, as the ComfyUI server or the folders of the models have told. Pure. */

const LACKS = {
  server: "The ComfyUI server does not have this here. Choose another one.",
  folders: "There is no such file in the folders of the models.",
  nothing: "The ComfyUI server has nothing that could be chosen here.",
};

/** A graph that was saved on Windows has other slashes. */
const plain = (value) => (typeof value === "string" ? value.replaceAll("\\", "/") : value);

/**
 * Return the choices of a node's input: its `values`, `at` which of them its own is (-1: none), what is wrong with that,
 * and whether others may be written; null where nobody knows any. *known* is what `comfyui_models` says of classes.
 */
export function choicesOf(node, name, { source, choices = {} }) {
  const isSo = ([other, value]) => node.inputs[other] === value;
  const row = choices[node.class_type]?.find(({ input, when = {} }) => input === name && Object.entries(when).every(isSo));
  // A node whose author writes the choices has them in inputs of its own, as CustomCombo.
  if (!row || (!row.choices.length && Object.keys(node.inputs).some((each) => each.startsWith("option")))) return null;
  const own = node.inputs[name];
  const here = row.choices.indexOf(own);
  const at = here < 0 ? row.choices.findIndex((each) => plain(each) === plain(own)) : here;
  const isFree = Boolean(row.others) || source !== "server" || !row.choices.length;
  return { values: row.choices, at, isFree, trouble: at < 0 && !row.others ? LACKS[row.choices.length ? source : "nothing"] : "" };
}
