import { ask, Refusal, root, signIn, token } from "./api";
import { parser, type Message } from "./sse";
import { access, addEvents, applyPatch, caller, feed, forget, heard, replaceAll, status } from "./state";
import { learnClock } from "./time";

const pollEvery = 3000; // for visitors who see the public status only
const quietFor = 2000; // after so much silence the node is asked whether it is there
const hiddenFor = 30_000; // a tab that nobody looks at gives its connection back

let current: AbortController | null = null;

/** start follows the node until stop. */
export function start(): void {
  stop();
  current = new AbortController();
  void follow(current.signal);
}

export function stop(): void {
  current?.abort();
  current = null;
}

/** restart begins anew under another identity. */
export function restart(): void {
  stop();
  forget();
  start();
}

async function follow(signal: AbortSignal): Promise<void> {
  for (let failures = 0; !signal.aborted; ) {
    try {
      if (await mayWatch(signal)) await watch(signal, () => (failures = 0));
      else {
        await sleep(pollEvery, signal);
        continue;
      }
    } catch (error) {
      if (error instanceof Refusal && error.status === 401) expire();
    }
    if (signal.aborted) return;
    feed.value = "lost";
    await sleep(pause(failures++), signal);
  }
}

// pause grows to 5 s and is spread, so that a restarted node is not met by
// every open dashboard in the same moment.
const pause = (failures: number): number => Math.min(5000, 500 * 2 ** failures) * (0.5 + Math.random() / 2);

const sleep = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
  });

// expire ends a session that the node does not accept any more.
function expire(): void {
  signIn("");
  forget();
}

// mayWatch reads the public status first: it tells whether this visitor may see
// more, by a token, by the cookie of a session, or because everybody may.
async function mayWatch(signal: AbortSignal): Promise<boolean> {
  if (token.peek()) return true;
  try {
    const answer = await ask("cluster/status", { signal });
    learnClock(answer.headers.get("Date"));
    const seen = await answer.json();
    access.value = seen.node_id ? "full" : "summary";
    if (access.value === "summary") status.value = seen;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    access.value = "nothing";
  }
  alive();
  return access.value === "full";
}

async function watch(signal: AbortSignal, connected: () => void): Promise<void> {
  const answer = await ask("v1/watch?topics=status,members,config,events", {
    signal,
    headers: { Accept: "text/event-stream" },
  });
  learnClock(answer.headers.get("Date"));
  access.value = "full";
  connected();
  alive();
  void history(signal);
  await read(answer.body!.getReader());
}

// history fills in what happened before the stream began, and who asks.
async function history(signal: AbortSignal): Promise<void> {
  const json = async (path: string) => (await ask(path, { signal, headers: { Accept: "application/json" } })).json();
  try {
    caller.value = await json("v1/session");
    addEvents((await json("v1/events")).events ?? []);
  } catch {
    // the stream itself shows whether the node is there
  }
}

async function read(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
  const decoder = new TextDecoder();
  let over = false;
  const push = parser((m) => (over = receive(m) || over));
  const doubt = setInterval(() => void probe(() => reader.cancel()), 1000);
  try {
    while (!over) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      push(decoder.decode(value, { stream: true }));
    }
    await reader.cancel();
  } finally {
    clearInterval(doubt);
  }
}

// probe asks a silent node for a sign of life: a pulled cable closes no stream,
// and old numbers must not look live for longer than three seconds.
async function probe(give: () => void): Promise<void> {
  if (document.hidden || Date.now() - heard.peek() < quietFor) return;
  try {
    await fetch(root + "health", { method: "HEAD", cache: "no-store", signal: AbortSignal.timeout(900) });
    alive();
  } catch {
    give();
  }
}

function alive(): void {
  heard.value = Date.now();
  feed.value = "live";
}

// receive applies one message and reports whether the node said good-bye.
function receive(m: Message): boolean {
  const data = JSON.parse(m.data);
  if (m.event === "hello") learnClock(data.at);
  else if (m.event === "snapshot") replaceAll(data);
  else if (m.event === "patch") applyPatch(data);
  else if (m.event === "event") addEvents([data]);
  return m.event === "bye";
}

/** followVisibility closes the stream of a hidden tab and opens it again. */
export function followVisibility(): void {
  let timer = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(stop, hiddenFor);
    else if (!current) start();
  });
  addEventListener("offline", () => (feed.value = "lost"));
  addEventListener("online", start);
}
