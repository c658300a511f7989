// What a view shows of a room, from the owner's record.

import type { Version } from "../../../../src/index.js";
import type { Overview, VersionLine } from "../../shared/messages.js";
import type { Room } from "../room/room.js";
import { learntNumbers } from "./learnt.js";
import { freePlaces, taughtClasses, unnamed } from "./teaching.js";

const LOG_LINES = 60;

export function overviewOf(room: Room): Overview {
  const { owner, place, scores, everybody, knobs } = room;
  const learnt = learntNumbers(owner);
  const { alpha, beta, gamma } = knobs;
  return {
    classes: owner.classes.filter((name) => !unnamed(owner).has(name)),
    taught: taughtClasses(owner),
    room: room.name === "shapes" ? freePlaces(owner) : null,
    samples: owner.samples.map(({ number, label, time }) => ({
      number,
      time,
      name: owner.classes[label] ?? "",
    })),
    waiting: owner.samples.filter(({ number }) => !learnt.has(number)).length,
    current: owner.current,
    versions: owner.versions.map((one) => lineOf(one)).reverse(),
    log: owner.log
      .slice(-LOG_LINES)
      .reverse()
      .map(({ time, kind, text }) => ({
        time,
        text: kind === "settings" ? `setting ${text.replace(/[{}"]/g, "")}` : text,
      })),
    everybody,
    score: room.name === "digits" ? scores.now : null,
    knobs: { alpha, beta, gamma },
    bytes: bytesOf(room),
    lasting: place.lasting,
    why: place.why,
    heldBack: place.storage.heldBack,
  };
}

function lineOf({ number, status, time, progress, verdict, why, snapshot }: Version): VersionLine {
  const canReturn = status === "accepted" && snapshot !== null;
  return { number, status, time, steps: progress.steps, everybody: accuracyIn(verdict), why, canReturn };
}

/** Of the run's end on the golden set, as the guard wrote it down. */
function accuracyIn({ update }: Version["verdict"]): number | null {
  const accuracy: unknown = (update as { accuracy?: unknown } | undefined)?.accuracy;
  return typeof accuracy === "number" ? accuracy : null;
}

function bytesOf({ owner }: Room): number {
  const pieces = [...owner.samples, ...owner.versions.flatMap(({ snapshot }) => snapshot ?? [])];
  return pieces.reduce((all, { bytes }) => all + bytes, 0);
}
