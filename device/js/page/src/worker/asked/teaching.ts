// Shapes that a person teaches: by example at once, then learnt. Each takes a spare class of the bundle.
//
// Axes: N samples, K classes.

import { softmax, type Owner, type Running } from "../../../../src/index.js";
import type { Answer, Drawing, TaughtClass } from "../../shared/messages.js";
import { likeliest } from "./answers.js";
import { imageOf } from "./images.js";
import { learntNumbers } from "./learnt.js";
import type { Room } from "../room/room.js";

/** Stores the drawings as examples of `name`, a class that is there or a new one. Throws SampleError where no spare class is left. */
export async function teach(room: Room, name: string, drawings: readonly Drawing[]): Promise<void> {
  const { owner } = room;
  const images = drawings.map((drawing) => imageOf("shapes", drawing));
  const known = owner.classes.indexOf(name);
  const isNew = known < 0 || unnamed(owner).has(name);
  const label = isNew ? await owner.nameClass(name) : known;
  const input = joined(images);
  try {
    await owner.enrol(name, input);
    await owner.add({ input, labels: new Int32Array(images.length).fill(label) });
  } catch (error) {
    if (isNew) await owner.removeClass(name).catch(() => undefined); // no name without drawings, as where the space is full
    throw error;
  }
}

/** Takes drawings out of the examples, and unlearns them; a class of the person's that has none left goes. The examples come first:
 * a page that is closed while it learns the rest anew has nothing of them left. */
export async function forgetDrawings(room: Room, numbers: readonly number[], running: Running): Promise<void> {
  const { owner, place } = room;
  const gone = owner.samples.filter(({ number }) => numbers.includes(number));
  for (const label of new Set(gone.map((one) => one.label))) {
    const name = owner.classes[label] ?? "";
    const left = owner.samples.filter((one) => one.label === label && !gone.includes(one));
    if (!left.length && taughtClasses(owner).some((one) => one.name === name)) {
      await owner.removeClass(name, running);
      continue;
    }
    const contents = await Promise.all(left.map(({ piece }) => place.storage.read(piece)));
    await owner.removeEnrolled(name);
    if (left.length) await owner.enrol(name, joined(contents.filter((one) => one !== undefined)));
  }
  const rest = owner.samples.filter(({ number }) => numbers.includes(number)).map(({ number }) => number);
  if (rest.length) await owner.unlearn(rest, running);
}

/** By what was learnt; by example as long as there is a class that was not. */
export async function recogniseShape(room: Room, drawing: Drawing): Promise<Answer> {
  const { owner } = room;
  const image = imageOf("shapes", drawing);
  const started = performance.now();
  const hidden = unnamed(owner);
  const top = taughtClasses(owner).every(({ learnt }) => learnt)
    ? await learntAnswer(owner, image, hidden)
    : await exampleAnswer(owner, image, hidden);
  return { image, top, base: null, milliseconds: performance.now() - started };
}

/** The person's own classes, in order of their numbers. */
export function taughtClasses(owner: Owner): TaughtClass[] {
  const { names, classes } = owner.bundle.manifest;
  const learnt = learntNumbers(owner);
  return Object.values(names).map((name) => {
    const label = classes.indexOf(name);
    const own = owner.samples.filter((one) => one.label === label);
    return { name, drawings: own.length, learnt: own.some(({ number }) => learnt.has(number)) };
  });
}

/** Spare classes that are left. */
export function freePlaces(owner: Owner): number {
  return unnamed(owner).size;
}

/** Spare classes without a name: they stand for nothing, and are not said. */
export function unnamed({ bundle }: Owner): ReadonlySet<string> {
  const { spare, names } = bundle.manifest;
  return new Set(spare.filter((one) => !Object.hasOwn(names, one)));
}

async function learntAnswer(owner: Owner, image: Uint8Array, hidden: ReadonlySet<string>): Promise<Answer["top"]> {
  const { classes } = owner;
  const { logits } = await owner.predict(image);
  const said = logits.map((logit, place) => (hidden.has(classes[place] ?? "") ? -Infinity : logit));
  return likeliest(classes, softmax(said, classes.length), hidden);
}

async function exampleAnswer(owner: Owner, image: Uint8Array, hidden: ReadonlySet<string>): Promise<Answer["top"]> {
  const { names, probability } = await owner.recognise(image);
  return likeliest(names, probability, hidden);
}

function joined(images: readonly Uint8Array[]): Uint8Array {
  const [first] = images;
  const whole = new Uint8Array(images.length * (first?.length ?? 0));
  images.forEach((image, place) => whole.set(image, place * image.length));
  return whole;
}
