import { batch, computed, signal } from "@preact/signals";
import { now } from "./time";
import type { Caller, ClusterEvent, ConfigKey, Member, Patch, Snapshot, Status } from "./types";

/** Feed says how the connection to the node is doing. */
export type Feed = "connecting" | "live" | "lost";

/** Access says what the node shows to this visitor. */
export type Access = "unknown" | "full" | "summary" | "nothing";

export const feed = signal<Feed>("connecting");
export const access = signal<Access>("unknown");
/** heard is the local time of the last sign of life. */
export const heard = signal(0);

export const caller = signal<Caller | null>(null);
export const status = signal<Status | null>(null);
/** started is when the node began to run, by its own clock. */
export const started = computed(() => now.peek() - (status.value?.uptime ?? 0) * 1000);
export const members = signal<ReadonlyMap<string, Member>>(new Map());
export const keys = signal<ReadonlyMap<string, ConfigKey>>(new Map());
export const events = signal<readonly ClusterEvent[]>([]);

/** nameOf maps a node id to the name that people chose. */
export const nameOf = computed(() => {
  const known = members.value;
  return (id: string) => known.get(id)?.name ?? id.slice(0, 8);
});

const keepEvents = 200;

export const keyOf = (k: { kind: string; name: string }): string => k.kind + "/" + k.name;

const index = <T>(items: readonly T[] | undefined, id: (item: T) => string): Map<string, T> =>
  new Map((items ?? []).map((item) => [id(item), item]));

export function replaceAll(s: Snapshot): void {
  batch(() => {
    status.value = s.status ?? null;
    members.value = index(s.members, (m) => m.id);
    keys.value = index(s.config, keyOf);
  });
}

export function applyPatch(p: Patch): void {
  batch(() => {
    if (p.status) status.value = p.status;
    members.value = merged(members.peek(), index(p.members, (m) => m.id), p.members_gone);
    keys.value = merged(keys.peek(), index(p.config, keyOf), p.config_gone);
  });
}

// merged returns the old map itself when nothing changed, so that nothing is drawn again.
function merged<T>(old: ReadonlyMap<string, T>, set: ReadonlyMap<string, T>, gone: readonly string[] = []) {
  if (!set.size && !gone.length) return old;
  const next = new Map([...old, ...set]);
  for (const key of gone) next.delete(key);
  return next;
}

/** addEvent keeps the newest first. A new stream repeats what an old one has told. */
export function addEvent(e: ClusterEvent): void {
  const told = events.peek();
  if (told.some((o) => o.seq === e.seq && o.at === e.at && o.node_id === e.node_id)) return;
  events.value = [e, ...told].sort((a, b) => Date.parse(b.at) - Date.parse(a.at) || b.seq - a.seq).slice(0, keepEvents);
}

/** forget drops everything that one identity was shown. */
export function forget(): void {
  batch(() => {
    caller.value = null;
    status.value = null;
    members.value = new Map();
    keys.value = new Map();
    events.value = [];
    access.value = "unknown";
    feed.value = "connecting";
  });
}
