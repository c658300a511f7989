// Answers: the mentee's own, those of what was enrolled, and whether a sample is normal. No step of training is taken here.

import type { Judged, Watch } from "../../anomaly/normal.js";
import { unnamedOf } from "../../bundle/manifest/spare.js";
import { requireScale, type Input } from "../../bundle/preprocess.js";
import { answer, softmax, type Answers } from "../../guard/answers.js";
import type { Prediction } from "../../learner/learner.js";
import type { Recognised } from "../../prototypes/enrolment.js";
import { OpenedOwner } from "./opened.js";

export class Answering extends OpenedOwner {
  /** `input` of N samples, behind the rails of the settings. Throws SampleError. */
  async predict(input: Input): Promise<Answers & Pick<Prediction, "logits" | "embedding">> {
    this.runs.requireRest();
    requireScale(input, this.bundle.manifest.preprocessing);
    const { logits, embedding } = await this.learner.predict(input);
    const { manifest } = this.bundle;
    const K = manifest.classes.length;
    const { blocked, confidenceFloor } = this.settings;
    const places = new Set([...blocked.map((name) => manifest.classes.indexOf(name)), ...unnamedOf(manifest)]);
    return { ...answer(softmax(logits, K), K, places, confidenceFloor), logits, embedding };
  }

  /** Enrols samples of a class, of the bundle's or a new one, for `recognise`; their numbers. No step of training. */
  async enrol(name: string, input: Input): Promise<number[]> {
    this.runs.requireRest();
    return this.recognition.enrol(name, input);
  }

  /** Removes an enrolled class, and every sample of it. */
  async removeEnrolled(name: string): Promise<void> {
    this.runs.requireRest();
    return this.recognition.remove(name);
  }

  /** Among the bundle's and the enrolled classes, by embedding and the mentee's own answer, behind the rails of the settings;
   * `floor`: the cosine below which the answer is "don't know". */
  async recognise(input: Input, floor = -1): Promise<Recognised> {
    this.runs.requireRest();
    return this.recognition.recognise(input, floor);
  }

  /** Takes samples in as normal, until the watch's period ends; how many. `watch` begins anew; `now` in seconds, by default the
   * clock's. Embeddings are the base's, which learning does not move. Throws SampleError. */
  async observe(input: Input, watch?: Watch, now?: number): Promise<number> {
    this.runs.requireRest();
    requireScale(input, this.bundle.manifest.preprocessing);
    return this.monitor.observe(input, watch, now);
  }

  /** Flags samples that deviate from what was observed, by their distance to it. Throws SampleError. */
  async anomaly(input: Input): Promise<Judged> {
    this.runs.requireRest();
    requireScale(input, this.bundle.manifest.preprocessing);
    return this.monitor.judge(input);
  }

  /** Ends observing now (false), or observes for one more period. */
  async setObserving(observing: boolean): Promise<void> {
    this.runs.requireRest();
    await this.monitor.set(observing);
  }

  /** Deletes what was observed. */
  async stopObserving(): Promise<void> {
    this.runs.requireRest();
    await this.monitor.stop();
  }
}
