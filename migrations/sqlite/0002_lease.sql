-- Leases. The columns are those of PostgreSQL; boot numbers are kept as those of members.

create table lease (
    name         text primary key,
    holder       text not null,
    boot_counter integer not null,
    boot_random  integer not null,
    term         integer not null,
    ttl          integer not null,
    since        integer not null,
    expires_at   integer not null
) strict, without rowid;
