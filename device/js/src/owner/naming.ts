// What an owner does with the names of classes: gives one to a spare class, or takes a class away with all that it taught.

import { SampleError } from "../bundle/preprocess.js";
import type { Learner } from "../learner/learner.js";
import { named, renamed } from "./class-names.js";
import type { Recognition } from "./recognition.js";
import type { Running, Runs } from "./runs/runs.js";
import { ofClass, unlearnSamples, type Unlearned } from "./runs/unlearn.js";
import type { State } from "./state.js";

/** See `Owner.nameClass`. */
export async function nameClass(state: State, learner: Learner, name: string, number?: number): Promise<number> {
  const { manifest } = learner.bundle;
  const [place, names] = named(manifest, name, number);
  if (names === manifest.names) return place;
  await state.change(renamed(state.now, manifest, names), "class", `class ${place} is called ${JSON.stringify(name)}`);
  learner.name(names);
  return place;
}

/** See `Owner.removeClass`. */
export async function removeClass(
  state: State,
  learner: Learner,
  runs: Runs,
  recognition: Recognition,
  name: string,
  running: Running,
): Promise<Unlearned> {
  const { manifest } = learner.bundle;
  const gone = ofClass(state, manifest.classes, name);
  if (state.now.enrolled.some((one) => one.name === name)) await recognition.remove(name);
  else if (!gone.size && !manifest.classes.includes(name))
    throw new SampleError(`there is no class ${JSON.stringify(name)}, nothing was removed`);
  const left = Object.entries(manifest.names).filter(([, given]) => given !== name);
  const also = renamed(state.now, manifest, Object.fromEntries(left));
  const lostNames = state.now.lostNames.filter((one) => one !== name);
  try {
    return await unlearnSamples(state, runs, gone, running, { ...also, lostNames });
  } finally {
    learner.name(state.now.names);
  }
}
