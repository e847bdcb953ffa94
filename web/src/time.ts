import { computed, signal } from "@preact/signals";

// Times are told by the server's clock: a laptop that is an hour off must not
// show a member as suspect "for 1 h". The offset is learnt from the stream.
const offset = signal(0);

// tick is the local time of the last full second; one timer drives the page.
const tick = signal(Date.now());
setInterval(() => (tick.value = Date.now()), 1000);

/** localNow is the time of this machine, once a second. */
export const localNow = computed(() => tick.value);

/** now is the time of the server, once a second. */
export const now = computed(() => tick.value + offset.value);

/** learnClock takes a server time that was sent just now. */
export function learnClock(serverTime: string | null | undefined): void {
  const t = Date.parse(serverTime ?? "");
  if (!isNaN(t)) offset.value = t - Date.now();
}

const units: [number, string][] = [
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
];

/** span says how long n seconds are: "2 d 4 h"; a second unit is given for units of fine seconds and more. */
export function span(seconds: number, fine = 60): string {
  const s = Math.max(0, Math.floor(seconds));
  const i = units.findIndex(([size]) => s >= size);
  const [size, word] = units[i] ?? [1, "s"];
  const head = `${Math.floor(s / size)} ${word}`;
  const next = units[i + 1];
  const rest = next ? Math.floor((s % size) / next[0]) : 0;
  return next && rest && size >= fine && s < 10 * size ? `${head} ${rest} ${next[1]}` : head;
}

/** known reports whether a timestamp holds a time: the zero time means "never". */
export const known = (at: string | undefined): at is string => !!at && !at.startsWith("0001-");

/** absolute is the full local form for people who compare with a log. */
export function absolute(at: string): string {
  const d = new Date(at);
  return isNaN(d.getTime()) ? at : d.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
}

/** since is the number of seconds from a server timestamp until now. */
export const since = (at: string): number => (now.value - Date.parse(at)) / 1000;
