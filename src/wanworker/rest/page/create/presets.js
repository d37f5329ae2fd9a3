/** What can be asked for: the server's tables, with the page's own words for what they name. */

import { tables } from "../core/tables.js";

const MODE_WORDS = {
  text: { label: "Text", icon: "text" },
  picture: { label: "Picture", icon: "image" },
  pair: { label: "First & last", icon: "pair" },
  sound: { label: "Sound", icon: "sound" },
  motion: { label: "Motion", icon: "motion" },
};

/** What a video begins with: each mode's words, the files that it takes in their order, and its tasks. */
export const MODES = Object.fromEntries(
  Object.entries(tables.modes).map(([mode, table]) => [mode, { ...MODE_WORDS[mode], ...table }]),
);

export const FILES = {
  image: { label: "First picture", wanted: "Choose the first picture.", accept: "image/*", kind: "image", field: "reference_image" },
  last_image: { label: "Last picture", wanted: "Choose the last picture.", accept: "image/*", kind: "image", field: "last_image" },
  audio: { label: "Sound", wanted: "Choose a sound.", accept: "audio/*", kind: "audio", field: "audio" },
  driving_video: { label: "Video to follow", wanted: "Choose a video.", accept: "video/*", kind: "video", field: "driving_video" },
};

export const SHAPES = { wide: "Wide", square: "Square", tall: "Tall" };

/** The task of a draft: that of the chosen family of models, where the mode has one. */
export function taskOf({ mode, model }) {
  const { tasks } = MODES[mode];
  return tasks.find((task) => familyOf(task) === model) ?? tasks[0];
}

export const familyOf = (task) => tables.tasks[task].family;

const tableOf = (draft) => tables.tasks[taskOf(draft)];

export const resolutionsOf = (draft) => Object.keys(tableOf(draft).sizes);

/** [width, height] of a preset. */
export const sizeOf = (draft) => tableOf(draft).sizes[draft.resolution][draft.shape];

export const rateOf = (draft) => tableOf(draft).fps;

/** The frames of a preset; null where a sound or a film decides. */
export const framesOf = (draft) => tableOf(draft).frames?.[draft.seconds] ?? null;

/** A sound or a film decides the length by itself. */
export const hasLength = (draft) => framesOf(draft) !== null;

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
