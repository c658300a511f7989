// The owner's queue for the mentor's service: who chose, what is sent when, and what becomes of the answers.
//
// Learning never waits for it, and it may run while a run of learning goes on. A sample counts as having left the device before
// its first byte goes. Axes: N samples, K classes.

import type { Manifest } from "../bundle/manifest/manifest.js";
import { SampleError } from "../bundle/preprocess.js";
import type { Learner } from "../learner/learner.js";
import type { Asked } from "../owner/asked.js";
import type { StoredAnswer } from "../owner/record.js";
import { readSamples } from "../owner/samples.js";
import { timeOf, type State } from "../owner/state.js";
import { answerBytes } from "./answers.js";
import { AskError, NotNow, NotTaken } from "./errors.js";
import type { Service } from "./service.js";
import { largestReply, readReply, requestBody, type Reply } from "./wire.js";

const [FIRST, LONGEST] = [5, 6 * 3600]; // seconds of back-off: after the first failure, and at most
const JITTER = 0.5; // of it at least, so that devices do not come back together
const MOST_BYTES = 64 * 2 ** 20; // of all answers together
const TOGETHER = 32; // samples in one request

export interface AskOptions {
  /** Fingerprint of the only mentor whose answers are taken, where the bundle names none. */
  readonly mentor?: string;
  /** Asked before each request, whether it may be sent now: `onNetwork`, `onCharger`, or any other. */
  readonly when?: () => boolean | Promise<boolean>;
  /** Samples to send now. */
  readonly most?: number;
  /** Samples in one request, 32 by default. */
  readonly together?: number;
  /** Ends before the next request. */
  readonly signal?: AbortSignal;
}

/** The end of one `Asking.run`: how many samples were `sent` and `answered` in it, `waiting` and `refused` in all; `why` it ended
 * before nothing waited, and the seconds until it is worth calling again (`after`). */
export interface AskResult {
  readonly sent: number;
  readonly answered: number;
  readonly waiting: number;
  readonly refused: number;
  readonly why: string;
  readonly after: number;
}

export class Asking {
  private running = false;

  /** `clock` in seconds since 1970. */
  constructor(
    private readonly state: State,
    private readonly learner: Learner,
    private readonly clock: () => number = () => Date.now() / 1000,
  ) {}

  /** What waits, and what has left the device so far. */
  get asked(): Asked {
    return this.state.now.asked;
  }

  /** Numbers of the samples that have an answer. */
  get answered(): readonly number[] {
    return this.state.now.answers.map(({ number }) => number);
  }

  /** Chooses stored samples, by default all there are now, to be sent to the mentor's service by `run`; the numbers that wait
   * now for it. Those that are answered or wait already are passed over. Throws SampleError for one that is not there. */
  async add(samples?: readonly number[]): Promise<number[]> {
    const stored = new Set(this.state.now.samples.map(({ number }) => number));
    const missing = samples?.find((number) => !stored.has(number));
    if (missing !== undefined) throw new SampleError(`no sample ${missing} in the sample store: nothing was chosen`);
    const fresh = (asked: Asked): number[] => {
      const passed = new Set([...this.answered, ...asked.waiting]);
      return [...new Set(samples ?? stored)].filter((number) => !passed.has(number));
    };
    let added = fresh(this.asked);
    const text = added.length ? `${added.length} samples may leave the device for the mentor's service` : "";
    await this.change((asked) => {
      added = fresh(asked); // another call may have chosen some meanwhile
      return { ...left(asked, added), waiting: [...asked.waiting, ...added] };
    }, text);
    return added;
  }

  /** Takes samples out of the queue, by default all of them; the numbers that waited. What was sent stays counted. */
  async remove(samples?: readonly number[]): Promise<number[]> {
    const gone = this.asked.waiting.filter((number) => samples?.includes(number) ?? true);
    const text = gone.length ? `${gone.length} samples wait for the mentor no longer` : "";
    await this.change((asked) => ({ ...asked, waiting: asked.waiting.filter((one) => !gone.includes(one)) }), text);
    return gone;
  }

  /** Asks `service` about what waits, until nothing does, `most` samples were sent, or `when` says no before a request.
   *
   * A service that is away or busy ends the run, and is left alone for a while that grows. Throws AskError for what waiting does
   * not mend; what was answered by then is stored. */
  async run(service: Service, options: AskOptions = {}): Promise<AskResult> {
    if (this.running) throw new AskError("the mentor is being asked already: wait for that to end");
    this.running = true;
    try {
      return await this.asking(service, options);
    } finally {
      this.running = false;
    }
  }

  private async asking(service: Service, { when, signal, ...options }: AskOptions): Promise<AskResult> {
    const { mentor = "", most = Number.POSITIVE_INFINITY, together = TOGETHER } = options;
    requireCount("together", together, 1);
    if (most !== Number.POSITIVE_INFINITY) requireCount("most", most, 0);
    const fingerprint = fingerprintOf(this.learner.bundle.manifest, mentor);
    let [sent, answered, size] = [0, 0, together];
    const result = (why = "", after = 0): AskResult => {
      const { waiting, refused } = this.asked;
      const counts = { waiting: waiting.length, refused: Object.keys(refused).length };
      return { sent, answered, ...counts, why, after: Math.max(0, after) };
    };
    const { tries, why, notBefore } = this.asked;
    const wait = notBefore - this.clock();
    if (wait > 0 && wait <= LONGEST) return result(`left alone after ${tries} failures: ${why}`, wait); // longer: the clock went back
    while (this.asked.waiting.length && sent < most) {
      if (signal?.aborted) return result("ended");
      if (when !== undefined && !(await when())) return result("not under these conditions");
      requireSpace(this.state);
      const numbers = this.asked.waiting.slice(0, Math.min(size, most - sent));
      try {
        const told = await this.one(service, fingerprint, numbers);
        [sent, answered, size] = [sent + told, answered + told, together];
      } catch (error) {
        if (!(error instanceof NotNow || error instanceof NotTaken)) throw error;
        sent += numbers.length;
        if (error instanceof NotNow) {
          await this.wait(error);
          return result(error.message, this.asked.notBefore - this.clock());
        }
        if (numbers.length > 1) size = Math.max(1, numbers.length >> 1);
        else await this.refuse(numbers[0] ?? 0, error.message);
      }
    }
    return result();
  }

