import { Arrow } from "./icons";
import { CopyCurl, Lasting } from "./parts";
import { status } from "./state";
import { known } from "./time";
import { healthLook } from "./tone";
import type { Problem, Status } from "./types";

/** Verdict is the answer to the one question: is it fine, and if not, what now? */
export function Verdict() {
  const s = status.value;
  if (!s) return <p class="waiting" role="status">Waiting for the first answer of this node.</p>;
  const { word, tone, Glyph } = healthLook(s.cluster_health);
  const [head, rest] = clauses(sentence(s), s.problems ?? []);
  return (
    <section class={"verdict tone-" + tone} aria-labelledby="verdict-sentence">
      <span class="verdict-mark"><Glyph /></span>
      <div class="verdict-body">
        <div class="verdict-text" aria-live="polite" aria-atomic="true">
          <p class="verdict-word">{word}</p>
          <h1 id="verdict-sentence">{head}</h1>
          {rest && <p class="verdict-rest">{rest}</p>}
        </div>
        <Problems list={s.problems ?? []} />
      </div>
      <CopyCurl path="cluster/status" what="the verdict" />
    </section>
  );
}

// sentence falls back on the numbers: visitors without a token get no summary.
function sentence(s: Status): string {
  if (s.summary) return s.summary;
  if (!s.cluster_id) return `${s.local_node} belongs to no cluster yet`;
  return `${s.healthy_members} of ${s.cluster_size} members are healthy`;
}

const headline = 80; // characters that are read at a glance

// clauses splits a long verdict: its first clause is the headline. What a
// problem below says anyway is not said twice.
function clauses(text: string, problems: readonly Problem[]): [string, string] {
  if (text.length <= headline) return [text, ""];
  const [head = "", ...rest] = text.split("; ");
  const listed = new Set(problems.map((p) => p.text));
  return [head, rest.filter((clause) => !listed.has(clause.replace(/\.$/, ""))).join("; ")];
}

function Problems({ list }: { list: readonly Problem[] }) {
  if (!list.length) return null;
  return (
    <ul class="problems" aria-label="Problems">
      {list.map((p, i) => (
        <li key={p.code + i}>
          <p>
            <code class="code">{p.code}</code> {p.text}{" "}
            {known(p.since) && <span class="muted">· <Lasting at={p.since} /></span>}
          </p>
          {p.fix && <p class="fix"><Arrow /><span><b>Fix:</b> {p.fix}</span></p>}
        </li>
      ))}
    </ul>
  );
}
