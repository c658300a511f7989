// Observes what is normal for this owner, as embeddings under the base, which learning does not move.

import { Normal, type Judged, type Watch } from "./normal.js";
import { SampleError, type Input } from "../bundle/preprocess.js";
import type { Learner } from "../learner/learner.js";
import { StateError, type State } from "../owner/state.js";
import { BASE } from "../owner/versions.js";

export class Monitor {
  constructor(
    private readonly state: State,
    private readonly learner: Learner,
  ) {}

  /** Takes samples in as normal, until the watch's period ends; how many. `watch` begins anew; `now` in seconds. */
  async observe(input: Input, watch?: Watch, now?: number): Promise<number> {
    const embedding = await this.embed(input);
    const normal = watch === undefined ? await this.normal() : Normal.begun(watch, await this.size());
    const was = normal.observing;
    const taken = normal.observe(embedding, now ?? (normal.seconds === null ? null : Date.now() / 1000));
    await this.put(
      normal,
      was && !normal.observing ? "observing has ended" : watch === undefined ? "" : "observing what is normal",
    );
    return taken;
  }

  /** Flags what deviates; changes nothing. */
  async judge(input: Input): Promise<Judged> {
    return (await this.normal()).judge(await this.embed(input));
  }

  /** Ends observing now, or observes for one more period. */
  async set(observing: boolean): Promise<void> {
    const normal = await this.normal();
    if (observing) normal.resume();
    else normal.freeze();
    await this.put(normal, observing ? "observing again" : "observing has ended");
  }

  /** Deletes what was observed. */
  async stop(): Promise<void> {
    await this.state.change({ watch: null }, "watch", "what was observed is deleted");
  }

  private async normal(): Promise<Normal> {
    const { watch } = this.state.now;
    if (watch === null) throw new SampleError("nothing was observed yet: observe normal samples first");
    const content = await this.state.get(watch.stored);
    if (content === null) throw new StateError("what was observed is damaged: stop, then observe anew");
    return Normal.from(watch, new Float32Array(content.slice().buffer));
  }

  private async put(normal: Normal, text: string): Promise<void> {
    const stored = await this.state.put("watch", new Uint8Array(normal.embeddings.buffer));
    await this.state.change({ watch: { ...normal.state, stored } }, "watch", text);
  }

  private async size(): Promise<number> {
    const { input, labels } = await this.learner.bundle.golden();
    return (await this.learner.predict(input.subarray(0, input.length / labels.length))).embedding.length;
  }

  /** Under the base; the learner ends as it was. */
  private async embed(input: Input): Promise<Float32Array> {
    if (this.state.now.current === BASE) return (await this.learner.predict(input)).embedding;
    const now = await this.learner.snapshot();
    try {
      this.learner.reset();
      return (await this.learner.predict(input)).embedding;
    } finally {
      this.learner.restore(now);
    }
  }
}
