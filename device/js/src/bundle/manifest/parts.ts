// Parts of a manifest, each read into a type and held to its range. All readers throw BundleError naming the field.
//
// Axes: C H W of one sample.

import { BundleError, shown } from "../errors.js";
import { get, isObject, number, numbers, shapeOf, whole } from "./fields.js";
import { KNOBS, type Knob, type Knobs } from "./inputs.js";
import type { JsonObject } from "../../json.js";

const OPTIMIZERS = ["adamw", "sgd"];
const SCHEDULES = ["constant", "cosine", "step"];

// Ranges. Beyond them a number that a graph computes leaves float32, and a runtime's pooling of NaN reads memory it does not own.
export const KNOB_RANGES: Readonly<Record<Knob, readonly [number, number]>> = {
  alpha: [0, 1e9],
  beta: [0, 1e9],
  gamma: [0, 1e9],
  temperature: [1e-3, 1e6],
};
export const RATE_RANGE = [1e-12, 1e6] as const;
const SCALE_RANGE = [1e-9, 1e9] as const; // the runtime is set to learning rate / scale
const MOST_ACCUMULATED = 1_000_000;
const SMALLEST_STD = 1e-30;
const LARGEST_SIDE = 65535;
export const INTERPOLATIONS = ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] as const;
export const FURTHEST = 1e6; // standard deviations of a sample from the mean: further off it is none of this data

/** One ONNX file of the bundle; names of its inputs and outputs in the graph's order, parameters left out. */
export interface Graph {
  readonly file: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

/** How the server brought an image to `shape`. `fit`: "cover", the central part of the sample's proportions; "stretch"; or what the
 * shorter side is scaled to before the centre is cut out. `interpolation` is Pillow's filter, `ground` the gray level under
 * transparent pixels. */
export interface PhotoMade {
  readonly fit: "cover" | "stretch" | number;
  readonly interpolation: (typeof INTERPOLATIONS)[number];
  readonly ground: number;
}

/** Raw samples of `shape` (C, H, W) to what the graphs take, mean and std per channel: `(raw / 255 − mean) / std` where raw is
 * uint8, `(raw − mean) / std` where it is float32. */
export interface Preprocessing {
  readonly shape: readonly number[];
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly dtype: "uint8" | "float32";
  readonly photo?: PhotoMade; // not there where the bundle does not say
}

/** Rules of a step: batches that one collects gradients of, and what the optimizer graph multiplies its learning rate by. All
 * else of it, its schedule included, is in that graph. */
export interface OptimizerStep {
  readonly name: string;
  readonly accumulate: number;
  readonly rateScale: number;
}

export function readKnobs(loss: JsonObject): Knobs {
  const read = KNOBS.map((name) => [name, number(loss, name, "loss", ...KNOB_RANGES[name])] as const);
  return Object.fromEntries(read) as Record<Knob, number>;
}

/** Older manifests have neither `accumulate` nor `rate_scale`, and say "AdamW" and "constant". */
export function readOptimizerStep(optimizer: JsonObject): OptimizerStep {
  const name = get(optimizer, "name", "text", "optimizer").toLowerCase();
  if (!OPTIMIZERS.includes(name)) {
    throw new BundleError(
      `manifest.json: optimizer.name is ${shown(name)}, this program knows ${OPTIMIZERS.join(", ")}: update it`,
    );
  }
  const schedule = optimizer.has("schedule") ? optimizer.get("schedule") : "constant";
  const course = isObject(schedule) ? schedule.get("name") : schedule;
  if (typeof course !== "string" || !SCHEDULES.includes(course)) {
    throw new BundleError(
      `manifest.json: optimizer.schedule is ${shown(course)}, this program knows ${SCHEDULES.join(", ")}: update it`,
    );
  }
  const accumulate = optimizer.has("accumulate") ? optimizer.get("accumulate") : 1n;
  return {
    name,
    accumulate: whole(accumulate, "optimizer.accumulate", 1, MOST_ACCUMULATED),
    rateScale: optimizer.has("rate_scale") ? number(optimizer, "rate_scale", "optimizer", ...SCALE_RANGE) : 1,
  };
}

export function readPreprocessing(raw: JsonObject): Preprocessing {
  const shape = shapeOf(raw, "shape", "preprocessing");
  const mean = numbers(raw, "mean", "preprocessing");
  const std = numbers(raw, "std", "preprocessing");
  if (!shape.length || mean.length !== shape[0] || std.length !== shape[0] || Math.min(...std) < SMALLEST_STD) {
    throw new BundleError(
      "manifest.json: preprocessing needs one mean and one std above 0 per channel of shape " +
        `${shown(shape)}, got ${shown(mean)} and ${shown(std)}`,
    );
  }
  const dtype = raw.has("dtype") ? get(raw, "dtype", "text", "preprocessing") : "uint8";
  if (dtype !== "uint8" && dtype !== "float32") {
    throw new BundleError(`manifest.json: preprocessing.dtype is ${shown(dtype)}, expected "uint8" or "float32"`);
  }
  for (const [channel, m] of mean.entries()) {
    const s = std[channel] ?? 0;
    const furthest = dtype === "uint8" ? Math.max(Math.abs(m), Math.abs(1 - m)) : Math.abs(m);
    if (furthest > FURTHEST * s) {
      throw new BundleError(
        `manifest.json: preprocessing has mean ${m} and std ${s}, which puts a sample ${(furthest / s).toPrecision(3)} ` +
          `standard deviations away: expected at most ${FURTHEST}`,
      );
    }
  }
  return { shape, mean, std, dtype, ...(raw.has("photo") ? { photo: readPhoto(raw) } : {}) };
}

function readPhoto(preprocessing: JsonObject): PhotoMade {
  const where = "preprocessing.photo";
  const raw = get(preprocessing, "photo", "object", "preprocessing");
  const unknown = [...raw.keys()].find((name) => !["fit", "interpolation", "ground"].includes(name));
  if (unknown !== undefined) {
    throw new BundleError(`manifest.json: ${where} has ${shown(unknown)}, which this program does not know: update it`);
  }
  const [fit, way] = [raw.get("fit"), raw.get("interpolation")];
  const interpolation = INTERPOLATIONS.find((name) => name === way);
  if (interpolation === undefined) {
    throw new BundleError(
      `manifest.json: ${where}.interpolation is ${shown(way)}, this program knows ${INTERPOLATIONS.join(", ")}: update the program`,
    );
  }
  return {
    fit: fit === "cover" || fit === "stretch" ? fit : whole(fit ?? null, `${where}.fit`, 1, LARGEST_SIDE),
    interpolation,
    ground: whole(raw.get("ground") ?? null, `${where}.ground`, 0, 255),
  };
}

export function readGraph(graphs: JsonObject, name: string, above = "graphs"): Graph {
  const where = `${above}.${name}`;
  const raw = get(graphs, name, "object", above);
  return {
    file: get(raw, "file", "text", where),
    inputs: names(raw, "inputs", where),
    outputs: names(raw, "outputs", where),
  };
}

function names(raw: JsonObject, kind: string, where: string): string[] {
  return get(raw, kind, "list", where).map((tensor) => {
    if (!isObject(tensor)) throw new BundleError(`manifest.json: ${where}.${kind} must be a list of objects`);
    return get(tensor, "name", "text", `${where}.${kind}`);
  });
}
