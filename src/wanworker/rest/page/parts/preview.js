/** What a chosen file looks or sounds like. */

import { html, useAddress } from "./hooks.js";

export function Preview({ file, kind, label }) {
  const address = useAddress(file);
  if (!address) return null;
  if (kind === "image") return html`<img src=${address} alt=${`${label}: ${file.name}`} />`;
  if (kind === "audio") return html`<audio src=${address} controls aria-label=${label}></audio>`;
  return html`<video src=${address} muted loop playsinline controls aria-label=${label}></video>`;
}
