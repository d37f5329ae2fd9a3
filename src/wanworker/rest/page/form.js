/** The form: ranges and defaults from the server's schema, checks, errors beside their fields, sending. */

import * as api from "./api.js";
import { addErrorLine, complaint, describe, plain, setError } from "./fields.js";
import { PictureField } from "./picture.js";
import { duration } from "./words.js";

const byId = (id) => document.getElementById(id);

const EXAMPLES = {
  mini: {
    title: "The miniature knows simple shapes, colours, motions and places, of one thing or two. Try one:",
    prompts: [
      "a red star moves to the right over a green field",
      "a big blue ball bounces on a wooden floor",
      "a yellow heart above a purple square, both slide to the left in the snow",
      "a blue square under a yellow star at night",
    ],
  },
  any: {
    title: "Try one:",
    prompts: [
      "A boldly colored ladybug moves along a verdant leaf to drink from a water droplet.",
      "A beautiful sunset over mountains with clouds moving",
      "A cat playing with a ball of yarn in slow motion",
    ],
  },
};

export class Form {
  #form = byId("form");
  #picture = new PictureField();
  #onSent;
  #isSending = false;
  #isWaiting = false;

  /** *onSent* gets the server's answer to each accepted request; *withKey* runs an action, asking for the key if need be. */
  constructor({ onSent, withKey }) {
    this.#onSent = onSent;
    this.#controls().forEach(addErrorLine);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(withKey);
    });
    this.#form.addEventListener("reset", () => setTimeout(() => this.#afterReset()));
    this.#form.addEventListener("input", (event) => this.#changed(event.target));
    this.#form.addEventListener("change", (event) => event.target.name && this.#check(event.target));
    this.#form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#form.requestSubmit();
    });
    byId("turn").addEventListener("click", () => this.#swapSize());
    this.#picture.addEventListener("change", (event) => this.#follow(event.detail));
  }

  /**
   * Take ranges and defaults from the schema of POST /generate. Defaults are shown, not filled in: a field that is
   * left out leaves the choice to the server, which knows what suits its engine and the picture.
   */
  describe(schema) {
    const { $ref } = schema.paths["/generate"].post.requestBody.content["application/json"].schema;
    const { properties } = schema.components.schemas[$ref.split("/").at(-1)];
    for (const control of this.#controls()) {
      if (properties[control.name]) describe(control, properties[control.name]);
    }
    byId("defaults-note").hidden = false;
    this.#changed(byId("cfg"));
  }

  /** Offer prompts that *engine* can draw. */
  suggest(engine) {
    const { title, prompts } = EXAMPLES[engine] ?? EXAMPLES.any;
    byId("examples-title").textContent = title;
    byId("examples-list").replaceChildren(...prompts.map((prompt) => this.#example(prompt)));
    byId("examples").hidden = false;
  }

  /** Fill in what is known of an earlier job. */
  repeat(job) {
    const { width, height, fps, frames } = job.video ?? {};
    const values = { ...job, ...(width ? { width, height, fps, length: frames } : {}) };
    for (const name of ["prompt", "negative_prompt", "seed", "width", "height", "length", "fps"]) {
      if (values[name] !== undefined && values[name] !== null) byId(name).value = values[name];
    }
    this.#changed(byId("cfg"));
    byId("prompt").focus();
  }

  async #send(withKey) {
    if (this.#isSending || this.#isWaiting) return;
    this.#clearErrors();
    const bad = this.#controls().filter((control) => !this.#check(control));
    if (bad.length) return bad[0].focus();
    this.#isSending = true;
    try {
      const answer = await withKey(() => api.generate(this.#fields(), this.#picture.file));
      this.#onSent({ ...answer, prompt: byId("prompt").value });
    } catch (error) {
      this.#show(error);
    } finally {
      this.#isSending = false;
    }
  }

  #fields() {
    const filled = this.#controls().filter((control) => control.value.trim() !== "");
    return Object.fromEntries(filled.map((control) => [control.name, plain(control)]));
  }

  #controls() {
    return [...this.#form.elements].filter((element) => element.name);
  }

  #changed(control) {
    if (control.name) setError(control, "");
    const negativeIsVain = byId("negative_prompt").value.trim() && shownValue("cfg") <= 1;
    byId("negative_prompt-note").hidden = !negativeIsVain;
    this.#noteClip();
  }

  #check(control) {
    const text = complaint(control);
    setError(control, text);
    return !text;
  }

  #noteClip() {
    const seconds = shownValue("length") / shownValue("fps");
    const isKnown = Number.isFinite(seconds) && seconds > 0;
    byId("clip-note").textContent = isKnown ? `Plays for ${duration(Math.round(seconds * 10) / 10)}.` : "";
  }

  /** Left empty, the size is the picture's own shape; a given one crops the picture. */
  #follow(hasPicture) {
    for (const name of ["width", "height"]) byId(name).placeholder = hasPicture ? "picture's" : byId(name).dataset.default;
    byId("image-note").textContent = hasPicture ? "The video takes the picture's shape, or crops it to the size that you give." : "";
  }

  #swapSize() {
    const [width, height] = ["width", "height"].map(shownValue);
    if (!width || !height) return;
    byId("width").value = height;
    byId("height").value = width;
    for (const name of ["width", "height"]) this.#check(byId(name));
  }

  #show(error) {
    const control = error.field && byId(error.field === "image_url" ? "image" : error.field);
    if (control?.form === this.#form) {
      setError(control, error.message);
      return control.focus();
    }
    byId("form-error").textContent = error.message;
    if (error.retryAfterS) this.#wait(error.retryAfterS);
  }

  /** Count down to when the server wants to be asked again. */
  #wait(seconds) {
    this.#isWaiting = seconds > 0;
    byId("render").textContent = this.#isWaiting ? `Render in ${seconds} s` : "Render";
    if (this.#isWaiting) setTimeout(() => this.#wait(seconds - 1), 1000);
    else byId("form-error").textContent = "";
  }

  #clearErrors() {
    byId("form-error").textContent = "";
    byId("image-error").textContent = "";
    for (const control of this.#controls()) setError(control, "");
  }

  #afterReset() {
    this.#picture.clear();
    this.#clearErrors();
    this.#changed(byId("cfg"));
  }

  #example(prompt) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = prompt;
    button.addEventListener("click", () => {
      byId("prompt").value = prompt;
      this.#changed(byId("prompt"));
      byId("render").focus();
    });
    item.append(button);
    return item;
  }
}

/** Return the number that holds for a field: its value, else its default; null where the server decides. */
function shownValue(name) {
  const { value, placeholder } = byId(name);
  return Number(value || placeholder) || null;
}
