// Package postgres is the config store in a PostgreSQL database.
//
// A node must start, serve reads and keep trying while its database is away, so
// New performs no I/O: the first call that needs the database connects, checks
// and migrates it, and so does each later call until one has succeeded.
//
// All nodes may do so at once: migrations run in one transaction under a
// transaction-level advisory lock, which also works behind a connection pooler.
//
// Every call ends within Deadline. Apply is one round trip: the server function
// config_apply_v1 locks the head row, decides, chains and writes the whole batch.
// When the connection breaks while it commits, Apply asks again with the same
// request ids, which either finds the first outcome or makes it; only if that
// fails too, or a write has no request id, is the outcome unknown.
//
// No error and no log line of this package contains a password.
package postgres
