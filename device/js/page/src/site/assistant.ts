// The page's end of the talk with the worker: a promise for each request.

import workerUrl from "../worker/main.ts?worker&url";
import type { CallName, Calls, Refusal, Reply, Request, RoomName } from "../shared/messages.js";

/** What the worker refused; `refusal.kind` is what the page has words for. */
export class Refused extends Error {
  override readonly name = "Refused";

  constructor(readonly refusal: Refusal) {
    super(refusal.line);
  }
}

interface Waiting {
  readonly request: Request;
  readonly gives: (answer: unknown) => void;
  readonly refuses: (error: unknown) => void;
  readonly progress: ((fraction: number) => void) | undefined;
}

export class Assistant {
  private readonly waiting = new Map<number, Waiting>();
  private worker: Worker;
  private next = 1;
  private heard = false;
  private dead = false; // it could not be started: the next request tries again

  constructor() {
    this.worker = this.started(inheritingPolicy(workerUrl));
  }

  /** Throws Refused. `progress` hears of the shares, 0 to 1, of a run of learning. */
  ask<Name extends CallName>(
    room: RoomName,
    call: Name,
    given: Calls[Name]["takes"],
    progress?: (fraction: number) => void,
  ): Promise<Calls[Name]["gives"]> {
    const id = this.next++;
    if (this.dead) this.restart();
    return new Promise((resolve, reject) => {
      const gives = resolve as (answer: unknown) => void;
      const request = { id, room, call, given } as Request;
      this.waiting.set(id, { request, gives, refuses: reject, progress });
      this.worker.postMessage(request);
    });
  }

  /** Ends the run of learning in `room`. */
  stop(room: RoomName): void {
    this.worker.postMessage({ stop: room });
  }

  private started(url: string): Worker {
    const worker = new Worker(url, { type: "module", name: "mentee" });
    worker.onmessage = ({ data }: MessageEvent<Reply>) => this.hear(data);
    worker.onerror = (event) => {
      event.preventDefault();
      if (!this.heard && url !== workerUrl) this.restart();
      else {
        this.dead = !this.heard;
        this.refuseAll(event.message || "the worker could not be started");
      }
    };
    return worker;
  }

  /** For a browser that starts no module from a blob. */
  private restart(): void {
    this.worker.terminate();
    this.dead = false;
    this.worker = this.started(workerUrl);
    for (const { request } of this.waiting.values()) this.worker.postMessage(request);
  }

  private refuseAll(line: string): void {
    for (const { refuses } of this.waiting.values())
      refuses(new Refused({ kind: this.heard ? "other" : "network", line }));
    this.waiting.clear();
  }

  private hear(reply: Reply): void {
    this.heard = true;
    const one = this.waiting.get(reply.id);
    if (one === undefined) return;
    if ("progress" in reply) return one.progress?.(reply.progress);
    this.waiting.delete(reply.id);
    if ("gives" in reply) one.gives(reply.gives);
    else one.refuses(new Refused(reply.refused));
  }
}

/** A worker of a URL would have a policy of its own, that of its file's headers, and a plain host sends none; one of a blob has
 * the page's Content-Security-Policy, so that nothing leaves it either. */
function inheritingPolicy(url: string): string {
  const module = `import ${JSON.stringify(new URL(url, location.href).href)};`;
  return URL.createObjectURL(new Blob([module], { type: "text/javascript" }));
}
