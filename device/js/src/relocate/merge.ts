// Two devices of one owner become one: parameters averaged, samples united, both logs joined; the guard decides.
//
// What learning added to the base is averaged, each device's share weighed by how many samples it learnt from (arXiv 1602.05629,
// algorithm 1). Moments begin anew. Nothing is averaged where one device went on from what the other has: it has all.

import type { Samples } from "../bundle/packs.js";
import { LearningError, type Learner } from "../learner/learner.js";
import type { Snapshot } from "../learner/snapshot.js";
import type { Content, EnrolledSample, Entry, StoredAnswer, StoredSample, Version } from "../owner/record.js";
import { renamed, united, type Renamed } from "../owner/class-names.js";
import { SOURCES, inputOf, stacked, tooMany } from "../owner/samples.js";
import { StateError, clock, type State } from "../owner/state.js";
import { right } from "../owner/runs/verdict.js";
import { BASE, Versions } from "../owner/versions.js";
import { Judge, above, scoreInWords, type Score } from "./candidates.js";
import { PLAIN } from "./migrate.js";

const MOST_PER_CLASS = 50;

/** `taken` is merged, theirs (the other device's mentee) or mine; version `number` is current. `samples`: numbers of those that
 * came, `relabelled` of those that took the other device's label. */
export interface Merged {
  readonly taken: "merged" | "theirs" | "mine";
  readonly number: number;
  readonly why: string;
  readonly scores: Readonly<Record<string, Score>>;
  readonly samples: readonly number[];
  readonly relabelled: readonly number[];
}

/** Takes in `theirs`, another device's state of the same bundle, in one change; `learner` is the current version, and is afterwards
 * at anything. Throws StateError, LearningError; nothing is changed then. */
export async function merge(mine: State, learner: Learner, theirs: State): Promise<Merged> {
  const paused = mine.now.versions.find(({ status }) => status === "candidate");
  if (paused !== undefined)
    throw new LearningError(`run v${paused.number} is unfinished: resume or discard it before a merge`);
  if (!(await learner.bundle.golden()).labels.length)
    throw new LearningError("the bundle's golden set is empty, so nothing can guard a merge: export it with one");
  return new Merge(mine, learner, theirs).run();
}

class Merge {
  private readonly versions: Versions;
  private readonly lineages: readonly [readonly Version[], readonly Version[]];
  private readonly numbers = new Map<number, number>(); // of their samples, by their number there
  private readonly scores: Record<string, Score> = {};
  private samples: StoredSample[];
  private ahead = false; // theirs grew from mine
  private readonly renamed: Renamed;

  constructor(
    private readonly mine: State,
    private readonly learner: Learner,
    private readonly theirs: State,
  ) {
    this.versions = new Versions(mine);
    this.lineages = [this.versions.lineage(mine.now.current), new Versions(theirs).lineage(theirs.now.current)];
    this.samples = [...mine.now.samples];
    const { manifest } = learner.bundle;
    this.renamed = renamed(mine.now, manifest, united(manifest, theirs.now.names));
  }

  async run(): Promise<Merged> {
    const { now } = this.mine;
    const { came, relabelled, next } = await this.unite();
    const [taken, snapshot, why] = await this.choose();
    const { mostSamples, mostSampleBytes } = now.settings;
    const gone = new Set(tooMany(this.samples, mostSamples, mostSampleBytes));
    const evicted = gone.size ? `, ${gone.size} others had to go` : "";
    const number = snapshot === null ? now.current : now.next.version;
    const text =
      `merged with another device, v${number} is current: ${why}; ${came.length} samples came, ${relabelled.length} took ` +
      `its label${evicted}`;
    const enrolled = await this.enrolled();
    const changes = {
      ...this.renamed,
      samples: this.samples.filter((one) => !gone.has(one.number)),
      enrolled: enrolled.rows,
      next: { ...now.next, sample: next, enrolled: enrolled.next },
      log: [...now.log, ...this.foreignLines()],
    };
    if (snapshot === null) await this.mine.change(changes, "merge", text);
    else await this.makeCurrent(taken, snapshot, why, changes, text);
    await this.takeAnswers();
    return { taken, number, why, scores: this.scores, samples: came, relabelled };
  }

