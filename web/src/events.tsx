import { withoutToken } from "./actor";
import { Ago, Card } from "./parts";
import { events, nameOf } from "./state";
import { eventLook } from "./tone";
import type { ClusterEvent } from "./types";

const shownEvents = 40;

/** Events lists what happened, as it happens, the newest first. */
export function Events() {
  const all = events.value;
  return (
    <Card title="Events" path="v1/events">
      {all.length ? (
        <ol class="events" tabIndex={0} aria-label="Events, newest first">{all.slice(0, shownEvents).map((e) => <Item key={e.node_id + e.seq + e.at} e={e} />)}</ol>
      ) : (
        <p class="empty">No events yet. They appear here as they happen.</p>
      )}
    </Card>
  );
}

function Item({ e }: { e: ClusterEvent }) {
  const { tone, word, Glyph } = eventLook(e);
  return (
    <li class={"tone-" + tone}>
      <span class="event-mark"><Glyph /></span>
      <div>
        <p class="event-text">{withoutToken(e.text) || `${e.subject} ${e.from ?? ""} → ${e.to ?? ""}`}</p>
        <p class="event-meta">
          <Ago at={e.at} /> · {word}
          {e.rev ? ` · rev ${e.rev}` : ""}
          {e.node_id ? ` · seen by ${nameOf.value(e.node_id)}` : ""}
          {e.code && <> · <code class="code">{e.code}</code></>}
        </p>
      </div>
    </li>
  );
}
