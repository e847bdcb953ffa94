import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { curl } from "./api";
import { Check, Copy } from "./icons";
import { absolute, known, since, span } from "./time";
import type { Look } from "./tone";

/** Ago tells when something was, Lasting for how long something has been. */
export const Ago = ({ at }: { at: string | undefined }) => <Time at={at} after=" ago" />;
export const Lasting = ({ at }: { at: string | undefined }) => <Time at={at} before="for " />;

function Time({ at, before = "", after = "" }: { at: string | undefined; before?: string; after?: string }) {
  if (!known(at)) return <span class="muted">–</span>;
  const seconds = since(at);
  const text = after ? (seconds < 1 ? "now" : span(seconds, 3600) + after) : before + span(seconds);
  return <time dateTime={at} title={absolute(at)}>{text}</time>;
}

export const Pill = ({ look: { word, tone, Glyph } }: { look: Look }) => (
  <span class={"pill tone-" + tone}>
    <Glyph />
    {word}
  </span>
);

interface CardProps {
  title: string;
  count?: number | undefined;
  aside?: ComponentChildren;
  path: string;
  class?: string;
  children: ComponentChildren;
}

/** Card is one section with a heading and the command that reads the same. */
export function Card({ title, count, aside, path, class: extra = "", children }: CardProps) {
  const id = "h-" + title.toLowerCase();
  return (
    <section class={"card " + extra} aria-labelledby={id}>
      <header class="card-head">
        <h2 id={id}>
          {title}
          {count !== undefined && <span class="count">{count}</span>}
        </h2>
        {aside}
        <CopyCurl path={path} what={title.toLowerCase()} />
      </header>
      {children}
    </section>
  );
}

export const CopyCurl = ({ path, what }: { path: string; what: string }) => (
  <CopyButton text={curl(path)} label="copy as curl" what={what} />
);

interface CopyProps {
  text: string;
  label: string;
  what: string; // for those who do not see where the button is
}

/** CopyButton copies a text. Where the browser refuses, it shows the text selected. */
export function CopyButton({ text, label, what }: CopyProps) {
  const done = useSignal("");
  const shown = useRef<HTMLElement>(null);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      done.value = "copied";
      setTimeout(() => (done.value = ""), 1600);
    } catch {
      done.value = "manual"; // plain HTTP off this machine has no clipboard
      requestAnimationFrame(() => shown.current && getSelection()?.selectAllChildren(shown.current));
    }
  };
  return (
    <span class="copy">
      <button type="button" class="ghost" onClick={copy} title={text}>
        {done.value === "copied" ? <Check /> : <Copy />}
        <span>{done.value === "copied" ? "copied" : label}</span>
        <span class="hidden"> {what}</span>
      </button>
      <span class="hidden" role="status">{done.value === "copied" ? "copied" : ""}</span>
      {done.value === "manual" && <code class="copy-text" ref={shown}>{text}</code>}
    </span>
  );
}

/** Command is a line to paste into a terminal. */
export const Command = ({ text }: { text: string }) => (
  <div class="command">
    <pre tabIndex={0}><code>{text}</code></pre>
    <CopyButton text={text} label="copy" what="the command" />
  </div>
);

/** Filter is shown once a list is too long to be read at a glance. */
export function Filter({ of, value, set }: { of: string; value: string; set: (v: string) => void }) {
  return (
    <input
      class="filter"
      type="search"
      placeholder="filter"
      aria-label={"Filter " + of}
      value={value}
      onInput={(e) => set(e.currentTarget.value)}
    />
  );
}
