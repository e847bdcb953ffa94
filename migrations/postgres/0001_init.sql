-- The config store. One cluster per database schema. Keys have collation "C":
-- the same order as in Go and SQLite, whatever the locale of the server.

create table config_cluster (
    one        boolean primary key default true check (one),
    cluster_id text collate "C" not null,
    epoch      bigint not null,
    created_at timestamptz not null default clock_timestamp()
);

-- The head: every write locks this row first, so that revisions are dense and
-- commit in their order.
create table config_head (
    one           boolean primary key default true check (one),
    rev           bigint not null,
    chain         bytea not null check (octet_length(chain) = 32),
    items         bigint not null,
    compacted_rev bigint not null default 0
);

-- The live documents. spec is canonical JSON as text and not as jsonb, which
-- would rewrite numbers and so change the digest.
create table config_item (
    kind        text collate "C" not null,
    name        text collate "C" not null,
    spec        text collate "C" not null check (octet_length(spec) <= 262144),
    digest      bytea not null check (octet_length(digest) = 32),
    generation  bigint not null,
    created_rev bigint not null,
    rev         bigint not null,
    updated_at  timestamptz not null,
    updated_by  text not null,
    reason      text not null,
    primary key (kind, name)
);

-- The history. op: 1 = put, 2 = delete (then spec is null).
create table config_change (
    rev         bigint primary key,
    op          smallint not null check (op in (1, 2)),
    kind        text collate "C" not null,
    name        text collate "C" not null,
    spec        text collate "C" check ((spec is null) = (op = 2)),
    digest      bytea not null check (octet_length(digest) = 32),
    chain       bytea not null check (octet_length(chain) = 32),
    generation  bigint not null,
    created_rev bigint not null,
    actor       text not null,
    node_id     text not null,
    reason      text not null,
    request_id  text collate "C",
    at          timestamptz not null
);
create unique index config_change_request on config_change (request_id) where request_id is not null;

-- Boot numbers are unsigned 64-bit, kept as the signed number of the same bits.
create table member (
    node_id      text collate "C" primary key,
    name         text not null,
    url          text not null,
    boot_counter bigint not null,
    boot_random  bigint not null,
    role         text not null,
    version      text not null,
    zone         text not null,
    state        text not null,
    joined_at    timestamptz not null,
    seen_at      timestamptz not null
);

-- config_apply_v1 runs a batch of writes: one element of each array per write;
-- neighbours with equal p_groups are applied all or none. It returns one row per
-- write that it came to. o_code is '' (applied), 'repeated' (o_* is the change of
-- the same request id), 'conflict' (o_* is the document on record, o_rev is null
-- if there is none), 'not-found' or 'bad-document' (o_reason says why). In a group
-- with a refused write only the row of that write counts.
-- Errors MU001 (no cluster) and MU002 (another cluster) end the whole call.
create function config_apply_v1(
    p_cluster text, p_ops smallint[], p_kinds text[], p_names text[], p_specs text[], p_expects bigint[],
    p_actors text[], p_nodes text[], p_reasons text[], p_requests text[], p_groups integer[]
) returns table (
    o_idx integer, o_code text, o_rev bigint, o_op smallint, o_kind text, o_name text, o_spec text,
    o_digest bytea, o_chain bytea, o_generation bigint, o_created_rev bigint,
    o_actor text, o_node_id text, o_reason text, o_request_id text, o_at timestamptz
)
language plpgsql
set lock_timeout = '2500ms'
as $$
declare
    v_total  integer := coalesce(array_length(p_ops, 1), 0);
    v_head   config_head%rowtype;
    v_before config_head%rowtype;
    v_id     text;
    v_now    timestamptz;
    v_item   config_item%rowtype;
    v_c      config_change%rowtype;
    v_first  integer := 1;
    v_last   integer;
