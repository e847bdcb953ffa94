package replica

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster"
)

// Bounds of hints.
const (
	maxHintChanges = 16 << 10 // bytes; a larger batch is announced without its changes
	maxHintBody    = 64 << 10
	hintQueue      = 64 // batches on their way to the fan-out
	peerQueue      = 32 // batches on their way to one peer
	hintTimeout    = time.Second
)

// hint tells a peer what was applied to the store just now.
type hint struct {
	Cluster   muster.ClusterID `json:"cluster_id"`
	Node      muster.NodeID    `json:"node_id"` // who wrote and signs
	Epoch     int64            `json:"epoch"`
	Prev      int64            `json:"prev"`
	Rev       int64            `json:"rev"`
	Chain     muster.Hash      `json:"chain"`
	Changes   json.RawMessage  `json:"changes,omitempty"` // []muster.Change
	Signature []byte           `json:"signature"`
}

// message is what is signed. It covers the changes as they are on the wire.
func (h hint) message() []byte {
	b := append([]byte("muster-hint-1\n"), h.Cluster...)
	b = append(append(b, '\n'), h.Node...)
	b = append(b, '\n')
	for _, n := range []int64{h.Epoch, h.Prev, h.Rev} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = append(b, h.Chain[:]...)
	sum := sha256.Sum256(h.Changes)
	return append(b, sum[:]...)
}

// fanout pushes hints to all live peers. Nothing in it ever blocks the writer: a
// hint that finds a full queue is dropped, and digests repair that.
type fanout struct {
	r       *Replica
	batches chan []muster.Change
}

func (f *fanout) init(r *Replica) {
	f.r = r
	f.batches = make(chan []muster.Change, hintQueue)
}

// offer hands over consecutive changes.
func (f *fanout) offer(changes []muster.Change) {
	select {
	case f.batches <- changes:
	default:
		f.r.metrics.hints.WithLabelValues("dropped").Inc()
	}
}

// run spreads batches over one worker per live peer.
func (f *fanout) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	workers := map[muster.NodeID]*worker{}
	for {
		select {
		case changes := <-f.batches:
			live := f.r.cfg.Peers.Live()
			f.retire(workers, live)
			body, err := f.r.encodeHint(changes)
			if err != nil {
				f.r.log.Error("hint cannot be encoded", "error", err)
				continue
			}
			for _, id := range live {
				w := workers[id]
				if w == nil {
					w = &worker{f.r, id, make(chan []byte, peerQueue)}
					workers[id] = w
					wg.Go(func() { w.run(ctx) })
				}
				w.offer(body)
			}
		case <-ctx.Done():
			f.retire(workers, nil)
			return
		}
	}
}

// retire ends the workers of peers that are gone.
func (f *fanout) retire(workers map[muster.NodeID]*worker, live []muster.NodeID) {
	for id, w := range workers {
		if !slices.Contains(live, id) {
			close(w.queue)
			delete(workers, id)
		}
	}
}

// worker posts hints to one peer, in order.
type worker struct {
	r     *Replica
	to    muster.NodeID
	queue chan []byte
}

func (w *worker) offer(body []byte) {
	select {
	case w.queue <- body:
	default:
		w.r.metrics.hints.WithLabelValues("dropped").Inc()
	}
}

func (w *worker) run(ctx context.Context) {
	for body := range w.queue {
		if err := w.r.postHint(ctx, w.to, body); err != nil {
			w.r.metrics.hints.WithLabelValues("failed").Inc()
			w.r.log.Debug("hint did not arrive", "peer", w.to, "error", err)
			w.drain() // they would wait for the same peer in vain
			continue
		}
		w.r.metrics.hints.WithLabelValues("sent").Inc()
	}
}

func (w *worker) drain() {
	for range len(w.queue) {
		select {
		case <-w.queue:
			w.r.metrics.hints.WithLabelValues("dropped").Inc()
		default:
			return
		}
	}
}

// encodeHint makes the body of a hint about consecutive changes.
func (r *Replica) encodeHint(changes []muster.Change) ([]byte, error) {
	first, last := changes[0], changes[len(changes)-1]
	h := hint{
		Cluster: r.cfg.Cluster(), Node: r.cfg.Self.ID, Epoch: r.position().Epoch,
		Prev: first.Rev - 1, Rev: last.Rev, Chain: last.Chain,
	}
	text, err := plainJSON(changes)
	if err != nil {
		return nil, err
	}
	if len(text) <= maxHintChanges {
		h.Changes = text
	}
	h.Signature = r.cfg.Self.Sign(h.message())
	return plainJSON(h)
}

// plainJSON encodes without escaping HTML characters, which would change the bytes
// of specifications.
func plainJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
