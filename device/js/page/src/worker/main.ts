// The worker: takes requests one after the other, and a stop at once.

import type { CallName, Reply, Request, RoomName, Stop } from "../shared/messages.js";
import { Desk } from "./desk.js";
import { refusalOf } from "./trouble.js";

const desks: Readonly<Record<RoomName, Desk>> = { shapes: new Desk("shapes"), digits: new Desk("digits") };
const stops = new Map<RoomName, AbortController>(); // of the request that is being answered
let last: Promise<void> = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<Request | Stop>) => {
  if ("stop" in data) stops.get(data.stop)?.abort();
  else last = last.then(() => answered(data));
};

async function answered(request: Request): Promise<void> {
  const { id, room, call, given } = request;
  const stop = new AbortController();
  stops.set(room, stop);
  let said = 0; // the whole per cent that were reported
  const onProgress = ({ fraction }: { readonly fraction: number }): void => {
    const percent = Math.floor(100 * fraction);
    if (percent > said) reply({ id, progress: (said = percent) / 100 });
  };
  try {
    const ask = desks[room].calls[call] as (given: Request<CallName>["given"], running: object) => Promise<unknown>;
    reply({ id, gives: await ask(given, { signal: stop.signal, onProgress }) });
  } catch (error) {
    reply({ id, refused: refusalOf(error) });
  } finally {
    stops.delete(room);
  }
}

function reply(message: Reply): void {
  self.postMessage(message);
}
