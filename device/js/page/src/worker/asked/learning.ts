// One run of learning, as a view asks for it, and what came of it.

import { LIMITS, type Plan, type Running } from "../../../../src/index.js";
import type { LearnOptions, Outcome } from "../../shared/messages.js";
import { overviewOf } from "./overview.js";
import type { Room } from "../room/room.js";

const NO_GUARD = 1; // the whole accuracy may go: that is what the person wants to see

/** Learns by the room's settings. Without the mentor nothing is replayed and the guard lets it pass; it is one version more, which can be undone. */
export async function learn(room: Room, options: LearnOptions, running: Running): Promise<Outcome> {
  const { owner } = room;
  const { plan, correction, alone } = room.settings;
  const { goldenDrop } = owner.settings.goldenDrop === NO_GUARD ? LIMITS : owner.settings; // where a run without it was cut off
  const knobs = options.knobs ?? {};
  if (options.mentor && owner.settings.goldenDrop !== goldenDrop) await owner.set({ goldenDrop });
  if (options.mentor) return ran(room, { ...(options.correction ? correction : plan), knobs }, running);
  await owner.set({ goldenDrop: NO_GUARD });
  try {
    return await ran(room, { ...alone, knobs: { ...knobs, beta: 0, gamma: 0 } }, running);
  } finally {
    await owner.set({ goldenDrop });
  }
}

async function ran(room: Room, plan: Plan, running: Running): Promise<Outcome> {
  const { owner } = room;
  if (room.everybody === null) await room.measure();
  const before = room.everybody?.now ?? 0;
  const started = performance.now();
  const { status, why, steps, goldenAfter } = await owner.learn(plan, running);
  const seconds = (performance.now() - started) / 1000;
  if (status === "paused") await owner.discard("stopped by its owner");
  if (status === "accepted" && room.everybody !== null && goldenAfter !== null)
    room.everybody = { ...room.everybody, now: goldenAfter };
  return {
    status: status === "paused" ? "stopped" : status,
    why,
    steps,
    seconds,
    everybody: goldenAfter === null ? null : { before, after: goldenAfter },
    overview: overviewOf(room),
  };
}
