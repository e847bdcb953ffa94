package join

import (
	"fmt"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

// foreignFor is how long a node of another cluster is left alone, and how long
// the alarm about it stands.
const foreignFor = 5 * time.Minute

// Holder is the live member that has a name.
type Holder struct {
	ID       muster.NodeID
	Endpoint string
	State    muster.State
}

// PolicyConfig is what a Policy needs to know. Only State is required.
type PolicyConfig struct {
	State *State
	// Holder finds the live member with a name; false if there is none.
	Holder func(name string) (Holder, bool)
	// Expelled returns why a node may not come back, or nil.
	Expelled func(muster.NodeID) *muster.Error
	// OnAlarm is told of what an operator must know. It must not block.
	OnAlarm func(muster.Code, string)
	// Seen is told of every HELLO that was admitted. It must not block.
	Seen func(link.Hello)
}

// Policy decides with whom this node keeps a connection. Both ends ask their own
// policy once the other end has proved who it is.
type Policy struct {
	cfg PolicyConfig

	mu      sync.Mutex
	foreign map[runOf]foreigner
}

// runOf names one run of a node. Members of another cluster are known without
// their boot.
type runOf struct {
	id   muster.NodeID
	boot muster.Boot
}

type foreigner struct {
	code  muster.Code
	text  string
	since time.Time
	last  time.Time
}

// NewPolicy makes a Policy.
func NewPolicy(cfg PolicyConfig) *Policy {
	if cfg.Holder == nil {
		cfg.Holder = func(string) (Holder, bool) { return Holder{}, false }
	}
	if cfg.Expelled == nil {
		cfg.Expelled = func(muster.NodeID) *muster.Error { return nil }
	}
	if cfg.OnAlarm == nil {
		cfg.OnAlarm = func(muster.Code, string) {}
	}
	if cfg.Seen == nil {
		cfg.Seen = func(link.Hello) {}
	}
	return &Policy{cfg: cfg, foreign: map[runOf]foreigner{}}
}

// Admit returns nil if the peer may use the channel, or why it may not.
func (p *Policy) Admit(hello link.Hello, channel link.Channel) *muster.Error {
	self, own := p.cfg.State.Self(), p.cfg.State.Cluster()
	if hello.ID == self.ID {
		return p.mirror(self, hello)
	}
	if err := p.cfg.Expelled(hello.ID); err != nil {
		return err
	}
	if own.ID != "" && hello.Cluster != "" && own.ID != hello.Cluster {
		return p.stranger(self, own, hello)
	}
	if (own.ID == "" || hello.Cluster == "") && channel != link.ChannelRPC {
		return muster.Errorf(muster.CodeNotFormed, "%s and %s are not in one cluster yet", describe(self.ID, self.Name), describe(hello.ID, hello.Name))
	}
	if err := p.nameTaken(self, hello); own.ID != "" && err != nil {
		return err
	}
	p.cfg.Seen(hello)
	return nil
}

// mirror tells a connection to itself from a copy of this node.
func (p *Policy) mirror(self link.Self, hello link.Hello) *muster.Error {
	if hello.Boot == self.Boot {
		return muster.Errorf(muster.CodeSelf, "%s is this node itself", describe(self.ID, self.Name))
	}
	err := muster.Errorf(muster.CodeClone, "another live process at %s has the identity of %s",
		muster.Printable(hello.Endpoint), describe(self.ID, self.Name))
	p.alarm(runOf{hello.ID, hello.Boot}, foreigner{code: err.Code, text: err.Text})
	return err
}

func (p *Policy) stranger(self link.Self, own Cluster, hello link.Hello) *muster.Error {
	err := muster.Errorf(muster.CodeClusterMismatch, "%s belongs to cluster %s, %s to cluster %s",
		describe(self.ID, self.Name), clusterName(own), describe(hello.ID, hello.Name), hello.Cluster)
	text := err.Text + " (at " + muster.Printable(hello.Endpoint) + "); both have the same cookie"
	p.alarm(runOf{id: hello.ID}, foreigner{code: err.Code, text: text})
	return err
}

// alarm tells of a node of another cluster, or of a copy of this one, once while
// it goes on.
func (p *Policy) alarm(run runOf, f foreigner) {
	if p.remember(run, f) {
		p.cfg.OnAlarm(f.code, f.text)
	}
}

// remember notes whom this node has met that should not be there; true if that is
// news.
func (p *Policy) remember(run runOf, news foreigner) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for run, f := range p.foreign {
		if now.Sub(f.last) >= foreignFor {
			delete(p.foreign, run)
		}
	}
	f, known := p.foreign[run]
	if !known {
		f = news
		f.since = now
	}
	f.text, f.last = news.text, now
	p.foreign[run] = f
	return !known
}

// strangers lists the nodes of other clusters and the copies of this node that
// were met lately.
func (p *Policy) strangers() []foreigner {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []foreigner
	for _, f := range p.foreign {
		if time.Since(f.last) < foreignFor {
			list = append(list, f)
		}
	}
	return list
}

// nameTaken returns an error if another live member has the peer's name.
func (p *Policy) nameTaken(self link.Self, hello link.Hello) *muster.Error {
	holder, taken := Holder{ID: self.ID, State: muster.StateAlive}, hello.Name == self.Name
	if !taken {
		holder, taken = p.cfg.Holder(hello.Name)
	}
	if !taken || holder.ID == hello.ID || holder.State.Gone() {
		return nil
	}
	where := ""
	if holder.Endpoint != "" {
		where = " at " + muster.Printable(holder.Endpoint)
	}
	return muster.Errorf(muster.CodeNameInUse, "the name %q is held by node %s%s, which is %s",
		muster.Printable(hello.Name), holder.ID.Short(), where, holder.State)
}

// describe names a node for people.
func describe(id muster.NodeID, name string) string {
	return fmt.Sprintf("%s (%s)", muster.Printable(name), muster.Printable(id.Short()))
}

func clusterName(c Cluster) string {
	if c.Name == "" {
		return string(c.ID)
	}
	return muster.Printable(c.Name) + " " + string(c.ID)
}
