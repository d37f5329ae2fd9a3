/** The workflow that ComfyUI writes into the pictures that it saves. */

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

/** Return the text chunks of a PNG, by keyword; {} where it is none, or has none. */
export async function textsIn(buffer) {
  const bytes = new Uint8Array(buffer);
  if (!SIGNATURE.every((byte, index) => bytes[index] === byte)) return {};
  const view = new DataView(buffer);
  const texts = {};
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const data = bytes.subarray(at + 8, at + 8 + length);
    if (kind === "tEXt" || kind === "iTXt") Object.assign(texts, textOf(kind, data));
    if (kind === "IEND") break;
    at += length + 12;
  }
  return texts;
}

function textOf(kind, data) {
  const end = data.indexOf(0);
  if (end < 0) return {};
  const keyword = latin(data.subarray(0, end));
  if (kind === "tEXt") return { [keyword]: latin(data.subarray(end + 1)) };
  // iTXt: compressed or not, the method, then a language and a translated keyword, each with a zero behind it.
  if (data[end + 1] !== 0) return {};
  const translated = data.indexOf(0, end + 3);
  const start = data.indexOf(0, translated + 1);
  return { [keyword]: new TextDecoder().decode(data.subarray(start + 1)) };
}

const latin = (bytes) => new TextDecoder("latin1").decode(bytes);
