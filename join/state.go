package join

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
	"github.com/musterhq/muster/store"
)

// State is what a node keeps about itself in its data directory: its key, how
// often it has started, its name, its cluster, the members it saw last, and the
// one promise that formation allows it to give. Every setter returns after the
// change is on disk. It is safe for concurrent use.
type State struct {
	disk   disk
	key    ed25519.PrivateKey
	random uint64

	mu     sync.Mutex
	record record
}

// Cluster is the cluster that a node belongs to. The zero value means none.
type Cluster struct {
	ID    muster.ClusterID `json:"id"`
	Name  string           `json:"name"`
	Store StoreInfo        `json:"store"`
}

// StoreInfo says where the configuration of a cluster lives.
type StoreInfo struct {
	Kind  store.Kind    `json:"kind"`
	Home  muster.NodeID `json:"home"` // the node whose disk it is; empty for a shared database
	Epoch int64         `json:"epoch"`
}

// Promise says whom a node lets form the cluster. Round counts the attempts of
// that former; a former that gives up an attempt never uses its promises again.
type Promise struct {
	To       muster.NodeID `json:"to"`
	Name     string        `json:"name"`
	Endpoint string        `json:"endpoint"`
	Round    uint64        `json:"round"`
}

// Drain is an operator's order to take no new work. It outlives restarts.
type Drain struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// record is the content of the file.
type record struct {
	Format      int                 `json:"format"`
	NodeID      muster.NodeID       `json:"node_id"`
	Seed        []byte              `json:"private_key"`
	Name        string              `json:"name"`
	Boot        uint64              `json:"boot"`
	Cluster     Cluster             `json:"cluster"`
	Unconfirmed bool                `json:"unconfirmed,omitempty"` // minted here, no other node has taken it yet
	Round       uint64              `json:"round"`
	Promise     Promise             `json:"promise"`
	Endpoint    string              `json:"endpoint,omitempty"` // advertised last
	Peers       []store.Member      `json:"peers"`
	Drain       *Drain              `json:"drain,omitempty"`
	Accepted    []string            `json:"accepted_kids,omitempty"`
	Retired     []muster.RetiredKey `json:"retired_kids,omitempty"` // latest first

	Tombstones []muster.SignedTombstone `json:"tombstones,omitempty"`
}

// Open reads the state in a data directory, or makes a new node there, and
// counts this start. A name that is given replaces the stored one; without any,
// the host name and a few random digits make one.
func Open(dir, name string) (*State, error) { return open(directory(dir), name) }

// OpenMemory is Open on a simulated disk.
func OpenMemory(m *Memory, name string) (*State, error) { return open(m, name) }

