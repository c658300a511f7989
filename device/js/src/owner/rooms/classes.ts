// Names of the classes: the bundle's, and those that the owner gave to its spare ones.

import { nameClass, removeClass } from "../naming.js";
import type { Running } from "../runs/runs.js";
import type { Unlearned } from "../runs/unlearn.js";
import { Answering } from "./answering.js";

export class Classes extends Answering {
  /** Names by number, those that the owner gave among them; a spare class without one has the bundle's name. */
  get classes(): readonly string[] {
    return this.bundle.manifest.classes;
  }

  /** Names a spare class of the bundle, which from then on can be learnt and answered; its number, for labels. A name that one has
   * already gives that one's. `number`: another name for that spare class. Throws SampleError. */
  async nameClass(name: string, number?: number): Promise<number> {
    this.runs.requireRest();
    return nameClass(this.state, this.learner, name, number);
  }

  /** Unlearns every sample of a class, those set aside among them, removes what was enrolled of it, and frees the spare class that
   * has this name: nothing answers it, and another class may have it. */
  async removeClass(name: string, running: Running = {}): Promise<Unlearned> {
    return this.moved(() => removeClass(this.state, this.learner, this.runs, this.recognition, name, running));
  }
}
