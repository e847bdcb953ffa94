import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ask, cli, redeem, Refusal, signIn } from "./api";
import { Warning } from "./icons";
import { Command } from "./parts";
import { restart } from "./stream";

/** Login signs in by the code of a link, or by a token that is pasted. */
export function Login({ code }: { code: string }) {
  const busy = useSignal(false);
  const problem = useSignal<{ text: string; fix: string } | null>(null);

  const attempt = async (enter: () => Promise<void>) => {
    busy.value = true;
    problem.value = null;
    try {
      await enter();
      restart();
      location.hash = "#/";
    } catch (e) {
      signIn("");
      problem.value = { text: (e as Error).message, fix: e instanceof Refusal ? e.fix : "check that the node runs, then try again" };
    }
    busy.value = false;
  };

  useEffect(() => {
    if (!code) return;
    history.replaceState(null, "", "#/login"); // a code is no bookmark
    void attempt(() => redeem(code));
  }, [code]);

  return (
    <main id="main" class="login card">
      <h1>Sign in</h1>
      {problem.value && (
        <div class="refusal tone-bad" role="alert">
          <Warning />
          <div>
            <p>{problem.value.text}</p>
            {problem.value.fix && <p><b>Fix:</b> {problem.value.fix}</p>}
          </div>
        </div>
      )}
      {busy.value ? <p role="status">Signing in…</p> : <Form enter={(text) => attempt(() => enter(text))} />}
    </main>
  );
}

// enter takes what people have at hand: a token, a login link, or its code.
async function enter(text: string): Promise<void> {
  const code = /code=([^&\s]+)/.exec(text)?.[1];
  if (code) return redeem(decodeURIComponent(code));
  signIn(text);
  await ask("v1/session");
}

const focus = (field: HTMLInputElement | null) => field?.focus();

function Form({ enter }: { enter: (text: string) => void }) {
  const text = useSignal("");
  const submit = (e: Event) => {
    e.preventDefault();
    if (text.value.trim()) enter(text.value.trim());
  };
  return (
    <>
      <p>The shortest way is a one-use link. On a machine that holds the cluster cookie:</p>
      <Command text={cli("ui")} />
      <form onSubmit={submit}>
        <label for="token">Or paste an operator token, or the link</label>
        <input id="token" ref={focus} type="password" autocomplete="off" spellcheck={false} value={text.value} onInput={(e) => (text.value = e.currentTarget.value)} />
        <button type="submit" class="primary">Sign in</button>
      </form>
      <p class="muted">A token stays in this tab and ends with it. Make one with <code>muster token create --role viewer</code>.</p>
    </>
  );
}
