/** The first picture of a video: chosen, dropped or pasted; shown; removed. */

const byId = (id) => document.getElementById(id);

export class PictureField extends EventTarget {
  #file = null;
  #input = byId("image");
  #shown = byId("picture-preview");

  constructor() {
    super();
    this.#input.addEventListener("change", () => this.#input.files[0] && this.take(this.#input.files[0]));
    byId("picture-remove").addEventListener("click", () => {
      this.clear();
      this.#input.focus();
    });
    document.addEventListener("paste", (event) => this.#takeFirst(event, event.clipboardData));
    this.#listenForDrops(byId("drop"));
  }

  get file() {
    return this.#file;
  }

  /** Show *file* and keep it; anything but a picture that this browser can show is refused with a text. */
  async take(file) {
    this.clear();
    const url = URL.createObjectURL(file);
    this.#shown.src = url;
    try {
      await this.#shown.decode();
    } catch {
      this.clear();
      byId("image-error").textContent = `${file.name} is not a picture that this browser can read.`;
      return;
    }
    if (this.#shown.src !== url) return;
    this.#file = file;
    byId("picture-name").textContent = `${file.name}, ${this.#shown.naturalWidth} × ${this.#shown.naturalHeight}`;
    this.#show();
  }

  clear() {
    if (this.#shown.src) URL.revokeObjectURL(this.#shown.src);
    this.#shown.removeAttribute("src");
    this.#file = null;
    this.#input.value = "";
    byId("image-error").textContent = "";
    this.#show();
  }

  #show() {
    byId("picture").hidden = !this.#file;
    byId("drop-hint").hidden = Boolean(this.#file);
    this.dispatchEvent(new CustomEvent("change", { detail: Boolean(this.#file) }));
  }

  #takeFirst(event, transfer) {
    const file = transfer?.files[0];
    if (!file) return;
    event.preventDefault();
    this.take(file);
  }

  /** The whole page refuses files, so that one dropped beside the field does not replace the page. */
  #listenForDrops(zone) {
    for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
      document.addEventListener(name, (event) => {
        event.preventDefault();
        zone.classList.toggle("over", name !== "drop" && name !== "dragleave" && zone.contains(event.target));
      });
    }
    zone.addEventListener("drop", (event) => this.#takeFirst(event, event.dataTransfer));
  }
}