  /** Samples by content. Of two labels the more trusted source's stays, of equals the newer sample's. */
  private async unite(): Promise<{ came: number[]; relabelled: number[]; next: number }> {
    let next = this.mine.now.next.sample;
    const [came, relabelled]: [number[], number[]] = [[], []];
    for (const one of this.theirs.now.samples) {
      const content = await this.theirs.get(one);
      if (content === null) continue;
      const place = this.samples.findIndex(({ sha256, dtype }) => sha256 === one.sha256 && dtype === one.dtype);
      const here = this.samples[place];
      if (here === undefined) {
        const number = next++;
        const answers = one.mentorLogits === null ? null : await this.theirs.get(one.mentorLogits);
        const mentorLogits = answers === null ? null : await this.mine.put(`sample-${number}-answers`, answers);
        const piece = await this.mine.put(`sample-${number}`, content);
        this.samples.push({ ...one, ...piece, number, mentorLogits, confidence: null, before: null });
        came.push(number);
      } else {
        const trust = SOURCES.indexOf(one.source) - SOURCES.indexOf(here.source);
        if (trust < 0 || (trust === 0 && one.label !== here.label && one.time > here.time)) {
          const { source, label, weight } = one;
          this.samples[place] = { ...here, source, label, weight };
          relabelled.push(here.number);
        }
      }
      this.numbers.set(one.number, here?.number ?? next - 1);
    }
    return { came, relabelled, next };
  }

  /** The mentor's answers that this device has not; what the other sent stays counted there. */
  private async takeAnswers(): Promise<void> {
    const known = new Set(this.mine.now.answers.map(({ number }) => number));
    const came: StoredAnswer[] = [];
    for (const one of this.theirs.now.answers) {
      const number = this.numbers.get(one.number);
      const content = number === undefined || known.has(number) ? null : await this.theirs.get(one);
      if (number === undefined || content === null) continue;
      const piece = await this.mine.put(`answer-${number}`, content);
      came.push({ ...one, ...piece, number, version: this.mine.now.next.version - 1 });
    }
    if (!came.length) return;
    await this.mine.change(({ answers }) => {
      const here = new Set(answers.map(({ number }) => number)); // some may have come from the service meanwhile
      return { answers: [...answers, ...came.filter(({ number }) => !here.has(number))] };
    }, "merge");
  }

  private async enrolled(): Promise<{ rows: EnrolledSample[]; next: number }> {
    const rows = [...this.mine.now.enrolled];
    let next = this.mine.now.next.enrolled;
    for (const one of this.theirs.now.enrolled) {
      if (rows.some(({ name, sha256 }) => name === one.name && sha256 === one.sha256)) continue;
      const content = await this.theirs.get(one);
      if (content === null) continue;
      const number = next++;
      rows.push({ ...one, ...(await this.mine.put(`enrolled-${number}`, content)), number });
    }
    const newest = (row: EnrolledSample): boolean =>
      rows.filter(({ name, number }) => name === row.name && number > row.number).length < MOST_PER_CLASS;
    return { rows: rows.filter(newest), next };
  }

  /** Decides what becomes current, null where nothing changes, and why. */
  private async choose(): Promise<[Merged["taken"], Snapshot | null, string]> {
    const [mine, theirs] = this.lineages;
    const newest = theirs[0];
    if (newest === undefined) return ["mine", null, "the other device has learnt nothing"];
    if (known(mine).has(newest.identity)) return ["mine", null, "this device has learnt all that the other has"];
    const snapshot = await new Versions(this.theirs).snapshotOf(newest);
    if (snapshot === null) throw new StateError("the other device's current version is damaged: export it again");
    this.ahead = mine[0] === undefined || known(theirs).has(mine[0].identity);
    const { learner } = this;
    const own = await learner.snapshot();
    const [judged, unseen] = await this.judged();
    const before = unseen ? await right(learner, judged) : null;
    learner.reset();
    const base = await learner.snapshot();
    const judge = await Judge.of(learner, this.mine.now.settings);
    const score = async (name: string, one: Snapshot, evidence: readonly boolean[] | null): Promise<Score> => {
      learner.restore(one);
      return (this.scores[name] = await judge.score(learner, judged, evidence));
    };
    const scored = { mine: await score("mine", own, null), theirs: await score("theirs", snapshot, before) };
    let reason = "it went on from what this device has";
    if (!this.ahead) {
      const mixed = this.mixed(base, own, snapshot);
      const { reasons } = await score("merged", mixed, before);
      if (!reasons.length) return ["merged", mixed, this.words("merged", "the guard lets the average pass")];
      reason = `the guard refuses the average (${reasons.join("; ")})`;
    }
    const against = scored.theirs.reasons.join("; ");
    if (!against && (this.ahead || above(scored.theirs, scored.mine)))
      return ["theirs", snapshot, this.words("theirs", reason)];
    return ["mine", null, this.words("mine", `${reason}${against ? `, and theirs (${against})` : ""}`)];
  }

  /** Samples to judge by: united ones that the owner labelled; if there are any, those that no device has learnt from, which is
   * said. */
  private async judged(): Promise<[Samples, boolean]> {
    const labelled = this.samples.filter(({ source, label }) => source === "owner" && label >= 0);
    const learned = new Set([...learnedIn(this.lineages[0]), ...this.mapped(learnedIn(this.lineages[1]))]);
    const unseen = labelled.filter(({ number }) => !learned.has(number));
    const found: (readonly [StoredSample, ReturnType<typeof inputOf>])[] = [];
    for (const one of unseen.length ? unseen : labelled) {
      const content = await this.mine.get(one);
      if (content !== null) found.push([one, inputOf(content, one.dtype)]);
    }
    return [stacked(this.learner.bundle.manifest, found), unseen.length > 0];
  }

