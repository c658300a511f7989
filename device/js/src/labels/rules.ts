// What labels are guessed by.

import { SampleError } from "../bundle/preprocess.js";
import { CLUSTER_WEIGHT } from "./pseudo-labels.js";

/** Rules of guessing: the mentor's guesses come first, then by `rule` the mentee's own or those by the groups that the samples
 * lie in, then those by their neighbours in a stream. */
export interface GuessRules {
  /** The mentee's own softmax ("pseudo", the default), or the groups that the samples lie in ("clusters"). */
  readonly rule?: "pseudo" | "clusters";
  /** Least probability of the mentee's own labels, 0.95; null: none of them. */
  readonly threshold?: number | null;
  /** Lowers the threshold for classes that the mentee is seldom sure of. */
  readonly adaptive?: boolean;
  /** Weight of a label by clusters, 1; an owner's weighs 1. */
  readonly weight?: number;
  /** Least probability of the mentor's answers, 0. */
  readonly mentorThreshold?: number;
  /** Seconds at most between two frames of one stream; null, the default: no streams. */
  readonly pause?: number | null;
  /** Frames that vote in a stream, an odd number: 5. */
  readonly window?: number;
  /** Least probability of a near-miss before a hit in a stream, 0.35. */
  readonly near?: number;
}

export const SURE = 0.95; // probability of a hit where no threshold is set
const RULES: Required<GuessRules> = {
  rule: "pseudo",
  threshold: SURE,
  adaptive: false,
  weight: CLUSTER_WEIGHT,
  mentorThreshold: 0,
  pause: null,
  window: 5,
  near: 0.35,
};

/** All rules, those that are not given by their defaults. Throws SampleError. */
export function checkedRules(given: GuessRules): Required<GuessRules> {
  const rules = { ...RULES, ...given };
  const require = (name: keyof GuessRules, fits: boolean, expected: string): void => {
    if (!fits) throw new SampleError(`${name} is ${JSON.stringify(rules[name])}, expected ${expected}`);
  };
  const unknown = Object.keys(given).find((name) => !Object.hasOwn(RULES, name));
  if (unknown !== undefined)
    throw new SampleError(`no rule of guessing "${unknown}"; there are ${Object.keys(RULES).join(", ")}`);
  const share = (value: unknown): boolean => typeof value === "number" && value >= 0 && value <= 1;
  const above = (value: unknown): boolean => typeof value === "number" && value > 0 && Number.isFinite(value);
  require("rule", ["pseudo", "clusters"].includes(rules.rule), "pseudo or clusters");
  require("threshold", rules.threshold === null || share(rules.threshold), "a probability from 0 to 1, or null");
  require("adaptive", typeof rules.adaptive === "boolean", "true or false");
  require("weight", above(rules.weight), "a finite number above 0");
  require("mentorThreshold", share(rules.mentorThreshold), "a probability from 0 to 1");
  require("pause", rules.pause === null || above(rules.pause), "seconds above 0, or null");
  require("window", Number.isInteger(rules.window) &&
    rules.window >= 3 &&
    rules.window % 2 === 1, "an odd number of at least 3 frames");
  const most = rules.threshold ?? SURE;
  require("near", rules.pause === null ||
    (rules.near > 0 && rules.near <= most), `above 0, at most the threshold ${most}`);
  return rules;
}
