import { describe, expect, test } from "vitest";

import { answer, softmax } from "../../src/guard/answers.js";
import { betterBeyondChance, binomialTail, lossBeyond } from "../../src/guard/chance.js";
import { clearlyBetter, clearlyWorse, compared, heldOut } from "../../src/guard/holdout.js";
import { judge, measure, measureLogits } from "../../src/guard/measures.js";
import { Enrolment } from "../../src/prototypes/enrolment.js";
import { SampleError } from "../../src/bundle/preprocess.js";
import { FIXTURES, json } from "../fixtures.js";

const K = 5;
const NAMES = Array.from({ length: K }, (_, place) => `class ${place}`);

describe.skipIf(FIXTURES === null)("as Python decides", () => {
  const said = FIXTURES === null ? ({} as Record<string, any[]>) : json<Record<string, any[]>>("decisions.json");

  test("chance is ruled out", () => {
    for (const { given, tail, better, beyond } of said["tails"]!) {
      const [least, tosses, probability, more, less, limit] = given;
      expect(binomialTail(least, tosses, probability)).toBeCloseTo(tail, 9);
      expect(betterBeyondChance(more, less)).toBe(better);
      expect(lossBeyond(more, less, tosses + more + less + 1, limit)).toBe(beyond);
    }
  });

  test("a candidate is accepted or refused", () => {
    const verdicts = said["verdicts"]!;
    for (const { labels, base, seen, limits, gained, accuracy, agreement, reasons } of verdicts) {
      const [labels_N, base_N] = [Int32Array.from(labels), Int32Array.from(base)];
      const before = measure(base_N, labels_N, base_N, K);
      const candidate = measure(Int32Array.from(seen), labels_N, base_N, K);
      expect([candidate.accuracy, candidate.agreement]).toEqual([accuracy, agreement]);
      const given = {
        goldenDrop: limits.golden_drop,
        classDrop: limits.class_drop,
        agreementLeast: limits.agreement_least,
      };
      const ours = judge(candidate, before, given, NAMES, gained);
      expect(ours.map((reason) => reason.replaceAll('"', "'"))).toEqual(reasons);
    }
    const refused = verdicts.filter(({ reasons }) => reasons.length).length;
    expect(refused).toBeGreaterThan(verdicts.length / 5);
    expect(refused).toBeLessThan(verdicts.length / 1.25);
  });

  test("a rise of the calibration error is found, and refused beyond chance", () => {
    const drawn = said["calibrations"]!;
    for (const { labels, base, seen, limits, ece, rise, reasons } of drawn) {
      const [labels_N, base_NK, seen_NK] = [Int32Array.from(labels), Float32Array.from(base), Float32Array.from(seen)];
      const given = { goldenDrop: 1, classDrop: null, agreementLeast: null, eceRise: limits.ece_rise };
      const [before, candidate] = [base_NK, seen_NK].map((one) => measureLogits(one, labels_N, base_NK, K, given));
      expect([candidate!.ece, candidate!.eceRise]).toEqual([expect.closeTo(ece, 9), expect.closeTo(rise, 9)]);
      expect(judge(candidate!, before!, given, NAMES)).toEqual(reasons);
    }
    expect(new Set(drawn.map(({ reasons }) => reasons.length))).toEqual(new Set([0, 1]));
  });

  test("labels are held out and heard", () => {
    for (const { labels, learnt, share, held, before, after, counts, worse, better } of said["held"]!) {
      const labelled = labels.map((label: number, place: number) => ({ number: place + 1, label }));
      expect(heldOut(labelled, share, new Set(learnt))).toEqual(held);
      const heard = compared(before, after);
      expect(heard).toEqual(counts);
      expect([clearlyWorse(heard), clearlyBetter(heard)]).toEqual([worse, better]);
    }
  });

  test("answers keep behind their rails", () => {
    for (const { logits, blocked, floor, classes, probability } of said["answers"]!) {
      const seen = answer(softmax(Float32Array.from(logits), K), K, new Set(blocked), floor);
      expect([...seen.classes]).toEqual(classes);
      seen.probability.forEach((one, row) => classes[row] < 0 || expect(one).toBeCloseTo(probability[row], 6));
    }
  });

  test("classes are recognised by example", () => {
    for (const one of said["recognised"]!) {
      const enrolment = new Enrolment(NAMES, Float32Array.from(one.embedding), Int32Array.from(one.labels));
      for (const { name, points, numbers } of one.enrolled) enrolment.add(name, Float32Array.from(points), numbers);
      const options = one.softmax === null ? {} : { softmax: Float64Array.from(one.softmax) };
      const seen = enrolment.recognise(Float32Array.from(one.asked), { floor: one.floor, ...options });
      expect(seen.names).toEqual(one.names);
      expect([...seen.classes]).toEqual(one.classes);
      seen.probability.forEach((value, place) => expect(value).toBeCloseTo(one.probability[place], 9));
      seen.similarity.forEach((value, place) => expect(value).toBeCloseTo(one.similarity[place], 6));
    }
  });
});

describe("an enrolment", () => {
  const enrolment = (): Enrolment => new Enrolment(["a", "b"], Float32Array.of(1, 0, 0, 1), Int32Array.of(0, 1));

  test("needs a sample of each class", () => {
    expect(() => new Enrolment(["a", "b"], Float32Array.of(1, 0, 0, 1), Int32Array.of(0, -1))).toThrow(
      /no labelled sample of b/,
    );
  });

  test.each([
    ["", [1]],
    [" x", [1]],
    ["a\u0000", [1]],
    ["x".repeat(101), [1]],
    ["x", []],
    ["x", [1, 2]],
    ["x", [9]],
  ])("refuses to enrol %j as %j", (name, numbers) => {
    const one = enrolment();
    one.add("y", Float32Array.of(1, 1), [9]);
    expect(() => one.add(name, Float32Array.of(1, 1), numbers)).toThrow(SampleError);
    expect(one.numbers()).toEqual([9]);
  });

  test("refuses what is not finite, and other sizes", () => {
    expect(() => enrolment().add("x", Float32Array.of(Number.NaN, 1), [1])).toThrow(/NaN/);
    expect(() => enrolment().recognise(Float32Array.of(1, 2, 3))).toThrow(/expected 2 each/);
    expect(() => enrolment().recognise(Float32Array.of(1, 2), { floor: 2 })).toThrow(/floor 2/);
  });
});
