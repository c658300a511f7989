// Spare classes: the last of a bundle's, which stand for nothing until an owner names them.

import { BundleError, shown } from "../errors.js";
import { strings } from "./fields.js";
import type { JsonObject } from "../../json.js";

const MOST_SPARE = 1000;

/** The owner's names, by what the bundle calls the class. */
export type Names = Readonly<Record<string, string>>;

/** What a manifest says of its classes: `classes` with the owner's `names` for `spare` ones, the last. */
export interface Classes {
  readonly classes: readonly string[];
  readonly spare: readonly string[];
  readonly names: Names;
}

/** `spare_classes`, none where there is no such field. Throws BundleError. */
export function readSpare(raw: JsonObject, classes: readonly string[]): readonly string[] {
  if (!raw.has("spare_classes")) return [];
  const spare = strings(raw, "spare_classes");
  const taught = classes.length - spare.length;
  const last = spare.every((name, place) => name === classes[taught + place]);
  if (!spare.length || spare.length > MOST_SPARE || taught < 1 || !last) {
    throw new BundleError(
      `manifest.json: spare_classes are ${shown(spare.slice(0, 5))}, expected 1 to ${MOST_SPARE} names, the last of several classes`,
    );
  }
  return spare;
}

/** The classes that came with the bundle, without spare ones. */
export function taughtOf({ classes, spare }: Omit<Classes, "names">): readonly string[] {
  return classes.slice(0, classes.length - spare.length);
}

/** The classes as the bundle calls them. */
export function packedOf(manifest: Omit<Classes, "names">): readonly string[] {
  return [...taughtOf(manifest), ...manifest.spare];
}

/** Numbers of the spare classes that have no name yet: no label may be theirs, and no answer. */
export function unnamedOf(manifest: Classes): readonly number[] {
  const first = manifest.classes.length - manifest.spare.length;
  return manifest.spare.flatMap((name, place) => (Object.hasOwn(manifest.names, name) ? [] : [first + place]));
}

/** The manifest with names for spare classes. Those of no spare class of this bundle, and names that another class has, are left
 * out. */
export function withNames<T extends Classes>(manifest: T, names: Names): T {
  const packed = packedOf(manifest);
  const known = new Map<string, string>();
  for (const spare of manifest.spare) {
    const name = Object.hasOwn(names, spare) ? names[spare] : undefined;
    if (name !== undefined && ![...packed, ...known.values()].includes(name)) known.set(spare, name);
  }
  return { ...manifest, classes: packed.map((name) => known.get(name) ?? name), names: Object.fromEntries(known) };
}