begin
    -- An acknowledged write is durable, whatever the server's default is.
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'on', true);
    end if;
    select * into v_head from config_head for update;
    select cluster_id into v_id from config_cluster;
    if v_head.rev is null or v_id is null then
        raise exception 'no cluster has been formed' using errcode = 'MU001';
    elsif v_id <> p_cluster then
        raise exception 'the database belongs to cluster %', v_id using errcode = 'MU002';
    end if;
    v_now := clock_timestamp();

    while v_first <= v_total loop
        v_last := v_first;
        while v_last < v_total and p_groups[v_last + 1] = p_groups[v_first] loop
            v_last := v_last + 1;
        end loop;
        v_before := v_head;
        begin
            for i in v_first .. v_last loop
                o_idx := i; o_code := ''; o_rev := null; o_kind := p_kinds[i]; o_name := p_names[i]; o_spec := null;

                if p_requests[i] is not null then
                    select * into v_c from config_change where request_id = p_requests[i];
                    if found then
                        o_code := 'repeated'; o_spec := v_c.spec; o_kind := v_c.kind; o_name := v_c.name;
                    end if;
                end if;

                if o_code = '' then
                    select * into v_item from config_item where kind = p_kinds[i] and name = p_names[i];
                    if not found and p_ops[i] = 2 then
                        o_code := 'not-found';
                    elsif not found and p_expects[i] > 0 then
                        o_code := 'conflict';
                    elsif found and p_expects[i] >= 0 and p_expects[i] <> v_item.rev then
                        o_code := 'conflict';
                        o_rev := v_item.rev; o_spec := v_item.spec; o_generation := v_item.generation;
                        o_created_rev := v_item.created_rev; o_actor := v_item.updated_by;
                        o_reason := v_item.reason; o_at := v_item.updated_at;
                    end if;
                    if o_code <> '' then
                        return next;
                        raise exception 'refused' using errcode = 'MU003';
                    end if;

                    v_c.rev := v_head.rev + 1;
                    v_c.op := p_ops[i]; v_c.kind := p_kinds[i]; v_c.name := p_names[i]; v_c.spec := p_specs[i];
                    v_c.generation := coalesce(v_item.generation, 0) + 1;
                    v_c.created_rev := coalesce(v_item.created_rev, v_c.rev);
                    v_c.actor := p_actors[i]; v_c.node_id := p_nodes[i]; v_c.reason := p_reasons[i];
                    v_c.request_id := p_requests[i]; v_c.at := v_now;
                    if v_c.op = 1 then
                        perform v_c.spec::jsonb; -- raises if it does not parse
                        v_c.digest := sha256(convert_to(v_c.spec, 'UTF8'));
                    else
                        v_c.digest := decode(repeat('00', 32), 'hex');
                    end if;
                    v_c.chain := sha256(v_head.chain || int8send(v_c.rev) || substring(int2send(v_c.op) from 2)
                        || int4send(octet_length(v_c.kind)) || convert_to(v_c.kind, 'UTF8')
                        || int4send(octet_length(v_c.name)) || convert_to(v_c.name, 'UTF8') || v_c.digest);

                    insert into config_change select v_c.*;
                    if v_c.op = 1 then
                        insert into config_item values (v_c.kind, v_c.name, v_c.spec, v_c.digest, v_c.generation,
                            v_c.created_rev, v_c.rev, v_now, v_c.actor, v_c.reason)
                        on conflict (kind, name) do update set spec = excluded.spec, digest = excluded.digest,
                            generation = excluded.generation, created_rev = excluded.created_rev, rev = excluded.rev,
                            updated_at = excluded.updated_at, updated_by = excluded.updated_by, reason = excluded.reason;
                    else
                        delete from config_item where kind = v_c.kind and name = v_c.name;
                    end if;
                    v_head.items := v_head.items + case when v_c.op = 2 then -1 when v_c.generation = 1 then 1 else 0 end;
                    v_head.rev := v_c.rev; v_head.chain := v_c.chain;
                end if;

                o_rev := v_c.rev; o_op := v_c.op; o_digest := v_c.digest; o_chain := v_c.chain;
                o_generation := v_c.generation; o_created_rev := v_c.created_rev; o_actor := v_c.actor;
                o_node_id := v_c.node_id; o_reason := v_c.reason; o_request_id := v_c.request_id; o_at := v_c.at;
                return next;
            end loop;
        exception
            when sqlstate 'MU003' then
                v_head := v_before;
            when data_exception or integrity_constraint_violation or program_limit_exceeded then
                v_head := v_before;
                o_code := 'bad-document'; o_rev := null; o_reason := sqlerrm;
                return next;
        end;
        v_first := v_last + 1;
    end loop;

    update config_head set rev = v_head.rev, chain = v_head.chain, items = v_head.items
    where rev <> v_head.rev;
end $$;
