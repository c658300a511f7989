// Names that an owner gave to spare classes: rows of the classifier that come with a bundle and stand for nothing until then.
//
// They are stored by what the bundle calls the class, and are in the base's list as well, so that labels follow the name to another
// base.

import { packedOf, taughtOf, unnamedOf, withNames, type Classes, type Names } from "../bundle/manifest/spare.js";
import { SampleError } from "../bundle/preprocess.js";
import { CLASS_NAME, isClassName } from "../class-name.js";
import type { Content } from "./record.js";
import { StateError } from "./state.js";

/** What a change of names changes in a state. */
export type Renamed = Pick<Content, "names" | "base" | "settings">;

/** The number of the class that is called `name` from now on, the first that has no name or the spare class `number`, and all
 * names then. Throws SampleError. */
export function named(manifest: Classes, name: string, number?: number): readonly [number, Names] {
  const { classes, spare, names } = manifest;
  if (!isClassName(name)) {
    throw new SampleError(`class name ${JSON.stringify(name)?.slice(0, 110)}: expected ${CLASS_NAME}`);
  }
  if (number === undefined && Object.values(names).includes(name)) return [classes.indexOf(name), names];
  const packed = packedOf(manifest);
  if ([...packed, ...classes].includes(name)) {
    const which = classes.includes(name) ? classes.indexOf(name) : JSON.stringify(name);
    throw new SampleError(`class ${which} is called ${JSON.stringify(name)} already`);
  }
  if (!spare.length) {
    throw new SampleError("the bundle has no spare class to name: export it with spare_classes=8, or enrol by example");
  }
  const place = number ?? unnamedOf(manifest)[0];
  if (place === undefined) {
    const given = Object.values(names).join(", ").slice(0, 200);
    throw new SampleError(
      `all ${spare.length} spare classes have names, ${given}: give one another name by its number, remove one, or export the ` +
        "bundle with more",
    );
  }
  const first = taughtOf(manifest).length;
  const known = packed[place];
  if (!Number.isInteger(place) || place < first || known === undefined) {
    throw new SampleError(`class ${place} is no spare one: expected a number from ${first} to ${classes.length - 1}`);
  }
  return [place, { ...names, [known]: name }];
}

/** The state's change from the names of `before` to `names`: a blocked class stays blocked under its new name, and is blocked no
 * longer where it has none. */
export function renamed(now: Content, before: Classes, names: Names): Renamed {
  const { classes, names: known } = withNames(before, names);
  const lost = new Set(unnamedOf({ ...before, classes, names: known }));
  const blocked = now.settings.blocked.flatMap((name) => {
    const place = before.classes.indexOf(name);
    const freed = lost.has(place) && Object.values(before.names).includes(name);
    return freed ? [] : [classes[place] ?? name];
  });
  const base = now.base === null ? null : { ...now.base, classes };
  return { names: known, base, settings: { ...now.settings, blocked } };
}

/** The owner's names for the spare classes of another base: those that it has as classes need none, the others take its spare ones
 * as far as they go, in their order, and last those whose samples an earlier base had set aside. */
export function carried({ names, lostNames, aside }: Content, manifest: Classes): Names {
  const waiting = new Set(aside.map(({ name }) => name));
  const given = [...Object.values(names), ...lostNames.filter((name) => waiting.has(name))];
  const packed = packedOf(manifest);
  const left = [...new Set(given)].filter((name) => !packed.includes(name));
  return Object.fromEntries(manifest.spare.slice(0, left.length).map((spare, place) => [spare, left[place] ?? ""]));
}

/** Names that the base of `manifest` has no class for, with those of before. */
export function lostOn({ names, lostNames }: Content, { classes }: Classes): string[] {
  const lost = new Set([...Object.values(names), ...lostNames].filter((name) => !classes.includes(name)));
  return [...lost].sort(byCharacter);
}

/** The names with those of another device of the owner as well. Throws StateError where one class has two names or one name two
 * classes: their labels would mix. */
export function united(mine: Classes, theirs: Names): Names {
  for (const [spare, name] of Object.entries(withNames(mine, theirs).names)) {
    const here = mine.names[spare] ?? name;
    const elsewhere = Object.keys(mine.names).find((other) => mine.names[other] === name) ?? spare;
    if (here === name && elsewhere === spare) continue;
    throw new StateError(
      `the other device calls class ${JSON.stringify(spare)} ${JSON.stringify(name)}, this one has ${JSON.stringify(mine.names)}: ` +
        "give spare classes the same names on both first, by number",
    );
  }
  return withNames(mine, { ...mine.names, ...withNames(mine, theirs).names }).names;
}

/** Python's order, by code points. */
function byCharacter(one: string, other: string): number {
  const [ones, others] = [[...one], [...other]];
  const place = ones.findIndex((character, at) => character !== others[at]);
  if (place < 0) return ones.length - others.length;
  return (ones[place]?.codePointAt(0) ?? 0) - (others[place]?.codePointAt(0) ?? -1);
}
