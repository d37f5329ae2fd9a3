/** What can be asked for: tasks, models, shapes, sizes and lengths. Pure. */

/** What a video begins with. `files` are the files that it takes, in their order. */
export const MODES = {
  text: { label: "Text", icon: "text", files: [], models: ["5B", "A14B"] },
  picture: { label: "Picture", icon: "image", files: ["image"], models: ["5B", "A14B"] },
  pair: { label: "First & last", icon: "pair", files: ["image", "last_image"], models: ["A14B"] },
  sound: { label: "Sound", icon: "sound", files: ["image", "audio"], models: ["S2V"] },
  motion: { label: "Motion", icon: "motion", files: ["image", "driving_video"], models: ["Animate"] },
};

export const MODELS = {
  "5B": { label: "Wan 2.2 5B", note: "24 frames a second, one model" },
  A14B: { label: "Wan 2.2 A14B", note: "16 frames a second, two experts" },
  S2V: { label: "Wan 2.2 S2V 14B", note: "lips and gestures follow a sound" },
  Animate: { label: "Wan 2.2 Animate 14B", note: "a figure follows a film" },
};

export const FILES = {
  image: { label: "First picture", wanted: "Choose the first picture.", accept: "image/*", kind: "image", field: "reference_image" },
  last_image: { label: "Last picture", wanted: "Choose the last picture.", accept: "image/*", kind: "image", field: "last_image" },
  audio: { label: "Sound", wanted: "Choose a sound.", accept: "audio/*", kind: "audio", field: "audio" },
  driving_video: { label: "Film to follow", wanted: "Choose a film.", accept: "video/*", kind: "video", field: "driving_video" },
};

export const SHAPES = { wide: "Wide", square: "Square", tall: "Tall" };

export const SECONDS = [2, 3, 5];

const SIZES = {
  "480p": { wide: [832, 480], square: [624, 624], tall: [480, 832] },
  "720p": { wide: [1280, 720], square: [960, 960], tall: [720, 1280] },
};

/** The 5B takes multiples of 32 only. */
const SIZES_5B = {
  "480p": { wide: [832, 480], square: [640, 640], tall: [480, 832] },
  "720p": { wide: [1280, 704], square: [960, 960], tall: [704, 1280] },
};

export const RESOLUTIONS = Object.keys(SIZES);

const RATES = { "5B": 24, A14B: 16, S2V: 16, Animate: 30 };

export function taskOf({ mode, model }) {
  if (mode === "sound") return "s2v-14B";
  if (mode === "motion") return "animate-14B";
  if (mode === "pair") return "i2v-A14B";
  return modelOf({ mode, model }) === "5B" ? "ti2v-5B" : mode === "text" ? "t2v-A14B" : "i2v-A14B";
}

/** The model that a mode takes: the chosen one where it can. */
export const modelOf = ({ mode, model }) => (MODES[mode].models.includes(model) ? model : MODES[mode].models[0]);

/** [width, height] of a preset. */
export function sizeOf(draft) {
  const sizes = modelOf(draft) === "5B" ? SIZES_5B : SIZES;
  return sizes[draft.resolution][draft.shape];
}

export const rateOf = (draft) => RATES[modelOf(draft)];

/** Whole steps of four frames and one, as Wan renders them. */
export const framesOf = (draft) => Math.round((draft.seconds * rateOf(draft)) / 4) * 4 + 1;

/** A sound or a film decides the length by itself. */
export const hasLength = ({ mode }) => mode !== "sound" && mode !== "motion";

export const hasPicture = ({ mode }) => MODES[mode].files.includes("image");

export const EXAMPLES = {
  mini: {
    title: "The miniature knows simple shapes, colours, motions and places.",
    prompts: [
      "a red star moves to the right over a green field",
      "a big blue ball bounces on a wooden floor",
      "a yellow heart above a purple square, both slide to the left in the snow",
      "a blue square under a yellow star at night",
    ],
  },
  any: {
    title: "Describe a subject, what it does, and the light.",
    prompts: [
      "A boldly colored ladybug moves along a verdant leaf to drink from a water droplet.",
      "A beautiful sunset over mountains with clouds moving",
      "A cat playing with a ball of yarn in slow motion",
    ],
  },
};
