// A state and the learner that goes with it: opened, made of a file that travelled, or moved to a newer bundle.

import type { Bundle } from "../bundle/bundle.js";
import { Learner } from "../learner/learner.js";
import type { Runtime, SessionOptions } from "../learner/runtime.js";
import { filled, readState } from "../portable/reading.js";
import { migrate, type Migrated } from "../relocate/migrate.js";
import type { Storage } from "../storage/storage.js";
import { storedBase } from "./base.js";
import { carried } from "./class-names.js";
import { Runs, type Running } from "./runs/runs.js";
import { State, StateError } from "./state.js";

/** `key`: 32 bytes that the file is encrypted with; `replace`: in place of the state that the storage holds. */
export interface Importing extends SessionOptions {
  readonly key?: Uint8Array;
  readonly replace?: boolean;
}

export interface Migrating extends SessionOptions {
  readonly steps?: number;
  readonly onProgress?: NonNullable<Running["onProgress"]>;
}

/** The learner is the version that answers. */
export interface Opened {
  readonly learner: Learner;
  readonly state: State;
  readonly runs: Runs;
}

/** See `Owner.open`. */
export async function opened(
  bundle: Bundle,
  runtime: Runtime,
  storage: Storage,
  options: SessionOptions,
): Promise<Opened> {
  return begun(await Learner.open(bundle, runtime, options), () => State.open(storage, bundle.manifest.id));
}

/** See `Owner.importState`. */
export async function imported(
  file: Uint8Array,
  bundle: Bundle,
  runtime: Runtime,
  storage: Storage,
  { key, replace = false, ...options }: Importing,
): Promise<Opened> {
  const found = await readState(file, bundle.manifest, key ?? null);
  const held = await State.held(storage);
  if (held !== null && !replace) {
    throw new StateError(
      `the storage is not empty, it holds ${held}: give an empty one, or replace it (replace: true)`,
    );
  }
  return begun(await Learner.open(bundle, runtime, options), () => filled(storage, bundle.manifest, found, held));
}

/** See `Owner.migrate`. */
export async function migrated(
  bundle: Bundle,
  runtime: Runtime,
  storage: Storage,
  { steps, onProgress, ...options }: Migrating,
): Promise<Opened & { readonly migrated: Migrated }> {
  const state = await State.open(storage, null);
  const learner = await Learner.open(bundle, runtime, options);
  let result: Migrated | undefined;
  const found = await begun(learner, async () => {
    learner.name(carried(state.now, bundle.manifest));
    result = await migrate(state, learner, onProgress === undefined ? {} : { onProgress }, steps);
    return state;
  });
  return { ...found, migrated: result as Migrated };
}

/** `learner` is closed where that fails. */
async function begun(learner: Learner, find: () => Promise<State>): Promise<Opened> {
  try {
    const state = await find();
    learner.name(state.now.names);
    if (state.now.base === null) await state.change({ base: await storedBase(state, learner) }, "base");
    const runs = new Runs(learner, state);
    await runs.goToCurrent();
    return { learner, state, runs };
  } catch (error) {
    await learner.close();
    throw error;
  }
}