  /** One request, and what it brought in one change; how many samples were answered. */
  private async one(service: Service, mentor: string, wanted: readonly number[]): Promise<number> {
    const { manifest } = this.learner.bundle;
    const raw = this.state.now.samples.filter(({ dtype }) => dtype === manifest.preprocessing.dtype);
    if (wanted.some((number) => !raw.some((one) => one.number === number))) {
      throw new AskError(
        "samples that were stored preprocessed cannot be sent: the service takes raw ones; remove them",
      );
    }
    const [samples, , numbers] = await readSamples(this.state, manifest, wanted);
    if (!numbers.length) return 0; // damaged, and removed
    const [body, kind] = requestBody(samples.input, manifest, mentor);
    await this.count(service, numbers, body.length);
    const content = await service.ask(body, kind, largestReply(manifest, numbers.length));
    await this.store(numbers, readReply(content, manifest, mentor, numbers.length));
    return numbers.length;
  }

  private async store(numbers: readonly number[], reply: Reply): Promise<void> {
    const { classes, spare } = this.learner.bundle.manifest;
    const K = classes.length;
    const made: Omit<StoredAnswer, "version">[] = [];
    for (const [row, number] of numbers.entries()) {
      const part = <T extends Float32Array | Uint16Array>(values: T, each: number): T =>
        values.slice(row * each, (row + 1) * each) as T;
      const layers = Array.from(reply.activations, ([probe, values]) => {
        return [probe, part(values, values.length / numbers.length)] as const;
      });
      const bytes = answerBytes({ mentorLogits: part(reply.mentorLogits, K), activations: new Map(layers) });
      made.push({ ...(await this.state.put(`answer-${number}`, bytes)), number, open: spare.length > 0 });
    }
    const brought = new Set(numbers);
    await this.state.change(
      ({ answers, asked, next }) => ({
        answers: [
          ...answers.filter(({ number }) => !brought.has(number)),
          ...made.map((one) => ({ ...one, version: this.state.beginning ?? next.version - 1 })),
        ],
        asked: {
          ...asked,
          waiting: asked.waiting.filter((number) => !brought.has(number)),
          answered: asked.answered + numbers.length,
          tries: 0,
          notBefore: 0,
          why: "",
        },
      }),
      "ask",
      `the mentor answered ${numbers.length} samples`,
    );
  }

  private async count({ address }: Service, numbers: readonly number[], bytes: number): Promise<void> {
    const last = timeOf(this.clock());
    const now = Object.fromEntries(numbers.map((number) => [String(number), last]));
    await this.change((asked) => ({
      ...asked,
      left: { ...asked.left, ...now },
      last,
      service: address,
      sent: asked.sent + numbers.length,
      sentBytes: asked.sentBytes + bytes,
    }));
  }

  private async refuse(number: number, why: string): Promise<void> {
    await this.change(
      (asked) => ({
        ...asked,
        waiting: asked.waiting.filter((one) => one !== number),
        refused: { ...asked.refused, [String(number)]: why },
        tries: 0,
      }),
      `the service does not take sample ${number}: ${why}`,
    );
  }

  private async wait({ message, after }: NotNow): Promise<void> {
    const tries = this.asked.tries + 1;
    const backedOff = Math.min(LONGEST, FIRST * 2 ** Math.min(tries - 1, 30)) * (JITTER + (1 - JITTER) * Math.random());
    const notBefore = this.clock() + Math.min(LONGEST, Math.max(backedOff, after ?? 0));
    const text = `not answered, ${this.asked.waiting.length} samples wait: ${message}`;
    await this.change((asked) => ({ ...asked, tries, notBefore, why: message }), text);
  }

  private async change(changed: (asked: Asked) => Asked, text = ""): Promise<void> {
    await this.state.change(({ asked }) => ({ asked: changed(asked) }), "ask", text);
  }
}

/** Chosen anew: no longer refused. */
function left(asked: Asked, added: readonly number[]): Asked {
  const refused = Object.entries(asked.refused).filter(([number]) => !added.includes(Number(number)));
  return { ...asked, refused: Object.fromEntries(refused) };
}

function requireCount(name: string, value: number, least: number): void {
  if (Number.isInteger(value) && value >= least) return;
  throw new AskError(`${name} is ${value}, expected a whole number of at least ${least}`);
}

function requireSpace({ now }: State): void {
  if (now.answers.reduce((sum, { bytes }) => sum + bytes, 0) < MOST_BYTES) return;
  throw new AskError(`the stored answers take ${MOST_BYTES / 2 ** 20} MiB: unlearn samples that are no longer needed`);
}

function fingerprintOf({ mentor }: Manifest, given: string): string {
  const named = mentor?.fingerprint ?? "";
  if (given && named && given !== named) {
    throw new AskError(
      `the bundle's mentor is ${named.slice(0, 12)}…, not ${given.slice(0, 12)}…: answers of another are refused`,
    );
  }
  if (!given && !named)
    throw new AskError("the bundle names no mentor: give the fingerprint that its service prints (mentor)");
  return given || named;
}
