package gossip

import (
	"log"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/musterhq/muster"
)

// Profile names a set of timings. Members of one cluster should use the same.
type Profile string

// The profiles.
const (
	ProfileLAN   Profile = "lan"   // a death is seen in about 1.5 s; the default
	ProfileSafe  Profile = "safe"  // 3.5 s; for busy or stalling machines
	ProfileWAN   Profile = "wan"   // 15 s; for round trips of up to half a second
	ProfileLocal Profile = "local" // about 1 s; all members on one machine
)

// tuning is the part of memberlist's configuration that profiles differ in.
type tuning struct {
	probe, probeTimeout       time.Duration // a nack must come back in time: timeout <= 0.4 probe
	suspicion, suspicionMax   int
	gossip, pushPull, stream  time.Duration
	awareness                 int
	gossipToDead, deadReclaim time.Duration
}

func (p Profile) tuning() (tuning, error) {
	ms := time.Millisecond
	lan := tuning{
		probe: 250 * ms, probeTimeout: 100 * ms, suspicion: 3, suspicionMax: 3,
		gossip: 100 * ms, pushPull: 20 * time.Second, stream: 5 * time.Second,
		awareness: 4, gossipToDead: 30 * time.Second, deadReclaim: time.Second,
	}
	switch p {
	case "", ProfileLAN:
	case ProfileSafe:
		lan.probe, lan.probeTimeout, lan.awareness = 500*ms, 200*ms, 8
	case ProfileLocal:
		lan.probe, lan.probeTimeout, lan.gossip = 200*ms, 80*ms, 50*ms
		lan.pushPull, lan.stream = 10*time.Second, 2*time.Second
	case ProfileWAN:
		return tuning{
			probe: 2 * time.Second, probeTimeout: 800 * ms, suspicion: 4, suspicionMax: 4,
			gossip: 300 * ms, pushPull: time.Minute, stream: 15 * time.Second,
			awareness: 8, gossipToDead: time.Minute, deadReclaim: 5 * time.Second,
		}, nil
	default:
		return tuning{}, muster.Errorf(muster.CodeBadConfig,
			"profile %q: want lan, safe, wan or local", muster.Printable(string(p)))
	}
	return lan, nil
}

// config returns memberlist's configuration.
func (g *Gossip) config(transport *Transport) *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = string(g.cfg.Self.ID)
	c.BindPort, c.AdvertisePort = port, port
	c.Transport, c.RequireNodeNames = transport, true
	d := &delegate{g}
	c.Delegate, c.Events, c.Ping, c.Alive = d, d, d, g.gate
	c.DisableTcpPingsForNode = d.probeFailed
	c.Logger = log.New(logWriter(g.log), "", 0)
	c.UDPBufferSize = 16 << 10
	g.tuning.apply(c)
	return c
}

// Apply sets the timing of the profile in a configuration of memberlist, for those
// who bring their own.
func (p Profile) Apply(c *memberlist.Config) error {
	tuning, err := p.tuning()
	if err != nil {
		return err
	}
	tuning.apply(c)
	return nil
}

func (t tuning) apply(c *memberlist.Config) {
	c.EnableCompression = false
	c.HandoffQueueDepth = 4096
	c.GossipNodes, c.IndirectChecks, c.RetransmitMult = 4, 3, 4
	c.ProbeInterval, c.ProbeTimeout = t.probe, t.probeTimeout
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = t.suspicion, t.suspicionMax
	c.GossipInterval, c.PushPullInterval, c.TCPTimeout = t.gossip, t.pushPull, t.stream
	c.AwarenessMaxMultiplier = t.awareness
	c.GossipToTheDeadTime, c.DeadNodeReclaimTime = t.gossipToDead, t.deadReclaim
}
