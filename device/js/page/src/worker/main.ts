// The worker: takes requests one after the other, and a stop at once.

import type { CallName, Reply, Request, RoomName, Stop } from "../shared/messages.js";
import { Desk } from "./desk.js";
import { refusalOf } from "./trouble.js";

const desks: Readonly<Record<RoomName, Desk>> = { shapes: new Desk("shapes"), digits: new Desk("digits") };
/** Runs of learning that are asked for, also while they wait behind the other room, and each room's request that is being answered. */
const stops: Readonly<Record<RoomName, Set<AbortController>>> = { shapes: new Set(), digits: new Set() };
let last: Promise<void> = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<Request | Stop>) => {
  if ("stop" in data) return stops[data.stop].forEach((one) => one.abort());
  const stop = new AbortController();
  if (data.call === "learn") stops[data.room].add(stop);
  last = last.then(() => answered(data, stop));
};

async function answered(request: Request, stop: AbortController): Promise<void> {
  const { id, room, call, given } = request;
  stops[room].add(stop);
  let said = 0; // the whole per cent that were reported
  const onProgress = ({ fraction }: { readonly fraction: number }): void => {
    const percent = Math.floor(100 * fraction);
    if (percent > said) reply({ id, progress: (said = percent) / 100 });
  };
  try {
    const ask = desks[room].calls[call] as (given: Request<CallName>["given"], running: object) => Promise<unknown>;
    reply({ id, gives: await ask(given, { signal: stop.signal, onProgress }) });
  } catch (error) {
    reply({ id, refused: refusalOf(error, call) });
  } finally {
    stops[room].delete(stop);
  }
}

function reply(message: Reply): void {
  self.postMessage(message);
}
