import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { withoutToken } from "./actor";
import { ask, cli, root } from "./api";
import { Chevron } from "./icons";
import { Ago, Card, Command, CopyCurl, Filter } from "./parts";
import { pretty } from "./pretty";
import { keyOf, keys } from "./state";
import { useSteady } from "./steady";
import type { ConfigKey } from "./types";

const glance = 8;
const page = 50;

/** Config lists the documents; a click shows one. */
export function Config() {
  const wanted = useSignal("");
  const open = useSignal("");
  const showAll = useSignal(false);
  const all = [...keys.value.values()].sort((a, b) => keyOf(a).localeCompare(keyOf(b)));
  const { rows, hold } = useSteady(all.filter((k) => keyOf(k).includes(wanted.value.trim())), keyOf);
  const shown = showAll.value ? rows : rows.slice(0, page);
  const toggle = (key: string) => (open.value = open.value === key ? "" : key);
  return (
    <Card
      title="Configuration"
      count={all.length}
      path="v1/config"
      aside={all.length > glance && <Filter of="configuration" value={wanted.value} set={(v) => (wanted.value = v)} />}
    >
      {all.length ? (
        <table role="table" class="config" {...hold}>
          <Head />
          <tbody role="rowgroup">
            {shown.map((k) => <Key key={keyOf(k)} k={k} open={open.value === keyOf(k)} toggle={toggle} />)}
          </tbody>
        </table>
      ) : (
        <Empty />
      )}
      {all.length > 0 && !rows.length && <p class="empty">No document matches the filter.</p>}
      {rows.length > shown.length && (
        <footer class="card-foot"><button type="button" class="ghost" onClick={() => (showAll.value = true)}>show all {rows.length}</button></footer>
      )}
    </Card>
  );
}

const Head = () => (
  <thead role="rowgroup">
    <tr role="row">
      <th role="columnheader" scope="col">Kind / name</th>
      <th role="columnheader" scope="col" class="num">Rev</th>
      <th role="columnheader" scope="col" class="num"><abbr title="Generation: changes of this document">Gen</abbr></th>
      <th role="columnheader" scope="col">Updated by</th>
      <th role="columnheader" scope="col" class="num">Updated</th>
    </tr>
  </thead>
);

interface KeyProps {
  k: ConfigKey;
  open: boolean;
  toggle: (key: string) => void;
}

function Key({ k, open, toggle }: KeyProps) {
  const key = keyOf(k);
  return (
    <>
      <tr role="row" class="clickable" onClick={() => toggle(key)}>
        <th role="rowheader" scope="row" class="cell-name">
          <button type="button" class="disclose" aria-expanded={open} onClick={(e) => (e.stopPropagation(), toggle(key))}>
            <Chevron />
            <span class="mono"><span class="muted">{k.kind}/</span>{k.name}</span>
          </button>
        </th>
        <td role="cell" data-label="Rev" class="num">{k.rev}</td>
        <td role="cell" data-label="Gen" class="num">{k.generation}</td>
        <td role="cell" data-label="Updated by" title={k.updated_by}>{withoutToken(k.updated_by) || "–"}</td>
        <td role="cell" data-label="Updated" class="num nowrap"><Ago at={k.updated_at} /></td>
      </tr>
      {open && (
        <tr role="row" class="spec-row"><td role="cell" colSpan={5}><Spec k={k} /></td></tr>
      )}
    </>
  );
}

// Spec shows the text as the node holds it, and follows changes.
function Spec({ k }: { k: ConfigKey }) {
  const text = useSignal("");
  const failed = useSignal("");
  const path = `v1/config/${encodeURIComponent(k.kind)}/${encodeURIComponent(k.name)}`;
  useEffect(() => {
    const abort = new AbortController();
    ask(path + "?raw", { signal: abort.signal })
      .then((answer) => answer.text())
      .then((raw) => ((text.value = pretty(raw)), (failed.value = "")))
      .catch((e: Error) => abort.signal.aborted || (failed.value = e.message));
    return () => abort.abort();
  }, [path, k.rev]);
  return (
    <div class="spec">
      <pre tabIndex={0} aria-label={`Specification of ${keyOf(k)}`}>{failed.value || text.value || " "}</pre>
      <CopyCurl path={path} what={keyOf(k)} />
    </div>
  );
}

function Empty() {
  const url = `${location.origin}${root}v1/config/route/demo?reason=first`;
  return (
    <div class="empty">
      <p>No documents yet. The first write becomes revision 1, on every member:</p>
      <Command text={cli(`config set route/demo '{"weight":10}'`)} />
      <p>or without the command line tool</p>
      <Command text={`curl -s -X PUT -H "Authorization: Bearer $MUSTER_TOKEN" -H 'If-None-Match: *' -d '{"weight":10}' '${url}'`} />
    </div>
  );
}
