// One owner's mentee, whole: it answers, stores samples, learns as a transaction that the guard decides, and can go back.

import type { Bundle } from "../bundle/bundle.js";
import type { Runtime, SessionOptions } from "../learner/runtime.js";
import type { Migrated } from "../relocate/migrate.js";
import type { Storage } from "../storage/storage.js";
import { imported, migrated, opened, type Importing, type Migrating, type Opened } from "./opening.js";
import { Relocating } from "./rooms/relocating.js";

/** The mentee of a bundle as this owner's storage has it. One program at a time; call one method at a time. */
export class Owner extends Relocating {
  private constructor(opened: Opened) {
    super(opened);
  }

  /** Throws BundleError, StateError. */
  static async open(bundle: Bundle, runtime: Runtime, storage: Storage, options: SessionOptions = {}): Promise<Owner> {
    return new Owner(await opened(bundle, runtime, storage, options));
  }

  /** What `exportState` gave on another device, or the Python program's `export-state`: goes on here as it would have there. `storage`
   * is empty, or with `replace` holds a state, which goes for good. A program that dies on the way leaves what was there. Throws
   * BundleError, and StateError for a file that does not fit. */
  static async importState(
    file: Uint8Array,
    bundle: Bundle,
    runtime: Runtime,
    storage: Storage,
    importing: Importing = {},
  ): Promise<Owner> {
    return new Owner(await imported(file, bundle, runtime, storage, importing));
  }

  /** An app update: the state in `storage`, of an older bundle, becomes one of `bundle`, with what was learnt where that helps; the
   * older bundle is not needed, and no Owner may be open on the storage. Until the last write the old bundle's state is there, as it
   * was. `steps` of the replay: by default as many as were learnt. Throws StateError, LearningError, BundleError. */
  static async migrate(
    bundle: Bundle,
    runtime: Runtime,
    storage: Storage,
    migrating: Migrating = {},
  ): Promise<{ readonly owner: Owner; readonly migrated: Migrated }> {
    const found = await migrated(bundle, runtime, storage, migrating);
    return { owner: new Owner(found), migrated: found.migrated };
  }
}
