// A mentee's way to another device of its owner, and what such a device learnt.

import { closeAnswers } from "../../online/answers.js";
import { filled, readState } from "../../portable/reading.js";
import { writeState } from "../../portable/writing.js";
import { merge, type Merged } from "../../relocate/merge.js";
import { MemoryStorage } from "../../storage/memory.js";
import { Labelling } from "./labelling.js";

export class Relocating extends Labelling {
  /** All of it as one file, for `importState`, the Python program's `import-state` or `merge` on another of the owner's devices;
   * encrypted under `key`, 32 random bytes, where there is one. docs/device-state.md has its format. */
  async exportState(key?: Uint8Array): Promise<Uint8Array> {
    this.runs.requireRest();
    await closeAnswers(this.state, this.learner);
    return writeState(this.state, this.bundle.manifest, key ?? null);
  }

  /** Takes in what another device of this owner exported: docs/device.md, "Several devices of one owner". `key`: of an encrypted file.
   * Throws StateError, LearningError; nothing is changed then. */
  async merge(file: Uint8Array, key?: Uint8Array): Promise<Merged> {
    this.runs.requireRest();
    const { manifest } = this.bundle;
    const found = await readState(file, manifest, key ?? null);
    const theirs = await filled(new MemoryStorage(), manifest, found, null);
    return this.moved(async () => {
      try {
        return await merge(this.state, this.learner, theirs);
      } finally {
        this.learner.name(this.state.now.names);
        await this.runs.goToCurrent();
      }
    });
  }
}
