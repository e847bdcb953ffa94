import type { FunctionComponent } from "preact";
import * as icon from "./icons";
import type { ClusterEvent, Health, Member } from "./types";

/** Look is how a state appears: never by colour alone. */
export interface Look {
  word: string;
  tone: "ok" | "warn" | "bad" | "info" | "quiet";
  Glyph: FunctionComponent;
  /** rank sorts the worst first. */
  rank: number;
}

const states: Record<string, Look> = {
  dead: { word: "dead", tone: "bad", Glyph: icon.Cross, rank: 0 },
  suspect: { word: "suspect", tone: "warn", Glyph: icon.Question, rank: 1 },
  unhealthy: { word: "unhealthy", tone: "bad", Glyph: icon.Broken, rank: 2 },
  draining: { word: "draining", tone: "info", Glyph: icon.Drain, rank: 3 },
  alive: { word: "alive", tone: "ok", Glyph: icon.Check, rank: 4 },
  left: { word: "left", tone: "quiet", Glyph: icon.Exit, rank: 5 },
  expelled: { word: "expelled", tone: "quiet", Glyph: icon.Ban, rank: 6 },
};

/** goneRank is the first rank of members that do not count any more. */
export const goneRank = 5;

const unknown = (word: string): Look => ({ word: word || "unknown", tone: "quiet", Glyph: icon.Dot, rank: 4 });

/** stateLook is the look of a member: alive and found unhealthy is a state of its own. */
export function stateLook(m: Pick<Member, "state" | "healthy">): Look {
  const word = m.state === "alive" && !m.healthy ? "unhealthy" : m.state;
  return states[word] ?? unknown(word);
}

const healths: Record<Health, Look> = {
  HEALTHY: { word: "Healthy", tone: "ok", Glyph: icon.Check, rank: 2 },
  DEGRADED: { word: "Degraded", tone: "warn", Glyph: icon.Warning, rank: 1 },
  UNHEALTHY: { word: "Unhealthy", tone: "bad", Glyph: icon.Cross, rank: 0 },
};

export const healthLook = (h: Health): Look => healths[h] ?? unknown(h);

const kinds: Record<string, Look> = {
  "config.change": { word: "config", tone: "info", Glyph: icon.Pen, rank: 0 },
  "cluster.alarm": { word: "alarm", tone: "bad", Glyph: icon.Warning, rank: 0 },
  "cluster.form": { word: "formed", tone: "ok", Glyph: icon.Check, rank: 0 },
  "store.state": { word: "store", tone: "quiet", Glyph: icon.Store, rank: 0 },
  join: { word: "join", tone: "info", Glyph: icon.Join, rank: 0 },
};

const storeTones: Record<string, Look["tone"]> = { fresh: "ok", stale: "warn", diverged: "bad" };

export const storeTone = (state: string): Look["tone"] => storeTones[state] ?? "quiet";

/** eventLook is the look of what happened: a change of state looks like the new state. */
export function eventLook(e: ClusterEvent): Look {
  if (e.kind === "member.state") return { ...(states[e.to ?? ""] ?? unknown("")), word: "member" };
  const look = kinds[e.kind] ?? unknown(e.kind.split(".")[0]!);
  return e.kind === "store.state" ? { ...look, tone: storeTone(e.to ?? "") } : look;
}
