import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { ask, signIn } from "./api";
import { Auto, Logo, Moon, Sun } from "./icons";
import { access, caller, feed, heard, status } from "./state";
import { restart } from "./stream";
import { localNow, span } from "./time";

/** Frame is what surrounds every page: where am I, is it live, who am I. */
export function Frame({ children }: { children: ComponentChildren }) {
  const s = status.value;
  return (
    <div class={feed.value === "lost" ? "page stale" : "page"}>
      <a class="skip" href="#main" onClick={skip}>Skip to content</a>
      <header class="top">
        <a class="brand" href="#/" aria-label="muster, overview"><Logo /><span>muster</span></a>
        {s?.cluster_name && <span class="cluster">{s.cluster_name}</span>}
        {s?.local_node && <span class="seen-from">as seen from <b>{s.local_node}</b></span>}
        <span class="grow" />
        <Pulse />
        <Theme />
        <Who />
      </header>
      <Lost />
      {children}
    </div>
  );
}

// The hash belongs to the router: move the focus by hand.
function skip(e: Event): void {
  e.preventDefault();
  const main = document.getElementById("main");
  main?.setAttribute("tabindex", "-1");
  main?.focus();
}

const age = () => span((localNow.value - heard.value) / 1000);

function Pulse() {
  const live = access.value === "full" ? "live" : "updated every 3 s";
  const words = { connecting: "connecting", live, lost: heard.value ? `last update ${age()} ago` : "no answer" };
  return <span class={"pulse pulse-" + feed.value}><i aria-hidden="true" />{words[feed.value]}</span>;
}

function Lost() {
  const lost = feed.value === "lost";
  return (
    <div role="status" class="lost-region">
      {lost && <p class="lost">Connection to the node lost. {status.value ? "What you see is old; reconnecting." : "Reconnecting."}</p>}
    </div>
  );
}

const themes = ["auto", "light", "dark"] as const;
const glyphs = { auto: Auto, light: Sun, dark: Moon };

function Theme() {
  const theme = useSignal(themes.find((t) => t === localStorage.getItem("muster.theme")) ?? "auto");
  document.documentElement.dataset.theme = theme.value;
  const Glyph = glyphs[theme.value];
  const next = () => {
    theme.value = themes[(themes.indexOf(theme.value) + 1) % themes.length]!;
    localStorage.setItem("muster.theme", theme.value);
  };
  return <button type="button" class="icon-button" onClick={next} aria-label={`Theme: ${theme.value}. Change`} title={`theme: ${theme.value}`}><Glyph /></button>;
}

function Who() {
  const c = caller.value;
  if (c?.via === "anonymous" || access.value !== "full") return <a class="button" href="#/login">Sign in</a>;
  const leave = async () => {
    if (c?.via === "session") await ask("v1/session", { method: "DELETE" }).catch(() => {});
    signIn("");
    restart();
  };
  return (
    <span class="who">
      {c && <span class="who-name" title={`token ${c.id}`}>{c.subject} <span class="tag">{c.role}</span></span>}
      <button type="button" class="ghost" onClick={leave}>Sign out</button>
    </span>
  );
}
