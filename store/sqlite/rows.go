package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

func timeOf(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// changeColumns and documentColumns are what changeRow scans.
const (
	changeColumns   = "rev, op, kind, name, spec, digest, chain, generation, created_rev, actor, node_id, reason, coalesce(request_id, ''), at"
	documentColumns = "kind, name, spec, rev, generation, created_rev, updated_at, updated_by, reason, digest"
)

// changeRow holds the columns of a change or a document, which are null where an
// outer join found none.
type changeRow struct {
	rev, op, generation, createdRev, at sql.NullInt64
	kind, name, spec                    sql.NullString
	actor, node, reason, requestID      sql.NullString
	digest, chain                       []byte
}

func (r *changeRow) changeFields() []any {
	return []any{
		&r.rev, &r.op, &r.kind, &r.name, &r.spec, &r.digest, &r.chain, &r.generation, &r.createdRev,
		&r.actor, &r.node, &r.reason, &r.requestID, &r.at,
	}
}

func (r *changeRow) documentFields() []any {
	return []any{&r.kind, &r.name, &r.spec, &r.rev, &r.generation, &r.createdRev, &r.at, &r.actor, &r.reason, &r.digest}
}

func (r *changeRow) rawSpec() json.RawMessage {
	if !r.spec.Valid {
		return nil
	}
	return json.RawMessage(r.spec.String)
}

func (r *changeRow) change() muster.Change {
	c := muster.Change{
		Rev: r.rev.Int64, Op: muster.Op(r.op.Int64), Kind: r.kind.String, Name: r.name.String, Spec: r.rawSpec(),
		Generation: r.generation.Int64, CreatedRev: r.createdRev.Int64, Actor: r.actor.String, Node: muster.NodeID(r.node.String),
		Reason: r.reason.String, RequestID: r.requestID.String, At: timeOf(r.at.Int64),
	}
	copy(c.Digest[:], r.digest)
	copy(c.Chain[:], r.chain)
	return c
}

func (r *changeRow) document() muster.Document {
	return muster.Document{
		Kind: r.kind.String, Name: r.name.String, Spec: r.rawSpec(), Rev: r.rev.Int64, Generation: r.generation.Int64,
		CreatedRev: r.createdRev.Int64, UpdatedAt: timeOf(r.at.Int64), UpdatedBy: r.actor.String, Reason: r.reason.String,
	}
}

// readChanges sees the log and what was compacted at one moment: it is one
// statement.
func readChanges(ctx context.Context, db queryer, after int64, limit int) ([]muster.Change, error) {
	rows, err := db.QueryContext(ctx, `select h.compacted_rev, c.* from config_head h left join (
			select `+changeColumns+` from config_change where rev > ? order by rev limit ?) c on true
		order by c.rev`, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	changes := []muster.Change{}
	formed := false
	for rows.Next() {
		formed = true
		var compacted int64
		var r changeRow
		if err := rows.Scan(append([]any{&compacted}, r.changeFields()...)...); err != nil {
			return nil, err
		}
		if after < compacted {
			return nil, store.ErrCompacted
		}
		if r.rev.Valid {
			changes = append(changes, r.change())
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if !formed {
		return nil, store.ErrNoCluster
	}
	return changes, nil
}

// readHistory reads backwards along the primary key, so that the newest changes of
// all documents cost what they are; those of one that has not changed for long cost
// a walk to them. Like readChanges it is one statement.
func readHistory(ctx context.Context, db queryer, p store.Past) (store.History, error) {
	rows, err := db.QueryContext(ctx, `select h.compacted_rev, c.* from config_head h left join (
			select `+withoutSpec(p)+` from config_change
			where rev < ? and (? = '' or kind = ?) and (? = '' or name = ?) order by rev desc limit ?) c on true
		order by c.rev desc`, p.Before, p.Kind, p.Kind, p.Name, p.Name, p.Limit)
	if err != nil {
		return store.History{}, err
	}
	defer rows.Close()
	h := store.History{Changes: []muster.Change{}}
	formed := false
	for rows.Next() {
		formed = true
		var r changeRow
		if err := rows.Scan(append([]any{&h.Compacted}, r.changeFields()...)...); err != nil {
			return store.History{}, err
		}
		if r.rev.Valid {
			h.Changes = append(h.Changes, r.change())
		}
	}
	if err := rows.Err(); err != nil {
		return store.History{}, err
	}
	if !formed {
		return store.History{}, store.ErrNoCluster
	}
	return h, nil
}

// withoutSpec is changeColumns, with null for specifications that nobody wants.
func withoutSpec(p store.Past) string {
	if p.Specs {
		return changeColumns
	}
	return strings.Replace(changeColumns, " spec,", " null as spec,", 1)
}

// readSnapshot sees the head and the documents at one moment: it is one statement.
// It compares each document with its digest.
func readSnapshot(ctx context.Context, db queryer) (*store.Snapshot, error) {
	rows, err := db.QueryContext(ctx, `select c.cluster_id, c.epoch, h.rev, h.chain, i.*
		from config_head h cross join config_cluster c left join (select `+documentColumns+` from config_item) i on true
		order by i.kind, i.name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	snap := &store.Snapshot{Documents: []muster.Document{}}
	for rows.Next() {
		var chain []byte
		var r changeRow
		head := []any{&snap.ClusterID, &snap.Position.Epoch, &snap.Position.Rev, &chain}
		if err := rows.Scan(append(head, r.documentFields()...)...); err != nil {
			return nil, err
		}
		copy(snap.Position.Chain[:], chain)
		if !r.rev.Valid {
			continue
		}
		doc := r.document()
		if digest := config.DigestOf(doc.Spec); string(digest[:]) != string(r.digest) {
			return nil, fmt.Errorf("document %s/%s: %w", doc.Kind, doc.Name, errDigest)
		}
		snap.Documents = append(snap.Documents, doc)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if snap.ClusterID == "" {
		return nil, store.ErrNoCluster
	}
	return snap, nil
}

// errDigest means that the file holds something that was never written.
var errDigest = errors.New("the specification is not the one that was written")

// statements prepares each statement of a transaction once; database/sql closes
// them with the transaction. A batch saves half of its time by it.
type statements struct {
	tx   *sql.Tx
	made map[string]*sql.Stmt
}

func newStatements(tx *sql.Tx) *statements {
	return &statements{tx: tx, made: map[string]*sql.Stmt{}}
}

func (s *statements) get(query string) (*sql.Stmt, error) {
	if made := s.made[query]; made != nil {
		return made, nil
	}
	made, err := s.tx.Prepare(query)
	s.made[query] = made
	return made, err
}

func (s *statements) exec(query string, args ...any) error {
	stmt, err := s.get(query)
	if err == nil {
		_, err = stmt.Exec(args...)
	}
	return err
}

// scanOne reads one row, or returns sql.ErrNoRows.
func (s *statements) scanOne(query string, into []any, args ...any) error {
	stmt, err := s.get(query)
	if err != nil {
		return err
	}
	return stmt.QueryRow(args...).Scan(into...)
}

// fileTx is what store.Run works on.
type fileTx struct {
	*statements

	items int64
}

// Document implements store.Tx.
func (t *fileTx) Document(kind, name string) (*muster.Document, error) {
	var r changeRow
	err := t.scanOne("select "+documentColumns+" from config_item where kind = ? and name = ?", r.documentFields(), kind, name)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	return new(r.document()), nil
}

// ChangeOf implements store.Tx.
func (t *fileTx) ChangeOf(requestID string) (*muster.Change, error) {
	var r changeRow
	err := t.scanOne("select "+changeColumns+" from config_change where request_id = ?", r.changeFields(), requestID)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the change of a request: %w", err)
	}
	return new(r.change()), nil
}

// Record implements store.Tx.
func (t *fileTx) Record(c muster.Change, doc *muster.Document) error {
	if err := t.insertChange(c); err != nil {
		return err
	}
	if doc == nil {
		t.items--
		return t.deleteDocument(c.Kind, c.Name)
	}
	if doc.Generation == 1 {
		t.items++
	}
	return t.putDocument(*doc, c.Digest)
}

func (s *statements) insertChange(c muster.Change) error {
	var spec, requestID any
	if c.Op == muster.OpPut {
		spec = string(c.Spec)
	}
	if c.RequestID != "" {
		requestID = c.RequestID
	}
	err := s.exec(`insert into config_change
			(rev, op, kind, name, spec, digest, chain, generation, created_rev, actor, node_id, reason, request_id, at)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		c.Rev, int64(c.Op), c.Kind, c.Name, spec, c.Digest[:], c.Chain[:], c.Generation, c.CreatedRev,
		c.Actor, string(c.Node), c.Reason, requestID, c.At.UnixMicro())
	if err != nil {
		return fmt.Errorf("record revision %d: %w", c.Rev, err)
	}
	return nil
}

func (s *statements) putDocument(doc muster.Document, digest muster.Hash) error {
	err := s.exec(`insert or replace into config_item
			(kind, name, spec, digest, generation, created_rev, rev, updated_at, updated_by, reason)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		doc.Kind, doc.Name, string(doc.Spec), digest[:], doc.Generation, doc.CreatedRev, doc.Rev,
		doc.UpdatedAt.UnixMicro(), doc.UpdatedBy, doc.Reason)
	if err != nil {
		return fmt.Errorf("write %s/%s: %w", doc.Kind, doc.Name, err)
	}
	return nil
}

func (s *statements) deleteDocument(kind, name string) error {
	if err := s.exec("delete from config_item where kind = ? and name = ?", kind, name); err != nil {
		return fmt.Errorf("delete %s/%s: %w", kind, name, err)
	}
	return nil
}