func open(d disk, name string) (*State, error) {
	if name != "" {
		if err := muster.CheckName(name); err != nil {
			return nil, muster.Errorf(muster.CodeBadConfig, "--cluster-node-name: %w", err)
		}
	}
	data, err := d.load()
	if err != nil {
		return nil, muster.Errorf(muster.CodeDataDir, "read %s: %w", d, err)
	}
	s := &State{disk: d, random: randomNumber()}
	if s.record, err = decode(data); err != nil {
		return nil, muster.Errorf(muster.CodeDataDir, "%s is damaged: %w", d, err).
			WithFix("restore %s from a backup, or move it away to start as a new node; the cluster then sees another node id", d)
	}
	s.key = ed25519.NewKeyFromSeed(s.record.Seed)
	err = s.update(func(r *record) error {
		r.Name = cmp.Or(name, r.Name, defaultName())
		r.Boot++
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// decode reads a record; no data make a new node.
func decode(data []byte) (record, error) {
	if data == nil {
		return newRecord(), nil
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, err
	}
	if r.Format != 1 {
		return record{}, fmt.Errorf("format %d is not one this version reads", r.Format)
	}
	if len(r.Seed) != ed25519.SeedSize {
		return record{}, fmt.Errorf("private key of %d bytes, want %d", len(r.Seed), ed25519.SeedSize)
	}
	public := ed25519.NewKeyFromSeed(r.Seed).Public().(ed25519.PublicKey)
	if want := muster.NodeIDOf(public); r.NodeID != want {
		return record{}, fmt.Errorf("node id %q does not belong to the key, which makes %s", muster.Printable(string(r.NodeID)), want)
	}
	if r.Cluster.ID != "" && !r.Cluster.ID.Valid() {
		return record{}, fmt.Errorf("cluster id %q is none", muster.Printable(string(r.Cluster.ID)))
	}
	return r, nil
}

func newRecord() record {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed) // never fails: crypto/rand aborts the program instead
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	return record{Format: 1, NodeID: muster.NodeIDOf(public), Seed: seed}
}

func randomNumber() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

func defaultName() string {
	host, _ := os.Hostname() // an unknown host name is no reason not to start
	host = strings.Trim(notInName.ReplaceAllString(host, "-"), "-.")
	host = cmp.Or(host[:min(len(host), 56)], "node")
	var suffix [3]byte
	_, _ = rand.Read(suffix[:])
	return host + "-" + hex.EncodeToString(suffix[:])
}

// update changes the record on disk, then in memory. A change that changes
// nothing is not written.
func (s *State) update(change func(*record) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, _ := json.Marshal(s.record) // a record always has a JSON form
	next := s.record
	if err := change(&next); err != nil {
		return err
	}
	after, _ := json.Marshal(next)
	if bytes.Equal(before, after) {
		return nil
	}
	if err := s.disk.save(append(after, '\n')); err != nil {
		return muster.Errorf(muster.CodeDataDir, "write %s: %w", s.disk, err)
	}
	s.record = next
	return nil
}

func (s *State) read() record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record
}

// Self returns the node's identity in this run.
func (s *State) Self() link.Self {
	r := s.read()
	return link.Self{ID: r.NodeID, Key: s.key, Boot: muster.Boot{Counter: r.Boot, Random: s.random}, Name: r.Name}
}

// Cluster returns the cluster that the node belongs to.
func (s *State) Cluster() Cluster { return s.read().Cluster }

// SetCluster records the node's cluster, or what has changed about it: the word
// of the higher epoch stands. A node that has a cluster never takes the identity
// of another one.
func (s *State) SetCluster(c Cluster) error { return s.adopt(c, nil) }

// adopt is SetCluster, and SetPeers if there are any, in one step.
func (s *State) adopt(c Cluster, peers []store.Member) error {
	if !c.ID.Valid() {
		return muster.Errorf(muster.CodeInternal, "cluster id %q is none", muster.Printable(string(c.ID)))
	}
	return s.update(func(r *record) error {
		if r.Cluster.ID != "" && r.Cluster.ID != c.ID {
			return muster.Errorf(muster.CodeClusterMismatch, "this node belongs to cluster %s and was offered %s", r.Cluster.ID, c.ID)
		}
		r.Promise = Promise{}
		if c.Store.Epoch >= r.Cluster.Store.Epoch { // else the other side is behind the times
			r.Cluster = c
		}
		if len(peers) > 0 {
			r.Peers = slices.Clone(peers)
		}
		return nil
	})
}

// Peers returns the members that the node saw last, without itself.
func (s *State) Peers() []store.Member { return slices.Clone(s.read().Peers) }

// SetPeers records the members to turn to after a restart.
func (s *State) SetPeers(peers []store.Member) error {
	return s.update(func(r *record) error {
		r.Peers = slices.Clone(peers)
		return nil
	})
}

// Drained returns the order to take no new work, or nil if there is none.
func (s *State) Drained() *Drain { return s.read().Drain }

// SetDrained records such an order, or with nil that it is lifted.
func (s *State) SetDrained(d *Drain) error {
	return s.update(func(r *record) error {
		r.Drain = d
		return nil
	})
}

// move records the endpoint that the node advertises now and returns the one
// before. A node that nobody can call keeps the one before.
func (s *State) move(endpoint string) (before string, err error) {
	before = s.read().Endpoint
	if endpoint == "" {
		return before, nil
	}
	return before, s.update(func(r *record) error {
		r.Endpoint = endpoint
		return nil
	})
}

// Forget removes the cluster and its members. The node keeps its key and name
// and may join or form anew. A promise to another node stays in force: only
// that node can release it.
func (s *State) Forget() error {
	return s.update(func(r *record) error {
		r.Cluster, r.Unconfirmed, r.Peers, r.Tombstones = Cluster{}, false, nil, nil
		return nil
	})
}

var (
	errFormed  = errors.New("this node belongs to a cluster already")
	errRound   = errors.New("the attempt to form has been given up meanwhile")
	errPromise = errors.New("this node has promised another one to wait")
)

// Promised returns the promise in force; its To is empty if there is none.
func (s *State) Promised() Promise { return s.read().Promise }

// round returns the number of the node's own current attempt to form.
func (s *State) round() uint64 { return s.read().Round }

// give records a promise unless another one is in force, and returns the one
// that is in force then.
func (s *State) give(p Promise) (Promise, error) {
	err := s.update(func(r *record) error {
		if r.Cluster.ID != "" {
			return errFormed
		}
		if r.Promise.To == "" || r.Promise.To == p.To && r.Promise.Round <= p.Round {
			r.Promise = p
		}
		return nil
	})
	return s.Promised(), err
}

// release drops a promise whose former has given up the round it was for.
func (s *State) release(former muster.NodeID, round uint64) error {
	return s.update(func(r *record) error {
		if r.Promise.To == former && r.Promise.Round < round {
			r.Promise = Promise{}
		}
		return nil
	})
}

// standDown ends the node's own attempt to form: every promise it holds is void
// from here on.
func (s *State) standDown() error {
	return s.update(func(r *record) error {
		if r.Promise.To == r.NodeID && r.Cluster.ID == "" {
			r.Promise = Promise{}
			r.Round++
		}
		return nil
	})
}

// mint records a new cluster, provided that the attempt it ends is still on.
func (s *State) mint(c Cluster, round uint64) error {
	return s.update(func(r *record) error {
		switch {
		case r.Cluster.ID != "":
			return errFormed
		case r.Promise.To != r.NodeID:
			return errPromise
		case r.Round != round:
			return errRound
		}
		r.Cluster, r.Unconfirmed, r.Promise = c, true, Promise{}
		return nil
	})
}

// mintAlone records a new cluster that no other node had a say in.
func (s *State) mintAlone(c Cluster) error {
	return s.update(func(r *record) error {
		switch {
		case r.Cluster.ID != "":
			return errFormed
		case r.Promise.To != "" && r.Promise.To != r.NodeID:
			return errPromise
		}
		r.Cluster, r.Promise = c, Promise{}
		return nil
	})
}

// mintByForce is mintAlone by order of an operator, who answers for the promise
// that it breaks.
func (s *State) mintByForce(c Cluster) error {
	return s.update(func(r *record) error {
		if r.Cluster.ID != "" {
			return errFormed
		}
		r.Cluster, r.Promise = c, Promise{}
		return nil
	})
}

// unconfirmed reports whether the node has minted its cluster and does not know
// of any other node that has taken it.
func (s *State) unconfirmed() bool { return s.read().Unconfirmed }

// confirm notes that another node has taken the cluster that was minted here.
func (s *State) confirm() error {
	return s.update(func(r *record) error {
		r.Unconfirmed = false
		return nil
	})
}
