/** One field of the form: its range and default, what is wrong with its value, and its error. */

const byId = (id) => document.getElementById(id);

/** Give *control* the range of its *property* and show its default; a nullable one has them in a branch of anyOf. */
export function describe(control, property) {
  const branch = property.anyOf?.find(({ type }) => type !== "null");
  const { type, minimum, maximum, maxLength, default: byDefault } = { ...branch, ...property };
  if (control.type === "number") {
    Object.assign(control, { min: minimum, max: maximum, step: type === "integer" ? 1 : "any" });
    const range = control.labels[0].querySelector("span") ?? control.labels[0].appendChild(document.createElement("span"));
    range.className = "range";
    range.textContent = `${minimum}–${maximum}`;
    control.placeholder = control.dataset.default = byDefault;
  }
  if (control.localName === "textarea") control.dataset.maxLength = maxLength;
}

/** Return what is wrong with a control's value, or "". */
export function complaint({ name, type, required, value, min, max, step, validity, dataset }) {
  const text = value.trim();
  if (required && !text) return "Describe what the video shows.";
  if (validity.badInput) return "This must be a number.";
  if (dataset.maxLength && text.length > dataset.maxLength) {
    return `At most ${dataset.maxLength} characters; these are ${text.length}.`;
  }
  if (name === "seed" && text && !/^-?\d+$/.test(text)) return "A whole number, or empty.";
  if (type !== "number" || !text) return "";
  if ((min && Number(text) < Number(min)) || (max && Number(text) > Number(max))) return `From ${min} to ${max}.`;
  return step === "1" && !Number.isInteger(Number(text)) ? "A whole number." : "";
}

/** Make the place for a control's error, and let the control be described by it. */
export function addErrorLine(control) {
  const line = document.createElement("p");
  line.className = "error";
  line.id = `${control.id}-error`;
  control.after(line);
  control.setAttribute("aria-describedby", `${control.getAttribute("aria-describedby") ?? ""} ${line.id}`.trim());
}

export function setError(control, text) {
  byId(`${control.id}-error`).textContent = text;
  if (text) control.setAttribute("aria-invalid", "true");
  else control.removeAttribute("aria-invalid");
}

/** Return a value as JSON takes it. A seed beyond JavaScript's whole numbers stays text, so as to stay exact. */
export function plain({ name, type, value }) {
  const number = Number(value);
  return type === "number" || (name === "seed" && Number.isSafeInteger(number)) ? number : value;
}
