import { signal } from "@preact/signals";
import type { Session } from "./types";

/** root is the path under which the node answers: the dashboard lives at {root}ui/. */
export const root = new URL("..", document.baseURI).pathname;

const storeKey = "muster.token:" + root;

/** token is the bearer of this tab. It ends with the tab and is sent to this node only. */
export const token = signal(sessionStorage.getItem(storeKey) ?? "");

export function signIn(value: string): void {
  if (value) sessionStorage.setItem(storeKey, value);
  else sessionStorage.removeItem(storeKey);
  token.value = value;
}

/** Refusal is a problem answer: what, why, and what to do next. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    text: string,
    readonly fix: string,
  ) {
    super(text);
  }
}

/** ask sends a request with the token and throws a Refusal for any answer that is not a success. */
export async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (token.peek()) headers.set("Authorization", "Bearer " + token.peek());
  const answer = await fetch(root + path, { ...init, headers, cache: "no-store", credentials: "same-origin" });
  if (answer.ok || answer.status === 304) return answer;
  throw await refusal(answer);
}

async function refusal(answer: Response): Promise<Refusal> {
  const body = await answer.json().catch(() => ({}));
  const text = body.detail || body.title || `the node answered ${answer.status}`;
  return new Refusal(answer.status, body.code || "", text, body.fix || "");
}

/** redeem trades a one-use login code for a session: a token, or over TLS a cookie. */
export async function redeem(code: string): Promise<void> {
  const body = JSON.stringify({ code });
  const answer = await ask("v1/session", { method: "POST", body, headers: { "Content-Type": "application/json" } });
  const session: Session = await answer.json();
  signIn(session.token);
}

/** cli is the command line with the address of this node, unless it is the default one. */
export function cli(command: string): string {
  const usual = location.host === "127.0.0.1:9113" && root === "/";
  return `muster ${command}` + (usual ? "" : ` --addr ${location.origin}${root}`);
}

/** curl is the command that reads what a card shows. The token stays a variable. */
export const curl = (path: string): string =>
  `curl -s -H "Authorization: Bearer $MUSTER_TOKEN" '${location.origin}${root}${path}'`;
