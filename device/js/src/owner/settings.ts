// What an owner's settings may be.

import { KNOBS } from "../bundle/manifest/inputs.js";
import { unnamedOf, type Classes } from "../bundle/manifest/spare.js";
import { LearningError } from "../learner/learner.js";
import { REPLAYS, checkCurve, highestOf, requireNames } from "./runs/plan.js";
import { SETTINGS, type Settings } from "./record.js";

/** Throws LearningError, of one line, for `settings` that make no sense; `changes`: what was asked for. */
export function checkSettings(settings: Settings, changes: object, manifest: Classes): void {
  const { classes } = manifest;
  requireNames("setting", changes, Object.keys(SETTINGS));
  const require = (name: keyof Settings, fits: boolean, expected: string): void => {
    if (fits) return;
    const given = JSON.stringify(settings[name])?.slice(0, 100);
    throw new LearningError(`${name} is ${given}, expected ${expected}: nothing was changed`);
  };
  for (const name of KNOBS) if (settings[name] !== null) checkCurve(name, settings[name]);
  const share = (value: unknown): boolean => typeof value === "number" && value >= 0 && value <= 1;
  for (const name of ["goldenDrop", "confidenceFloor"] as const)
    require(name, share(settings[name]), "a number from 0 to 1");
  for (const name of ["classDrop", "agreementLeast", "eceRise"] as const)
    require(name, settings[name] === null || share(settings[name]), "a number from 0 to 1, or null");
  const whole = { mostSamples: 1, mostSampleBytes: 1, mostVersions: 1, rounds: 0 } as const;
  for (const [name, least] of Object.entries(whole) as [keyof typeof whole, number][])
    require(name, Number.isInteger(settings[name]) && settings[name] >= least, `a whole number of at least ${least}`);
  require("interpolate", typeof settings.interpolate === "boolean", "true or false");
  require("replay", REPLAYS.includes(settings.replay), REPLAYS.join(", "));
  const names = settings.blocked;
  const known = Array.isArray(names) && names.every((name) => classes.includes(name));
  require("blocked", known &&
    new Set([...names.map((name) => classes.indexOf(name)), ...unnamedOf(manifest)]).size <
      classes.length, `some, not all, of ${JSON.stringify(classes.slice(0, 20))}`);
  const ownBeta = settings.replay === "own" && highestOf(settings.beta ?? 0) > 0;
  require("beta", !ownBeta, 'null or 0 beside replay "own", which has no answers of layers');
}
