// Classes by example: what an owner enrolled, under the version that answers.
//
// Axes: N samples, K classes, D embedding.

import { taughtOf } from "../bundle/manifest/spare.js";
import { SampleError, elementsOf, requireScale, samplesIn, type Input } from "../bundle/preprocess.js";
import { answer, columnsOf, softmax } from "../guard/answers.js";
import type { Learner } from "../learner/learner.js";
import { Enrolment, type Recognised } from "../prototypes/enrolment.js";
import { bytesOf, readInput } from "./samples.js";
import type { State } from "./state.js";

export class Recognition {
  private enrolment: Enrolment | null = null; // under the current version

  constructor(
    private readonly state: State,
    private readonly learner: Learner,
  ) {}

  /** Another version answers, or its classes have other names: what is enrolled is embedded anew on first use. */
  forget(): void {
    this.enrolment = null;
  }

  /** See `Owner.enrol`. */
  async enrol(name: string, input: Input): Promise<number[]> {
    const rules = this.learner.bundle.manifest.preprocessing;
    const N = samplesIn(input, rules);
    requireScale(input, rules);
    if (!N) throw new SampleError(`no sample to enrol as ${JSON.stringify(name)}: expected at least one`);
    const { next, enrolled } = this.state.now;
    const numbers = Array.from({ length: N }, (_, row) => next.enrolled + row);
    const enrolment = await this.now();
    this.enrolment = null; // of what is stored, should anything fail from here on
    enrolment.add(name, (await this.learner.predict(input)).embedding, numbers);
    const dtype = input instanceof Uint8Array ? "uint8" : "float32";
    const added = [];
    for (const [row, number] of numbers.entries()) {
      const piece = await this.state.put(`enrolled-${number}`, bytesOf(input, elementsOf(rules), row));
      added.push({ ...piece, number, name, dtype } as const);
    }
    const left = new Set(enrolment.numbers());
    const changes = {
      enrolled: [...enrolled, ...added].filter(({ number }) => left.has(number)),
      next: { ...next, enrolled: next.enrolled + N },
    };
    await this.state.change(changes, "enrol", `${N} samples were enrolled as ${JSON.stringify(name)}`);
    this.enrolment = enrolment;
    return numbers;
  }

  /** See `Owner.removeEnrolled`. */
  async remove(name: string): Promise<void> {
    const enrolled = this.state.now.enrolled.filter((one) => one.name !== name);
    await this.state.change({ enrolled }, "enrol", `the enrolled samples of ${JSON.stringify(name)} were removed`);
    this.enrolment = null;
  }

  /** See `Owner.recognise`. */
  async recognise(input: Input, floor: number): Promise<Recognised> {
    const { manifest } = this.learner.bundle;
    requireScale(input, manifest.preprocessing);
    const { logits, embedding } = await this.learner.predict(input);
    const K = manifest.classes.length - manifest.spare.length;
    const own = softmax(columnsOf(logits, manifest.classes.length, K), K);
    const near = (await this.now()).recognise(embedding, { floor, softmax: own });
    const { blocked, confidenceFloor } = this.state.now.settings;
    const places = new Set(blocked.map((name) => near.names.indexOf(name)));
    const railed = answer(near.probability, near.names.length, places, confidenceFloor);
    return { ...near, classes: near.classes.map((place, row) => (place < 0 ? place : (railed.classes[row] ?? -1))) };
  }

  /** The enrolled samples embedded anew where the version has changed. */
  private async now(): Promise<Enrolment> {
    if (this.enrolment !== null) return this.enrolment;
    const { samples } = await this.learner.supervision();
    const base = await this.learner.predict(samples.input);
    const enrolment = new Enrolment(taughtOf(this.learner.bundle.manifest), base.embedding, samples.labels);
    for (const one of this.state.now.enrolled) {
      const { embedding } = await this.learner.predict(await readInput(this.state, one));
      enrolment.add(one.name, embedding, [one.number]);
    }
    return (this.enrolment = enrolment);
  }
}
