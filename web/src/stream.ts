import { ask, Refusal, root, signIn, token } from "./api";
import { parser, type Message } from "./sse";
import { access, addEvent, applyPatch, caller, feed, forget, heard, replaceAll, status } from "./state";
import { learnClock } from "./time";

const pollEvery = 3000; // for visitors who see the public status only
const quietFor = 1200; // after so much silence the node is asked whether it is there
const answerWithin = 2500; // else the node counts as lost
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
    const answer = await patiently(signal, "cluster/status");
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

// patiently asks, but does not wait for ever for an answer to begin.
async function patiently(signal: AbortSignal, path: string): Promise<Response> {
  const abort = new AbortController();
  const give = () => abort.abort();
  const timer = setTimeout(give, answerWithin);
  signal.addEventListener("abort", give, { once: true });
  try {
    return await ask(path, { signal: abort.signal });
  } finally {
    clearTimeout(timer);
  }
}

async function watch(signal: AbortSignal, connected: () => void): Promise<void> {
  const answer = await patiently(signal, "v1/watch?topics=status,members,config,events");
  learnClock(answer.headers.get("Date"));
  access.value = "full";
  connected();
  alive();
  void introduce(signal);
  await read(answer.body!.getReader());
}

// introduce learns who the node takes this visitor for.
async function introduce(signal: AbortSignal): Promise<void> {
  try {
    caller.value = await (await ask("v1/session", { signal })).json();
  } catch {
    // the stream itself shows whether the node is there
  }
}

async function read(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
  const decoder = new TextDecoder();
  let over = false;
  const push = parser((m) => (over = receive(m) || over));
  const doubt = setInterval(() => void probe(() => reader.cancel()), 500);
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
let asking = false;

async function probe(give: () => void): Promise<void> {
  if (asking || document.hidden || Date.now() - heard.peek() < quietFor) return;
  asking = true;
  try {
    await fetch(root + "health", { method: "HEAD", cache: "no-store", signal: AbortSignal.timeout(900) });
    alive();
  } catch {
    give();
  }
  asking = false;
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
  else if (m.event === "event") addEvent(data);
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
