// The inputs of the training and eval graph, declared once: the manifest is checked against them and a batch is fed by them.

export const KNOBS = ["alpha", "beta", "gamma", "temperature"] as const;
export type Knob = (typeof KNOBS)[number];

/** α β γ T of the bundle's loss, by default `α·CE + β·Σ RMSE + γ·T²·KL`; the manifest has its formula. */
export type Knobs = Readonly<Record<Knob, number>>;

export const BATCH_INPUTS = ["input", "labels", "labelled", "mentor_logits", "supervised", ...KNOBS] as const;

/** The name of the graph input that takes the mentor's activation of `probe`. */
export function activationInput(probe: string): string {
  return `mentor_${probe}`;
}

/** All inputs of a training or eval graph. */
export function inputNames(probes: Iterable<string>): Set<string> {
  return new Set([...BATCH_INPUTS, ...Array.from(probes, activationInput)]);
}
