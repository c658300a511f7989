// The part of a base that must outlive its bundle: an app update replaces the bundle before the state migrates to the new one.

import type { Learner } from "../learner/learner.js";
import { writeSnapshot } from "../learner/snapshot.js";
import type { StoredBase } from "./record.js";
import type { State } from "./state.js";

/** Of `learner`'s bundle; the learner ends at its base. */
export async function storedBase(state: State, learner: Learner): Promise<StoredBase> {
  learner.reset();
  const { classes, preprocessing, head } = learner.bundle.manifest;
  const whole = await learner.snapshot();
  const kept = [...whole.state.vectors].filter(([name]) => name === "parameters" || name === "statistics");
  const snapshot = { ...whole, state: { ...whole.state, vectors: new Map(kept) } };
  return { classes, preprocessing, head, parameters: await state.put("base", await writeSnapshot(snapshot)) };
}
