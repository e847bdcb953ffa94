-- Leases: the right of one process to do something alone. A row stays when its lease
-- is free (then holder is empty), so that terms only grow. ttl is in microseconds.
-- Boot numbers are kept as those of members.

create table lease (
    name         text collate "C" primary key,
    holder       text collate "C" not null,
    boot_counter bigint not null,
    boot_random  bigint not null,
    term         bigint not null,
    ttl          bigint not null,
    since        timestamptz not null,
    expires_at   timestamptz not null
);

-- lease_acquire_v1 gives the lease to a process if it is free, or prolongs it if that
-- process has it, and returns the row, with o_left, the microseconds that it is still
-- held. A lease that another one holds is neither written nor locked. Only the clock
-- of this server counts; one that was set back does not prolong what is held.
create function lease_acquire_v1(
    p_name text, p_holder text, p_boot_counter bigint, p_boot_random bigint, p_ttl bigint
) returns table (
    o_holder text, o_boot_counter bigint, o_boot_random bigint, o_term bigint, o_ttl bigint,
    o_since timestamptz, o_expires_at timestamptz, o_left bigint
)
language plpgsql
set lock_timeout = '2500ms'
as $$
declare
    v     lease%rowtype;
    v_now timestamptz := clock_timestamp();
    v_ttl interval := p_ttl * interval '1 microsecond';
begin
    -- A lease that was granted is not forgotten by a crash of the server.
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'on', true);
    end if;
    select * into v from lease where name = p_name;
    if not found then
        insert into lease values (p_name, '', 0, 0, 0, p_ttl, v_now, v_now) on conflict (name) do nothing;
    end if;
    if v.holder is null or v.holder = '' or v.expires_at <= v_now or v.expires_at - v_now > v.ttl * interval '1 microsecond'
        or (v.holder = p_holder and v.boot_counter = p_boot_counter and v.boot_random = p_boot_random) then
        select * into v from lease where name = p_name for update;
        v_now := clock_timestamp();
        if v.expires_at - v_now > v.ttl * interval '1 microsecond' then
            v.expires_at := v_now + v.ttl * interval '1 microsecond';
            update lease set expires_at = v.expires_at where name = p_name;
        end if;
        if v.holder = '' or v.expires_at <= v_now then
            v.holder := p_holder; v.boot_counter := p_boot_counter; v.boot_random := p_boot_random;
            v.term := greatest(v.term + 1, floor(extract(epoch from v_now) * 1000000)::bigint);
            v.ttl := p_ttl; v.since := v_now; v.expires_at := v_now + v_ttl;
        elsif v.holder = p_holder and v.boot_counter = p_boot_counter and v.boot_random = p_boot_random then
            v.ttl := p_ttl; v.expires_at := v_now + v_ttl;
        end if;
        update lease set holder = v.holder, boot_counter = v.boot_counter, boot_random = v.boot_random, term = v.term,
            ttl = v.ttl, since = v.since, expires_at = v.expires_at
        where name = p_name and lease is distinct from v;
    end if;
    return query select v.holder, v.boot_counter, v.boot_random, v.term, v.ttl, v.since, v.expires_at,
        (extract(epoch from v.expires_at - v_now) * 1000000)::bigint;
end $$;

-- lease_renew_v1 prolongs the lease of a process at its term, if it still holds it, and
-- returns the row like lease_acquire_v1, or none if there is no such lease.
create function lease_renew_v1(
    p_name text, p_holder text, p_boot_counter bigint, p_boot_random bigint, p_term bigint, p_ttl bigint
) returns table (
    o_holder text, o_boot_counter bigint, o_boot_random bigint, o_term bigint, o_ttl bigint,
    o_since timestamptz, o_expires_at timestamptz, o_left bigint
)
language plpgsql
set lock_timeout = '2500ms'
as $$
declare
    v     lease%rowtype;
    v_now timestamptz;
begin
    -- A lease that was granted is not forgotten by a crash of the server.
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'on', true);
    end if;
    select * into v from lease where name = p_name for update;
    if not found then
        return;
    end if;
    v_now := clock_timestamp();
    if v.holder = p_holder and v.boot_counter = p_boot_counter and v.boot_random = p_boot_random and v.term = p_term
        and v.expires_at > v_now then
        v.ttl := p_ttl;
        v.expires_at := v_now + p_ttl * interval '1 microsecond';
        update lease set ttl = v.ttl, expires_at = v.expires_at where name = p_name;
    end if;
    return query select v.holder, v.boot_counter, v.boot_random, v.term, v.ttl, v.since, v.expires_at,
        case when v.holder = '' then 0 else greatest(0, extract(epoch from v.expires_at - v_now) * 1000000) end::bigint;
end $$;
