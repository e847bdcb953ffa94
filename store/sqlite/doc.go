// Package sqlite keeps the configuration in one SQLite file: as the config store
// of a cluster without a database server (Store), and as each node's own copy of
// a store elsewhere (Mirror).
//
// A Store syncs every write to disk before it answers. A Mirror does not, since
// what it loses can be fetched again; but it is never torn. Both have the tables
// of PostgreSQL, so that the sqlite3 program can read them and a mirror can be
// opened as a store.
//
// The file must lie on a local disk: the write-ahead log does not work on network
// file systems. One process uses it at a time; locking the data directory is the
// caller's business.
package sqlite
