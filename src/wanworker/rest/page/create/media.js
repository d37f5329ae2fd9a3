/** The files that a video is made of: a tile for each, with its preview, to drop on, paste into or choose with. */

import { useCell } from "../core/cells.js";
import { tables } from "../core/tables.js";
import { bytes } from "../core/words.js";
import { DropZone } from "../parts/controls.js";
import { html, useEffect, useState } from "../parts/hooks.js";
import { Icon } from "../parts/icons.js";
import { Preview } from "../parts/preview.js";
import { choose, draft, files, trouble } from "./desk.js";
import { FILES, MODES } from "./presets.js";

/** A tile has room for no longer name of a file beside what is wrong with it. */
const MOST_CHARS = 24;

export function MediaTiles() {
  const { mode } = useCell(draft);
  const chosen = useCell(files);
  const { fields } = useCell(trouble);
  const names = MODES[mode].files;
  useEffect(() => listenForPaste(names), [mode]);
  if (!names.length) return null;
  return html`<div class="tiles">
    ${names.map((name) => html`<${Tile} key=${name} name=${name} file=${chosen[name]} error=${fields[name]} />`)}
  </div>`;
}

function Tile({ name, file, error }) {
  const { label, accept, kind } = FILES[name];
  const [refusal, setRefusal] = useState("");
  const take = async (given) => {
    const text = await refusalOf(given, kind);
    setRefusal(text);
    if (!text) choose(name, given);
  };
  if (!file) {
    const icon = { image: "image", audio: "sound", video: "film" }[kind];
    return html`<${DropZone} accept=${accept} label=${label} hint="Drop, paste or choose" icon=${icon} name=${name}
      error=${refusal || error} onFile=${take} className="tile" />`;
  }
  return html`<figure class="tile filled" data-name=${name}>
    <${Preview} file=${file} kind=${kind} label=${label} />
    <figcaption>${file.name}</figcaption>
    <button type="button" class="round small-round" aria-label=${`Remove: ${label}`} onClick=${() => choose(name, null)}>
      <${Icon} name="close" />
    </button>
    <p class="error">${error}</p>
  </figure>`;
}

/** Say why *file* cannot be taken, or "". The browser must read a picture to show it; the server reads more kinds. */
async function refusalOf(file, kind) {
  const most = tables.file_bytes;
  const name = file.name.length > MOST_CHARS ? `${file.name.slice(0, MOST_CHARS - 8)}…${file.name.slice(-7)}` : file.name;
  if (file.size > most) return `${name} has ${bytes(file.size)}; the server takes at most ${bytes(most)}.`;
  if (kind !== "image") {
    return file.type && !file.type.startsWith(`${kind}/`) ? `${name} is not a ${kind === "audio" ? "sound" : "video"}.` : "";
  }
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await image.decode();
    return "";
  } catch {
    return `${name} is not a picture that this browser can read.`;
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

/** A picture that is pasted anywhere goes into the first tile for one that is empty, else replaces the first. */
function listenForPaste(names) {
  const pictures = names.filter((name) => FILES[name].kind === "image");
  const paste = async (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (!file || !pictures.length) return;
    event.preventDefault();
    const name = pictures.find((each) => !files.value[each]) ?? pictures[0];
    if (!(await refusalOf(file, "image"))) choose(name, file);
  };
  document.addEventListener("paste", paste);
  return () => document.removeEventListener("paste", paste);
}