  private mapped(numbers: Iterable<number>): number[] {
    return [...numbers].flatMap((number) => this.numbers.get(number) ?? []);
  }

  /** base + weight · (mine − base) + (1 − weight) · (theirs − base), in float64; running statistics alike. */
  private mixed(base: Snapshot, mine: Snapshot, theirs: Snapshot): Snapshot {
    const [one, other] = this.lineages.map((lineage) => learnedIn(lineage).size || 1) as [number, number];
    const weight = one / (one + other);
    const vectors = new Map(base.state.vectors);
    for (const name of ["parameters", "statistics"]) {
      const [start, ours, others] = [base, mine, theirs].map(({ state }) => state.vectors.get(name));
      if (start === undefined) continue;
      const value = (vector: Float32Array | undefined, place: number): number => vector?.[place] ?? 0;
      const average = (from: number, place: number): number =>
        from + weight * (value(ours, place) - from) + (1 - weight) * (value(others, place) - from);
      vectors.set(name, start.map(average));
    }
    const { learningRate } = mine;
    return { ...base, learningRate, step: Math.max(mine.step, theirs.step), state: { ...base.state, vectors } };
  }

  private words(taken: string, reason: string): string {
    const scores = Object.entries(this.scores).map(([name, score]) => `${name}: ${scoreInWords(score)}`);
    return `${taken} is taken, ${reason} (${scores.join(", ")})`;
  }

  /** A version that learnt what theirs did, on top of mine or of the base, so that unlearning finds it. */
  private async makeCurrent(
    taken: Merged["taken"],
    snapshot: Snapshot,
    why: string,
    changes: Pick<Content, "samples" | "enrolled" | "next" | "log" | keyof Renamed>,
    text: string,
  ): Promise<void> {
    const theirs = this.lineages[1];
    const ordered = (numbers: Iterable<number>): number[] =>
      [...new Set(this.mapped(numbers))].sort((one, other) => one - other);
    const samples = ordered(learnedIn(theirs));
    const byLabel = new Set(
      ordered(theirs.flatMap(({ learned, plan }) => learned.filter((one) => !plan?.unlabelled.includes(one)))),
    );
    const last = theirs.flatMap(({ plan }) => plan ?? [])[0] ?? PLAIN;
    const plan = { ...last, samples, once: false, unlabelled: samples.filter((one) => !byLabel.has(one)) };
    const parent = taken === "merged" || this.ahead ? this.mine.now.current : BASE;
    const begun = await this.versions.begun(plan, parent, snapshot);
    const steps = theirs.reduce((all, { progress }) => all + progress.steps, 0);
    const update = { accuracy: this.scores[taken]?.golden };
    const about = {
      why,
      progress: { ...begun.progress, steps },
      verdict: { update, reasons: [], holds: [...known(theirs)].sort() },
      ...(taken === "theirs" ? { identity: theirs[0]?.identity ?? "" } : {}),
    };
    const versions = [...this.mine.now.versions, begun];
    const next = { ...changes.next, version: begun.number + 1 };
    await this.versions.accept(begun.number, snapshot, about, text, { ...changes, versions, next });
  }

  /** Lines of theirs that are not known here, each with the time it had there. */
  private foreignLines(): Entry[] {
    const here = new Set(this.mine.now.log.map(origin));
    return this.theirs.now.log.flatMap((entry) => {
      if (here.has(origin(entry)) || entry.kind === "import") return [];
      const [time, event, line] = JSON.parse(origin(entry)) as [string, string, string];
      const details = { merged: { time, event, line } };
      return [{ time: clock(), kind: "elsewhere", text: `on another device, ${time}: ${line}`, details }];
    });
  }
}

/** Identities of the versions of a lineage, and of those that were merged into them. */
function known(lineage: readonly Version[]): Set<string> {
  const held = lineage.flatMap(({ verdict }) =>
    Array.isArray(verdict["holds"]) ? (verdict["holds"] as string[]) : [],
  );
  return new Set([...held, ...lineage.map(({ identity }) => identity)]);
}

function learnedIn(lineage: readonly Version[]): Set<number> {
  return new Set(lineage.flatMap(({ learned }) => learned));
}

function origin({ time, kind, text, details }: Entry): string {
  const merged = details?.["merged"] as { time: string; event: string; line: string } | undefined;
  return JSON.stringify(merged === undefined ? [time, kind, text] : [merged.time, merged.event, merged.line]);
}
