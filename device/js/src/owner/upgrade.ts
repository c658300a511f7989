// A record of format 1, of a program that knew no rounds of guesses, verdicts or bases, as this one has it.

import { NOTHING_ASKED } from "./asked.js";
import { NOTHING_DONE, SETTINGS, type Content, type Plan, type StoredSample, type Version } from "./record.js";

type Before = Omit<Content, "versions" | "samples"> & {
  readonly versions: readonly (Version & { readonly plan: Plan & { held: number[] }; readonly done: number })[];
  readonly samples: readonly StoredSample[];
};

export function upgraded(content: Content): Content {
  const { versions, samples, settings, ...rest } = content as Before;
  return {
    ...rest,
    base: null,
    names: {},
    lostNames: [],
    aside: [],
    answers: [],
    asked: NOTHING_ASKED,
    watch: null,
    settings: { ...SETTINGS, ...settings },
    samples: samples.map((one) => ({ ...one, mentorLogits: null, confidence: null, before: null })),
    versions: versions.map(({ done, plan, ...version }) => {
      const { steps = 1, samples: drawn = [], ...given } = plan;
      const now = { budget: { steps }, unlabelled: [], once: false, rounds: 0, guessedBatch: 16, guessWeight: 1 };
      return {
        ...version,
        bundle: rest.bundle,
        plan: { ...now, ...given, samples: drawn } as unknown as NonNullable<Version["plan"]>,
        progress: { ...NOTHING_DONE, steps: done },
        verdict: {},
        identity: version.status === "candidate" ? "" : (version.snapshot?.sha256 ?? ""),
        guesses: {},
      };
    }),
  };
}
