-- The config store in one file, also the mirror of a store elsewhere. The tables
-- and columns are those of PostgreSQL; times are microseconds since 1970 UTC.

create table config_cluster (
    one        integer primary key default 1 check (one = 1),
    cluster_id text not null,
    epoch      integer not null,
    created_at integer not null
) strict;

create table config_head (
    one           integer primary key default 1 check (one = 1),
    rev           integer not null,
    chain         blob not null check (length(chain) = 32),
    items         integer not null,
    compacted_rev integer not null default 0
) strict;

create table config_item (
    kind        text not null,
    name        text not null,
    spec        text not null check (length(cast(spec as blob)) <= 262144),
    digest      blob not null check (length(digest) = 32),
    generation  integer not null,
    created_rev integer not null,
    rev         integer not null,
    updated_at  integer not null,
    updated_by  text not null,
    reason      text not null,
    primary key (kind, name)
) strict, without rowid;

create table config_change (
    rev         integer primary key,
    op          integer not null check (op in (1, 2)),
    kind        text not null,
    name        text not null,
    spec        text check ((spec is null) = (op = 2)),
    digest      blob not null check (length(digest) = 32),
    chain       blob not null check (length(chain) = 32),
    generation  integer not null,
    created_rev integer not null,
    actor       text not null,
    node_id     text not null,
    reason      text not null,
    request_id  text,
    at          integer not null
) strict;
create unique index config_change_request on config_change (request_id) where request_id is not null;

-- Boot numbers are unsigned 64-bit, kept as the signed number of the same bits.
create table member (
    node_id      text primary key,
    name         text not null,
    url          text not null,
    boot_counter integer not null,
    boot_random  integer not null,
    role         text not null,
    version      text not null,
    zone         text not null,
    state        text not null,
    joined_at    integer not null,
    seen_at      integer not null
) strict;
